"""Tables beside the log: what is known about users and items.

Any CSV or Parquet file whose first column is the id of the log. The table is kept with the
prepared data in the order of the dense ids, ready to be looked up by them.
"""

import pathlib

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data import vocabulary
from tfrec.data.sources import files
from tfrec.errors import UserError

KINDS = ("user", "item")


def read(
    path: str | pathlib.Path, ids: vocabulary.Ids, bad_rows: schema_lib.BadRows | None = None
) -> pl.DataFrame:
    """A feature table with one row for each id.

    Args:
      path: a CSV (also .gz) or Parquet file; its first column holds the ids.
      ids: the users or the items of the log.
      bad_rows: what to do with rows without an id, or with one that came before.

    Returns:
      Row d - 1 belongs to dense id d; null where the file does not know the id. Rows of
      ids that the log does not have are left out.

    Raises:
      UserError: naming file, row, column and value.
    """
    bad_rows = bad_rows or schema_lib.BadRows()
    with files.opened(path) as (file, *_):
        frame, first_row = _read_file(file)
        if frame.width < 2 or frame.height == 0:
            raise UserError(f"{file.name}: no features; expected an id column and one more")
        key = frame.columns[0]
        column = pl.col(key)
        for valid, expected in (
            (column.is_not_null(), "an id"),
            (column.is_first_distinct(), "an id that no row before has"),
        ):
            frame = schema_lib.check(
                frame, key, valid, expected, file, bad_rows, first_row=first_row
            )
        raw = pl.Series(key, ids.raw.tolist())
        if raw.dtype == pl.String:
            frame = frame.with_columns(column.cast(pl.String))
        elif not frame.schema[key].is_integer():
            raise UserError(
                f"{file.name}: column {key!r} holds {frame.schema[key]}; expected the ids of "
                "the log, which are integers"
            )
        frame = frame.drop(schema_lib.ROW, strict=False).with_columns(column.cast(raw.dtype))
        aligned = pl.DataFrame({key: raw}).join(
            frame, on=key, how="left", maintain_order="left"
        )
        if not frame[key].is_in(raw.implode()).any():
            raise UserError(f"{file.name}: none of its ids in column {key!r} is in the log")
    return aligned


def _read_file(path: pathlib.Path) -> tuple[pl.DataFrame, int]:
    """The table, and the number of its first row."""
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    try:
        if is_parquet:
            return pl.read_parquet(path), 1
        return pl.read_csv(path, infer_schema_length=None), 2
    except (OSError, pl.exceptions.PolarsError) as error:
        row = None if is_parquet else files.undecodable_row(path, "utf-8")
        if row is not None:
            raise UserError(f"{path.name}, row {row}: not UTF-8 text") from error
        raise UserError(f"{path.name}: not a readable table ({error})") from error
