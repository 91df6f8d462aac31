import dataclasses
import json

import polars as pl
import pytest

from tfrec import types
from tfrec.data import schema
from tfrec.data.sources import interactions
from tfrec.errors import UserError

SCHEMA = schema.Schema((types.FeedbackColumn("click", "binary", "clicks"),), order="random")
ROWS = [("a", 7, 5, 1.0), ("a", 8, 6, 0.0), ("b", 7, 1, 1.0)]
COLUMNS = {"user": pl.String, "item": pl.Int64, "time_ms": pl.Int64, "click": pl.Float32}


def write(folder, rows=ROWS, **about):
    folder.mkdir(exist_ok=True)
    shards = {}
    for user in sorted({row[0] for row in rows}, reverse=True):
        part = pl.DataFrame(
            [row for row in rows if row[0] == user], schema=COLUMNS, orient="row"
        )
        part.write_parquet(folder / f"part-{user}.parquet")
        shards[f"part-{user}.parquet"] = part.height
    bad_rows = schema.BadRows()
    bad_rows.leave_out("unrated_rows", 3)
    bad_rows.remark("no times")
    bad_rows.repeated = 2
    interactions.write_index(folder, dataclasses.asdict(SCHEMA), shards, bad_rows)
    if about:
        path = folder / interactions.INDEX
        path.write_text(json.dumps(json.loads(path.read_text()) | about))
    return folder


def test_the_table_with_what_was_said_of_it(tmp_path):
    folder = write(tmp_path / "log")
    for place in (folder, folder / "interactions.json"):
        bad_rows = schema.BadRows()
        table, table_schema = interactions.read(place, bad_rows)
        assert table.rows() == ROWS
        assert table_schema == SCHEMA
        assert (bad_rows.left_out, bad_rows.repeated) == ({"unrated_rows": 3}, 2)
        assert bad_rows.warnings[0] == "no times"


def test_damaged_folders(tmp_path):
    folder = write(tmp_path / "log")
    (folder / "part-a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="part-a.parquet: damaged or absent shard"):
        interactions.read(folder)
    (folder / "part-a.parquet").unlink()
    with pytest.raises(UserError, match="part-a.parquet: damaged or absent shard"):
        interactions.read(folder)
    write(folder)
    (folder / "part-b.parquet").write_bytes((folder / "part-a.parquet").read_bytes())
    with pytest.raises(UserError, match="part-b.parquet: holds 2 rows; expected 1"):
        interactions.read(folder)
    with pytest.raises(UserError, match="interactions.json: expected interactions of format 1"):
        interactions.read(write(folder, format=2))
    with pytest.raises(UserError, match="interactions.json: the schema is not one of a log"):
        interactions.read(write(folder, schema={"feedback": [{"name": "click"}]}))
    with pytest.raises(UserError, match="interactions.json: not readable as JSON"):
        interactions.read(tmp_path)


def test_what_is_there_is_replaced_only_on_request_and_only_if_it_is_ours(tmp_path):
    folder = write(tmp_path / "log")
    interactions.check_target(folder, overwrite=True)
    interactions.check_target(tmp_path / "new", overwrite=False)
    with pytest.raises(UserError, match="holds interactions already; pass --overwrite"):
        interactions.check_target(folder, overwrite=False)
    with pytest.raises(UserError, match="holds other files than interactions"):
        interactions.check_target(tmp_path, overwrite=True)
    with pytest.raises(UserError, match="a file is in the way"):
        interactions.check_target(folder / "part-a.parquet", overwrite=True)
