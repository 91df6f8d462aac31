"""Tables of user and item features beside the log.

Any CSV or Parquet file whose first column is the id of the log. Ids are compared as text, so
that integers of a Parquet file match an id by its decimal text, and `007` is not `7`. The
table is stored with the prepared data in the order of the dense ids.
"""

import logging
import pathlib

import polars as pl

from tfrec.data import parquet, text_columns, vocabulary
from tfrec.data import schema as schema_lib
from tfrec.data.sources import delimited, files, text_rows
from tfrec.errors import UserError

_log = logging.getLogger(__name__)

KINDS = ("user", "item")
_FEW = 0.5  # a table with a smaller share of the log's ids causes a warning
_EXAMPLES = 3


def read(
    path: str | pathlib.Path,
    ids: vocabulary.Ids,
    bad_rows: schema_lib.BadRows | None = None,
    text_format: text_rows.TextFormat | None = None,
) -> pl.DataFrame:
    """Reads a feature table, with one row for each id of the log.

    Args:
      path: a text file (also .gz) or a Parquet file; its first column holds the ids.
      ids: the users or the items of the log.
      bad_rows: what to do with rows without an id or with a repeated one.
      text_format: of a text file; commas and UTF-8 by default.

    Returns:
      Row d - 1 belongs to dense id d; null where the file lacks the id. Rows of ids that
      are not in the log are left out. Columns of a text file whose values are
      all numbers are Int64 or Float64.

    Raises:
      UserError: naming file, row, column and value; or if no id of the table is in the log.
    """
    return aligned(read_table(path, bad_rows, text_format), ids, path)


def aligned(table: pl.DataFrame, ids: vocabulary.Ids, path: str | pathlib.Path) -> pl.DataFrame:
    """Brings the rows of a feature table into the order of the dense ids.

    Args:
      table: as `read_table` returns it.
      ids: the users or the items of the log.
      path: the table's file, for messages.

    Returns:
      As `read`.

    Raises:
      UserError: if no id of the table is in the log.
    """
    name = table.columns[0]
    raw = pl.Series(name, ids.raw.tolist())
    log_ids = raw.cast(pl.String)
    _compare_ids(log_ids, table.to_series(0), pathlib.Path(path))
    return (
        pl.DataFrame([log_ids])
        .join(table, on=name, how="left", maintain_order="left")
        .with_columns(raw)
    )


def read_table(
    path: str | pathlib.Path,
    bad_rows: schema_lib.BadRows | None = None,
    text_format: text_rows.TextFormat | None = None,
) -> pl.DataFrame:
    """Reads a feature table as it is.

    Args:
      path: as for `read`.
      bad_rows: as for `read`.
      text_format: as for `read`.

    Returns:
      Its rows; the first column holds the ids as text. Columns of a text file whose values
      are all numbers are Int64 or Float64.

    Raises:
      UserError: naming file, row, column and value.
    """
    bad_rows = bad_rows or schema_lib.BadRows()
    text_format = text_format or text_rows.TextFormat()
    with files.opened(path, encoding=text_format.encoding) as (file,):
        is_parquet = parquet.is_parquet(file)
        if is_parquet:
            names, frame = _read_parquet(file)
        else:
            names, frame = delimited.read_as_text(
                file,
                bad_rows,
                separator=text_format.separator_of(file),
                quoting=text_format.quoting,
            )
        if len(names) < 2 or frame.height == 0:
            raise UserError(f"{file.name}: no features; expected an id column and one more")
        for name in names:
            if names.count(name) > 1:
                raise UserError(
                    f"{file.name}: two columns have the name {name!r}; expected one"
                )
        frame = _with_text_ids(frame, names[0], file)
        for valid, expected in (
            (pl.col("0").is_not_null(), "an id"),
            (pl.col("0").is_first_distinct(), "an id that no row before has"),
        ):
            frame = schema_lib.check(
                frame, "0", valid, expected, file, bad_rows, first_row=1, shown_as=names[0]
            )
    table = frame.select(pl.col(str(place)).alias(name) for place, name in enumerate(names))
    if not is_parquet:
        table = table.with_columns(text_columns.as_values(table[name]) for name in names[1:])
    return table


def _read_parquet(path: pathlib.Path) -> tuple[list[str], pl.DataFrame]:
    """Like `delimited.read_as_text`, but with the types of the file and without `row`."""
    try:
        frame = parquet.read(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path.name}: not a readable table ({error})") from error
    names = [text_columns.strip(name) for name in frame.columns]
    frame.columns = [str(place) for place in range(frame.width)]
    return names, frame.with_columns(text_columns.stripped(pl.col(pl.String)))


def _with_text_ids(frame: pl.DataFrame, name: str, path: pathlib.Path) -> pl.DataFrame:
    """The table with the ids of its first column, called `name`, as text."""
    dtype = frame.schema["0"]
    if dtype != pl.String and not dtype.is_integer():
        raise UserError(
            f"{path.name}: column {name!r} holds {dtype}; expected ids, integers or text"
        )
    return frame.with_columns(pl.col("0").cast(pl.String))


def _compare_ids(log_ids: pl.Series, table_ids: pl.Series, path: pathlib.Path) -> None:
    """Warns if the table has few of the log's ids.

    Args:
      log_ids: ids of the log.
      table_ids: ids of the table.
      path: the table's file.

    Raises:
      UserError: if it has none of them.
    """
    in_table = log_ids.is_in(table_ids.implode())
    if not in_table.any():
        raise UserError(
            f"{path.name}: none of its {len(table_ids):,} ids in column {table_ids.name!r} is "
            f"in the log; it has {_examples(table_ids)}, the log has {_examples(log_ids)}"
        )
    if in_table.sum() < _FEW * len(log_ids):
        unmatched = table_ids.filter(~table_ids.is_in(log_ids.implode()))
        _log.warning(
            "%s: only %s of the %s ids of the log are in column %r; without a row: %s; "
            "rows of ids that are not in the log: %s%s",
            path.name,
            f"{in_table.sum():,}",
            f"{len(log_ids):,}",
            table_ids.name,
            _examples(log_ids.filter(~in_table)),
            f"{len(unmatched):,}",
            f", such as {_examples(unmatched)}" if len(unmatched) else "",
        )


def _examples(ids: pl.Series) -> str:
    more = ", ..." if len(ids) > _EXAMPLES else ""
    return ", ".join(map(repr, ids.head(_EXAMPLES))) + more
