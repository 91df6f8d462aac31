"""A folder of interactions: the validated table of a log, from `launch.prepare_beam`."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from tfrec import options
from tfrec.data import parquet
from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly
from tfrec.errors import UserError

INDEX = "interactions.json"
PATTERNS = (INDEX,)
_FORMAT = 1
_FIELDS = ("schema", "shards", "repeated", "left_out", "warnings")


def read(
    path: str | pathlib.Path, bad_rows: schema_lib.BadRows | None = None
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The interaction table.

    Args:
      path: the folder.
      bad_rows: what to do with bad rows, which only an edited folder has; an error by default.

    Returns:
      The validated table and its schema.

    Raises:
      UserError: if the folder is missing, or a file of it is missing or damaged.
    """
    bad_rows = bad_rows or schema_lib.BadRows()
    folder = pathlib.Path(path)
    folder = folder if folder.is_dir() else folder.parent
    index = _index(folder)
    schema = index["schema"]
    bad_rows.repeated += index["repeated"]
    for reason, count in index["left_out"].items():
        bad_rows.leave_out(reason, count)
    for sentence in index["warnings"]:
        bad_rows.remark(sentence)
    # The table has times, also where they only count the events of a user.
    events = assembly.Events(
        folder.name, dataclasses.replace(schema, order="time"), _shards(folder, index["shards"])
    )
    return assembly.gathered(events, bad_rows), schema


def write_index(
    folder: pathlib.Path,
    schema: Mapping[str, Any],
    shards: Mapping[str, int],
    bad_rows: schema_lib.BadRows,
) -> None:
    """Writes interactions.json: what the shards hold and what was left out of them."""
    content = {
        "format": _FORMAT,
        "schema": schema,
        "shards": shards,
        "repeated": bad_rows.repeated,
        "left_out": bad_rows.left_out,
        "warnings": bad_rows.warnings,
    }
    (folder / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def warnings(folder: str | pathlib.Path) -> list[str]:
    """Returns the warnings about the log, one sentence each."""
    return _index(pathlib.Path(folder))["warnings"]


def check_target(folder: pathlib.Path, overwrite: bool) -> None:
    """Rejects a folder that is in use.

    Raises:
      UserError: if it is a file, holds other files, or holds interactions and `overwrite` is
        false.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file is in the way; choose another folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / INDEX).exists():
        raise UserError(f"{folder}: holds other files than interactions; choose another folder")
    if not overwrite:
        raise UserError(
            f"{folder}: holds interactions already; pass --overwrite to replace them"
        )


def _index(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(index, dict) or index.get("format") != _FORMAT:
        raise UserError(
            f"{path}: expected interactions of format {_FORMAT}; read the log again"
        )
    absent = [name for name in _FIELDS if name not in index]
    if absent:
        raise UserError(f"{path}: expected {', '.join(_FIELDS)}; it has no {absent[0]!r}")
    try:
        index["schema"] = options.rebuilt(schema_lib.Schema, index["schema"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: the schema is not one of a log ({error})") from error
    return index


def _shards(
    folder: pathlib.Path, shards: Mapping[str, int]
) -> Iterator[tuple[str, pl.DataFrame]]:
    for name, rows in shards.items():
        try:
            frame = parquet.read(folder / name)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"{folder / name}: damaged or absent shard ({error})") from error
        if frame.height != rows:
            raise UserError(f"{folder / name}: holds {frame.height} rows; expected {rows}")
        yield name, frame.with_row_index(schema_lib.ROW, offset=1)
