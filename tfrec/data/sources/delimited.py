"""Delimited text -> typed columns, equal to the rows of Python's csv module.

If all lines have the same number of fields and no quotes, polars reads the file in parallel.
The csv module reads every other file, in batches. A row's number is that of its first line.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data import text_columns
from tfrec.data.sources import assembly, text_rows
from tfrec.errors import UserError

_log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1 << 20  # in a batch of polars
_RECORDS_AT_ONCE = 1 << 16  # in a batch of the csv module

_EXPECTED = {
    pl.Int32: "an integer within 32 bits",
    pl.Int64: "an integer within 64 bits",
    pl.Float32: "a number",
    pl.Float64: "a number",
    pl.String: "text",
}


def header(
    path: pathlib.Path, separator: str = ",", quoting: text_rows.Quoting = "doubled"
) -> list[str]:
    """The names of the columns: the first row that is not blank.

    Raises:
      UserError: if every row is blank, or if the file is not text.
    """
    return list(text_rows.with_header(path, separator, quoting).names)


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
    """Reads the validated table of a plain file with contiguous rows of each user.

    Blocks of users are checked and ordered while the next block is parsed, so that memory is
    the finished table and one block.

    Args:
      path: as for `read`, and so are `columns`, `separator` and `names`.
      columns: names and types of the columns to read.
      interactions: turns all rows of some users, with their `row`, into rows of the
        interaction table, in which every column is a number.
      schema: schema of the interaction table.
      bad_rows: as for `read`; unchanged if the result is None.
      user: the column with the user.
      separator: one character.
      names: all columns, for a file without a header line.

    Returns:
      The table, or None if the file does not have this form; `read` then orders its rows or
      reports the error.

    Raises:
      UserError: for a row that breaks a rule, unless such rows are skipped.
    """
    file = _described(path, columns, separator, "doubled", names)
    if not text_rows.is_plain(file):
        return None
    scan = _scan(file, columns)
    rejected = schema_lib.BadRows(bad_rows.skip, bad_rows.skippable)
    try:
        table = assembly.Table(schema, rows=scan.select(pl.len()).collect().item())
        batches = scan.with_row_index(
            schema_lib.ROW, offset=file.header_lines + 1
        ).collect_batches(chunk_size=_ROWS_AT_ONCE, maintain_order=True, engine="streaming")
        rest = None  # the batch's last user may continue in the next batch
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
        return None  # all rows of a block were rejected
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
    quoting: text_rows.Quoting = "doubled",
    names: Sequence[str] | None = None,
    optional: Collection[str] = (),
) -> pl.DataFrame:
    """Reads columns of a UTF-8 file.

    Outer whitespace of values and column names is dropped, and so are blank lines.

    Args:
      path: the file.
      columns: names and types of the columns to read; any further ones are left out.
      bad_rows: what to do with rows that do not fit.
      separator: one character.
      quoting: as in `text_rows.TextFormat`.
      names: all columns, for a file without a header line.
      optional: columns whose values may be missing; they are null.

    Returns:
      The columns, and a `row` column unless each row's number follows from its position.

    Raises:
      UserError: for a missing column, an undecodable file, a damaged row (unless these
        are skipped), or no rows.
    """
    file = _described(path, columns, separator, quoting, names)
    frame = _read_plain(file, columns, optional) if text_rows.is_plain(file) else None
    if frame is None:
        batches = [
            _typed(batch, columns, path, bad_rows, optional)
            for batch in _batches(file, list(columns), bad_rows)
        ]
        frame = pl.concat(batches)
    if frame.height == 0:
        raise UserError(f"{path.name}: no rows after the header; expected at least one event")
    return frame


def blocks(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    bad_rows: schema_lib.BadRows,
    *,
    separator: str = ",",
    quoting: text_rows.Quoting = "doubled",
    names: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Reads columns like `read`, in blocks of rows with a `row` column.

    Args:
      path: as for `read`, like all arguments.
      columns: names and types of the columns to read.
      bad_rows: what to do with rows that do not fit.
      separator: one character.
      quoting: as in `text_rows.TextFormat`.
      names: all columns, for a file without a header line.

    Raises:
      UserError: as `read`, except for a file without rows.
    """
    file = _described(path, columns, separator, quoting, names)
    last_row = 0
    if text_rows.is_plain(file):
        rows = _scan(file, columns).with_row_index(schema_lib.ROW, offset=file.header_lines + 1)
        try:
            for batch in rows.collect_batches(
                chunk_size=_ROWS_AT_ONCE, maintain_order=True, engine="streaming"
            ):
                if sum(batch.null_count().row(0)):
                    break
                yield batch
                last_row = batch[schema_lib.ROW][-1] if batch.height else last_row
            else:
                return
        except pl.exceptions.PolarsError:
            pass  # the csv module finds the row at fault
    for batch in _batches(file, list(columns), bad_rows):
        yield _typed(batch.filter(pl.col(schema_lib.ROW) > last_row), columns, path, bad_rows)


def read_as_text(
    path: pathlib.Path,
    bad_rows: schema_lib.BadRows,
    *,
    separator: str = ",",
    quoting: text_rows.Quoting = "doubled",
) -> tuple[list[str], pl.DataFrame]:
    """Reads all columns of a UTF-8 file with a header, as text.

    Args:
      path: the file.
      bad_rows: what to do with rows that do not fit.
      separator: one character.
      quoting: as in `text_rows.TextFormat`.

    Returns:
      The names of the columns; and a frame of `row` and the columns under the names `0`,
      `1`, ..., without outer whitespace and with null for empty fields.

    Raises:
      UserError: for an undecodable file, or a damaged row (unless these are skipped).
    """
    file = text_rows.with_header(path, separator, quoting)
    names, positions = list(file.names), [str(place) for place in range(len(file.names))]
    file = dataclasses.replace(file, names=positions)
    if text_rows.is_plain(file):
        try:
            scan = _scan(file, dict.fromkeys(positions, pl.String))
            rows = scan.with_row_index(schema_lib.ROW, offset=file.header_lines + 1)
            return names, rows.collect(engine="streaming")
        except pl.exceptions.PolarsError:
            pass  # the csv module finds the row at fault
    return names, pl.concat(_batches(file, positions, bad_rows))


def _described(
    path: pathlib.Path,
    columns: Mapping[str, type[pl.DataType]],
    separator: str,
    quoting: text_rows.Quoting,
    names: Sequence[str] | None,
) -> text_rows.TextFile:
    """The file with the names of all its columns.

    Raises:
      UserError: if one of `columns` is missing, occurs twice, or has the name of the row
        numbers.
    """
    if names is None:
        file = text_rows.with_header(path, separator, quoting)
    else:
        file = text_rows.TextFile(path, separator, quoting, names, header_lines=0)
    for name in columns:
        if name not in file.names:
            raise UserError(
                f"{path.name}, row {max(file.header_lines, 1)}: no column {name!r}; the file "
                f"has {', '.join(file.names)}"
            )
        if name == schema_lib.ROW:
            raise UserError(
                f"{path.name}: the name {name!r} is reserved for row numbers; expected another "
                "name in the header"
            )
        if list(file.names).count(name) > 1:
            raise UserError(
                f"{path.name}, row {file.header_lines}: two columns have the name {name!r}; "
                "expected one"
            )
    return file


def _scan(file: text_rows.TextFile, columns: Mapping[str, type[pl.DataType]]) -> pl.LazyFrame:
    """The requested columns of a plain file; null for empty fields."""
    place = {name: str(file.names.index(name)) for name in columns}
    types = {position: columns[name] for name, position in place.items()}
    scan = pl.scan_csv(
        file.path.absolute(),  # polars expands a leading `~`
        glob=False,
        separator=file.separator,
        quote_char=None,
        has_header=False,
        skip_lines=file.header_lines,
        schema={str(n): types.get(str(n), pl.String) for n in range(len(file.names))},
    )
    return scan.select(
        (
            text_columns.stripped(pl.col(position))
            if types[position] == pl.String
            else pl.col(position)
        ).alias(name)
        for name, position in place.items()
    )


def _read_plain(
    file: text_rows.TextFile,
    columns: Mapping[str, type[pl.DataType]],
    optional: Collection[str],
) -> pl.DataFrame | None:
    """The columns of a plain file, or None if a value is missing or of another type."""
    try:
        frame = _scan(file, columns).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return None
    if sum(frame.drop(optional).null_count().row(0)):
        return None
    if file.header_lines > 1:
        frame = frame.with_row_index(schema_lib.ROW, offset=file.header_lines + 1)
    return frame


def _typed(
    text: pl.DataFrame,
    columns: Mapping[str, type[pl.DataType]],
    path: pathlib.Path,
    bad_rows: schema_lib.BadRows,
    optional: Collection[str] = (),
) -> pl.DataFrame:
    """Casts text column by column, rejecting rows that do not fit."""
    for name, dtype in columns.items():
        value = pl.col(name).cast(dtype, strict=False)
        valid = value.is_not_null()
        if name in optional:
            valid |= pl.col(name).is_null()
        text = schema_lib.check(
            text, name, valid, _EXPECTED[dtype], path, bad_rows, first_row=1
        ).with_columns(value)
    return text


def _batches(
    file: text_rows.TextFile, columns: Sequence[str], bad_rows: schema_lib.BadRows
) -> Iterator[pl.DataFrame]:
    """`row` and the requested columns as text, as the csv module reads them.

    Raises:
      UserError: for text that is not UTF-8, or for a damaged row unless these are skipped.
    """
    width = len(file.names)
    broken: list[int] = []  # rows that hold line breaks
    records = (entry for entry in text_rows.records(file) if entry[0] > file.header_lines)
    more = True
    while more:
        rows: list[int] = []
        # Lists of text only: the garbage collector skips them, unlike lists of rows.
        values: dict[str, list[str]] = {name: [] for name in columns}
        places = [(values[name].append, file.names.index(name)) for name in columns]
        damaged: list[tuple[int, list[str] | text_rows.Damaged]] = []
        more = False
        for row, record, lines in records:
            if isinstance(record, text_rows.Damaged) or len(record) > width:
                damaged.append((row, record))
            elif len(record) == width or not text_rows.is_blank(record):
                if len(record) < width:
                    record += [""] * (width - len(record))
                rows.append(row)
                for append, place in places:
                    append(record[place])
                if lines > 1:
                    broken.append(row)
            if len(rows) + len(damaged) == _RECORDS_AT_ONCE:
                more = True
                break
        if damaged:
            _reject(file, damaged, bad_rows)
        frame = pl.DataFrame(
            [pl.Series(schema_lib.ROW, rows, pl.UInt32)]
            + [pl.Series(name, column, pl.String) for name, column in values.items()]
        )
        yield frame.with_columns(text_columns.stripped(pl.col(name)) for name in columns)
    if broken:
        _log.warning(
            "%s: %d rows hold line breaks within quotes, the first at row %d",
            file.path.name,
            len(broken),
            broken[0],
        )


def _reject(
    file: text_rows.TextFile,
    damaged: Sequence[tuple[int, list[str] | text_rows.Damaged]],
    bad_rows: schema_lib.BadRows,
) -> None:
    """Rejects rows with too many fields, and rows that the csv module cannot read."""
    rejected: dict[str, list[tuple[int, str]]] = {}  # by what is expected, first row first
    for row, record in damaged:
        if isinstance(record, text_rows.Damaged):
            shown, backslash = record.line.rstrip("\r\n"), '\\"' in record.line
            expected = f"fields that are closed by the quote that ends them ({record.why})"
        else:
            shown = f"{len(record)} fields"
            backslash = any(field.endswith("\\") for field in record)
            expected = f"{len(file.names)} fields"
        if file.quoting == "doubled" and backslash:
            expected += r"; quoting=backslash reads \" as a quote within a field"
        elif file.quoting != "none" and isinstance(record, text_rows.Damaged):
            expected += "; quoting=none reads quotes as ordinary characters"
        rejected.setdefault(expected, []).append((row, shown))
    for expected, rows in rejected.items():
        numbers, texts = zip(*rows, strict=True)
        bad_rows.reject(file.path, pl.Series(numbers), "the row", pl.Series(texts), expected)
