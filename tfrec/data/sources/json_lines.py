"""Objects of text, one a line -> typed columns: JSON, or Python's literals.

Polars parses blocks of valid JSON. A block with a damaged line is parsed again line by line,
to name the row. Other fields than the requested ones are ignored.
"""

import ast
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import files

_EXPECTED: dict[type[pl.DataType], str] = {
    pl.String: "text",
    pl.Int64: "an integer within 64 bits",
    pl.Float64: "a number",
    pl.Boolean: "true or false",
}
_KINDS: dict[type[pl.DataType], tuple[type, ...]] = {
    pl.String: (str,),
    pl.Int64: (int,),
    pl.Float64: (int, float),
    pl.Boolean: (bool,),
}


def read(
    stream: files.Stream,
    fields: Mapping[str, type[pl.DataType]],
    bad_rows: schema_lib.BadRows,
    *,
    example: str,
    optional: tuple[str, ...] = (),
) -> Iterator[pl.DataFrame]:
    """Reads fields of JSON lines, some megabytes at a time, and skips blank lines.

    Args:
      stream: the file.
      fields: names and types: String, Int64, Float64 or Boolean.
      bad_rows: what to do with lines that do not fit.
      example: a good line, for messages.
      optional: fields that a line may lack; the others must have a value.

    Yields:
      `row` and the fields.

    Raises:
      UserError: for a damaged line, a missing field or a value of another type, unless such
        rows are skipped; for an empty or undecodable file.
    """
    for first_row, lines in files.blocks_of_lines(stream):
        rows = _parsed(lines, first_row, fields, optional)
        if rows is None:
            rows = by_line(
                lines.decode().split("\n"),
                first_row,
                json.loads,
                fields,
                stream.name,
                bad_rows,
                example=f"JSON such as {example}",
                optional=optional,
            )
        yield rows


def by_line(
    lines: list[str],
    first_row: int,
    parse: Callable[[str], Any],
    fields: Mapping[str, type[pl.DataType]],
    name: str,
    bad_rows: schema_lib.BadRows,
    *,
    example: str,
    optional: tuple[str, ...] = (),
) -> pl.DataFrame:
    """Parses lines one by one and returns their fields.

    Args:
      lines: lines without line ends.
      first_row: number of the first line.
      parse: returns a dict, or raises ValueError or SyntaxError.
      fields: as for `read`, and so are `bad_rows` and `optional`.
      name: name of the file.
      bad_rows: what to do with lines that do not fit.
      example: completes "expected ..." for a line that cannot be parsed.
      optional: fields that a line may lack.
    """
    rows: list[int] = []
    values: dict[str, list[Any]] = {field: [] for field in fields}
    # Bad lines by column and expected values, in the order of their first row.
    rejected: dict[tuple[str, str], list[tuple[int, str | None]]] = {}
    for row, line in enumerate(lines, first_row):
        if not line.strip():
            continue
        try:
            record = parse(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            record = None
        if not isinstance(record, dict):
            rejected.setdefault(("the line", example), []).append((row, line))
            continue
        misfits = [
            field
            for field, dtype in fields.items()
            if not _fits(record.get(field), dtype, field in optional)
        ]
        if misfits:
            value = record.get(misfits[0])
            entry = (row, None if value is None else str(value))
            rejected.setdefault((misfits[0], _EXPECTED[fields[misfits[0]]]), []).append(entry)
            continue
        rows.append(row)
        for field, column in values.items():
            column.append(record.get(field))
    for (column_name, expected), entries in rejected.items():
        numbers, texts = zip(*entries, strict=True)
        shown_texts = pl.Series(texts, dtype=pl.String)
        bad_rows.reject(name, pl.Series(numbers), column_name, shown_texts, expected)
    return pl.DataFrame(
        [
            pl.Series(schema_lib.ROW, rows, pl.UInt32),
            *(pl.Series(field, column, fields[field]) for field, column in values.items()),
        ]
    )


def literal(line: str) -> Any:
    """Parses a line of Python literals (text, numbers, lists, dicts) without running code.

    Raises:
      ValueError, SyntaxError: if it is anything else.
    """
    return ast.literal_eval(line.strip())


def _parsed(
    lines: bytes,
    first_row: int,
    fields: Mapping[str, type[pl.DataType]],
    optional: tuple[str, ...],
) -> pl.DataFrame | None:
    """Clean lines at full speed; None for any others."""
    try:
        rows = pl.read_ndjson(io.BytesIO(lines), schema=dict(fields))
    except pl.exceptions.PolarsError:
        return None
    if rows.height != lines.count(b"\n") + (not lines.endswith(b"\n")):
        return None  # blank lines would shift the row numbers
    for field, dtype in fields.items():
        if field not in optional and rows[field].null_count():
            return None
        # Polars turns values of other types into their JSON text.
        if dtype == pl.String and rows[field].str.contains(r"^(\[|\{|true$|false$)").any():
            return None
    return rows.with_row_index(schema_lib.ROW, offset=first_row)


def _fits(value: Any, dtype: type[pl.DataType], optional: bool) -> bool:
    if value is None:
        return optional
    if isinstance(value, bool) and dtype != pl.Boolean:
        return False
    if dtype == pl.Int64 and isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, _KINDS[dtype])
