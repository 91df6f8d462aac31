"""Delimited text -> typed columns, with an error that names the row where it goes wrong."""

import pathlib
from collections.abc import Mapping, Sequence

import polars as pl

from tfrec.data import schema
from tfrec.data.sources import files
from tfrec.errors import UserError

_EXPECTED = {
    pl.Int32: "an integer within 32 bits",
    pl.Int64: "an integer within 64 bits",
    pl.Float32: "a number",
    pl.String: "text",
}


def header(path: pathlib.Path, separator: str) -> list[str]:
    """The names on the first line.

    Raises:
      UserError: if the line is empty or not text.
    """
    try:
        names = pl.read_csv(
            path, separator=separator, n_rows=0, infer_schema=False, truncate_ragged_lines=True
        ).columns
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path.name}, row 1: no readable header line ({error})") from error
    return [name.strip() for name in names]


def read(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    bad_rows: schema.BadRows,
    *,
    separator: str = ",",
    names: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Reads columns of a plain UTF-8 file.

    A clean file is read once, in parallel, at full speed. Only where that fails is it
    read again as text, to say which rows are at fault.

    Args:
      path: the file.
      columns: names and types of the columns to read; any further ones are left out.
      bad_rows: what to do with rows that do not fit.
      separator: one character.
      names: all columns, for a file without a header line.

    Returns:
      The columns; with a `row` column if rows are missing from it.

    Raises:
      UserError: for a missing column, an undecodable file, a damaged row (unless these
        are skipped), or no rows.
    """
    has_header = names is None
    present = header(path, separator) if names is None else list(names)
    absent = [name for name in columns if name not in present]
    if absent:
        raise UserError(
            f"{path.name}, row 1: no column {absent[0]!r}; the file has {', '.join(present)}"
        )
    scan = dict(
        source=path,
        separator=separator,
        has_header=has_header,
        # Names from us, not from the line: `user, item` is as good as `user,item`.
        new_columns=present,
    )
    overrides = {name: columns.get(name, pl.String) for name in present}
    try:
        frame = (
            pl.scan_csv(**scan, schema=overrides).select(*columns).collect(engine="streaming")
        )
        clean = sum(frame.null_count().row(0)) == 0
    except pl.exceptions.PolarsError as error:
        _require_utf8(path, error)
        clean = False
    if not clean:
        frame = _read_as_text(path, columns, bad_rows, scan, present)
    if frame.height == 0:
        raise UserError(f"{path.name}: no rows after the header; expected at least one event")
    return frame


def _read_as_text(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    bad_rows: schema.BadRows,
    scan: dict,
    present: list[str],
) -> pl.DataFrame:
    """Reads text, then casts column by column, rejecting rows that do not fit."""
    first_row = 2 if scan["has_header"] else 1
    try:
        text = (
            pl.scan_csv(
                **scan,
                schema={name: pl.String for name in present},
                truncate_ragged_lines=True,
            )
            .select(*columns)
            .with_row_index(schema.ROW, offset=first_row)
            .collect(engine="streaming")
        )
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path.name}: not readable as delimited text ({error})") from error
    text = text.filter(~pl.all_horizontal(pl.col(*columns).is_null()))  # blank lines
    for name, dtype in columns.items():
        value = pl.col(name).str.strip_chars(" ").cast(dtype, strict=False)
        text = schema.check(
            text, name, value.is_not_null(), _EXPECTED[dtype], path, bad_rows, first_row=first_row
        ).with_columns(value)
    return text


def _require_utf8(path: pathlib.Path, error: Exception) -> None:
    """Raises where the reader's error comes from bytes that are not UTF-8."""
    row = files.undecodable_row(path, "utf-8")
    if row is not None:
        raise UserError(
            f"{path.name}, row {row}: not UTF-8 text. Pass the file's --encoding, "
            "for example --encoding=latin-1."
        ) from error
