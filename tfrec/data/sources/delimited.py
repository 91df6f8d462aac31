"""Delimited text -> typed columns, with an error that names the row where it goes wrong."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, files
from tfrec.errors import UserError

_ROWS_AT_ONCE = 1 << 20

_EXPECTED = {
    pl.Int32: "an integer within 32 bits",
    pl.Int64: "an integer within 64 bits",
    pl.Float32: "a number",
    pl.Float64: "a number",
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


def read_grouped(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    interactions: Callable[[pl.DataFrame, schema_lib.BadRows], pl.DataFrame],
    schema: schema_lib.Schema,
    bad_rows: schema_lib.BadRows,
    *,
    user: str,
    separator: str = ",",
    names: Sequence[str] | None = None,
) -> pl.DataFrame | None:
    """The validated table of a readable file in which each user's rows are together.

    Some users at a time are read, checked and ordered while the next are parsed, so that
    memory is the finished table and one block.

    Args:
      path: as for `read`, and so are `columns`, `separator` and `names`.
      columns: names and types of the columns to read.
      interactions: turns all rows of some users, with their `row`, into rows of the
        interaction table, in which every column is a number.
      schema: of the interaction table.
      bad_rows: as for `read`; left alone where None is returned.
      user: the column with the user.
      separator: one character.
      names: all columns, for a file without a header line.

    Returns:
      The table, or None where the file is not so: then `read` it, to put it in order or
      to say what is wrong.

    Raises:
      UserError: for a row that breaks a rule, unless such rows are skipped.
    """
    present = _present(path, columns, separator, names)
    scan = _scan(path, present, columns, separator, names is None)
    rejected = schema_lib.BadRows(bad_rows.skip)
    try:
        table = assembly.Table(schema, rows=scan.select(pl.len()).collect().item())
        batches = (
            scan.select(*columns)
            .with_row_index(schema_lib.ROW, offset=2 if names is None else 1)
            .collect_batches(chunk_size=_ROWS_AT_ONCE, maintain_order=True, engine="streaming")
        )
        rest = None  # the batch's last user may go on in the next batch
        for batch in batches:
            if sum(batch.null_count().row(0)):
                return None
            rows = batch if rest is None else pl.concat([rest, batch])
            users = rows[user].to_numpy()
            changes = np.flatnonzero(users[1:] != users[:-1])
            cut = int(changes[-1]) + 1 if len(changes) else 0
            rest, rows = rows[cut:], rows[:cut]
            if cut:
                rows = interactions(rows, rejected)
                table.append(schema_lib.validate(rows, schema, path, rejected))
        if rest is None:
            return None
        rows = interactions(rest, rejected)
        table.append(schema_lib.validate(rows, schema, path, rejected))
    except pl.exceptions.PolarsError:
        return None
    except UserError:
        if not bad_rows.skip:
            raise
        return None  # nothing of a block was left
    if table.shared_user() is not None:
        return None
    bad_rows.add(rejected)
    return table.finished()


def read(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    bad_rows: schema_lib.BadRows,
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
    present = _present(path, columns, separator, names)
    try:
        scan = _scan(path, present, columns, separator, names is None)
        frame = scan.select(*columns).collect(engine="streaming")
        clean = sum(frame.null_count().row(0)) == 0
    except pl.exceptions.PolarsError as error:
        _require_utf8(path, error)
        clean = False
    if not clean:
        frame = _read_as_text(path, columns, bad_rows, present, separator, names is None)
    if frame.height == 0:
        raise UserError(f"{path.name}: no rows after the header; expected at least one event")
    return frame


def _present(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    separator: str,
    names: Sequence[str] | None,
) -> list[str]:
    """The names of all columns of the file.

    Raises:
      UserError: if one of `columns` is not among them.
    """
    present = header(path, separator) if names is None else list(names)
    absent = [name for name in columns if name not in present]
    if absent:
        raise UserError(
            f"{path.name}, row 1: no column {absent[0]!r}; the file has {', '.join(present)}"
        )
    return present


def _scan(
    path: pathlib.Path,
    present: Sequence[str],
    columns: Mapping[str, type[pl.DataType]],
    separator: str,
    has_header: bool,
    **options: Any,
) -> pl.LazyFrame:
    """The rows after the header, under names of ours: `a, b` is as good as `a,b`."""
    dtypes = {name: columns.get(name, pl.String) for name in present}
    return pl.scan_csv(
        path,
        separator=separator,
        has_header=False,
        skip_rows=1 if has_header else 0,
        schema=dtypes,
        **options,
    )


def _read_as_text(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    bad_rows: schema_lib.BadRows,
    present: Sequence[str],
    separator: str,
    has_header: bool,
) -> pl.DataFrame:
    """Reads text, then casts column by column, rejecting rows that do not fit."""
    first_row = 2 if has_header else 1

    def collected(**options: Any) -> pl.DataFrame:
        scan = _scan(path, present, {}, separator, has_header, **options).select(*columns)
        rows = scan.with_row_index(schema_lib.ROW, offset=first_row)
        return rows.collect(engine="streaming")

    try:
        text = collected()
    except pl.exceptions.PolarsError:
        text = collected(truncate_ragged_lines=True)
        text = _without_long_rows(text, path, bad_rows, len(present), separator, has_header)
    text = text.filter(~pl.all_horizontal(pl.col(*columns).is_null()))  # blank lines
    for name, dtype in columns.items():
        value = pl.col(name).str.strip_chars(" ").cast(dtype, strict=False)
        text = schema_lib.check(
            text,
            name,
            value.is_not_null(),
            _EXPECTED[dtype],
            path,
            bad_rows,
            first_row=first_row,
        ).with_columns(value)
    return text


def _without_long_rows(
    text: pl.DataFrame,
    path: pathlib.Path,
    bad_rows: schema_lib.BadRows,
    num_fields: int,
    separator: str,
    has_header: bool,
) -> pl.DataFrame:
    """Rejects the rows that have more fields than there are columns."""
    whole = {"quote_char": None, "truncate_ragged_lines": True}
    lines = _scan(path, ["line"], {}, "\x01", has_header, **whole).collect()["line"]
    fields = lines.str.replace_all('"[^"]*"', "").str.count_matches(separator, literal=True) + 1
    long = (fields > num_fields).fill_null(False)
    if len(lines) != text.height or not long.any():
        raise UserError(
            f"{path.name}: a row has more fields than the header names; expected {num_fields}"
        )
    rows = text[schema_lib.ROW].filter(long)
    found = pl.select(pl.format("{} fields", fields.filter(long))).to_series()
    bad_rows.reject(path, rows, "the row", found, f"{num_fields} fields")
    return text.filter(~long)


def _require_utf8(path: pathlib.Path, error: Exception) -> None:
    """Raises where the reader's error comes from bytes that are not UTF-8."""
    row = files.undecodable_row(path, "utf-8")
    if row is not None:
        raise UserError(
            f"{path.name}, row {row}: not UTF-8 text. Pass the file's --encoding, "
            "for example --encoding=latin-1."
        ) from error
