import numpy as np
import polars as pl
import pytest

from tfrec.data import features, schema, vocabulary
from tfrec.errors import UserError

ITEMS = vocabulary.Ids(np.array([10, 20, 30]))


def test_rows_follow_the_dense_ids(tmp_path):
    path = tmp_path / "movies.csv"
    path.write_text("movieId,title,year\n30,C,1999\n10,A,2001\n99,Z,2000\n")
    table = features.read(path, ITEMS)
    assert table.rows() == [(10, "A", 2001), (20, None, None), (30, "C", 1999)]
    assert table.columns == ["movieId", "title", "year"]


def test_text_ids_and_parquet(tmp_path):
    path = tmp_path / "users.parquet"
    pl.DataFrame({"id": [7, 8], "age": [30, 40]}).write_parquet(path)
    table = features.read(path, vocabulary.Ids(np.array(["7", "u9"])))
    assert table.rows() == [("7", 30), ("u9", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,x\n10,1\n10,2\n", "t.csv, row 3: id is 10; expected an id that no row before has"),
        ("id,x\n10,1\n,2\n", "t.csv, row 3: id is missing; expected an id"),
        ("id,x\na,1\n", "column 'id' holds String; expected the ids of the log, which are int"),
        ("id,x\n77,1\n", "none of its ids in column 'id' is in the log"),
        ("id\n10\n", "t.csv: no features; expected an id column and one more"),
        ("id,x\n", "t.csv: no features"),
        ("id,x\n10,1,2,3\n", "t.csv: not a readable table"),
    ],
)
def test_a_bad_table_is_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        features.read(tmp_path / "t.csv", ITEMS)


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "t.csv").write_bytes("id,x\n10,caf\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match="t.csv, row 2: not UTF-8 text"):
        features.read(tmp_path / "t.csv", ITEMS)


def test_bad_rows_can_be_skipped(tmp_path):
    (tmp_path / "t.csv").write_text("id,x\n10,1\n10,2\n20,3\n")
    bad_rows = schema.BadRows(skip=True)
    assert features.read(tmp_path / "t.csv", ITEMS, bad_rows)["x"].to_list() == [1, 3, None]
    assert bad_rows.count == 1
