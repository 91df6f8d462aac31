"""Text formats of sequential benchmarks, without times and feedback.

    lines    `user item item ...`, a user a line, oldest event first (S3-Rec's files)
    rows     `user item`, an event a line, each user's oldest event first (SASRec's ml-1m.txt)

Numbers are separated by blanks or tabs, and there is no header. Every event counts as a click.
`time_ms` counts the events of a user.
"""

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Iterator
from typing import Literal

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, files, ratings
from tfrec.errors import UserError
from tfrec.options import Options, option

PATTERNS = ("*.txt",)
_SCHEMA = schema_lib.Schema(feedback=(ratings.CLICK,), order="file")
_ORDER = "the log has no times: each user's events are in the order of the file"


@dataclasses.dataclass(frozen=True)
class SequenceConfig(Options):
    """How the lines of a sequence file are written."""

    sequence_form: Literal["lines", "rows"] = option(
        "lines",
        "sequence: how a line is written: lines, `user item item ...`, or rows, `user item`; "
        "oldest event first",
    )


def read(
    path: str | pathlib.Path,
    config: SequenceConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The events as an interaction table.

    Args:
      path: the file (also as .gz), or a folder or an archive with one.
      config: how its lines are written.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: click, always 1) and its schema.

    Raises:
      UserError: naming file, row and value; or a user that has two lines, in form lines.
    """
    return assembly.table(events, path, config or SequenceConfig(), bad_rows)


@contextlib.contextmanager
def events(
    path: str | pathlib.Path, config: SequenceConfig, bad_rows: schema_lib.BadRows
) -> Iterator[assembly.Events]:
    """Opens the log as blocks of rows, to be read within the context."""
    bad_rows.remark(_ORDER)
    with files.streams(path, PATTERNS) as (log,):
        yield assembly.Events(log.name, _SCHEMA, _interactions(log, config, bad_rows))


def _interactions(
    log: files.Stream, config: SequenceConfig, bad_rows: schema_lib.BadRows
) -> Iterator[tuple[str, pl.DataFrame]]:
    rows_form = config.sequence_form == "rows"
    pattern = r"^-?[0-9]+ -?[0-9]+$" if rows_form else r"^-?[0-9]+( -?[0-9]+)+$"
    expected = (
        "`user item`, two integers; the form `lines` reads a user a line"
        if rows_form
        else "`user item item ...`, integers; the form `rows` reads an event a line"
    )
    users: list[pl.DataFrame] = []
    for first_row, block in files.blocks_of_lines(log):
        lines = pl.read_lines(io.BytesIO(block), name="line")
        lines = lines.with_row_index(schema_lib.ROW, offset=first_row)
        words = pl.col("line").str.replace_all(r"[ \t]+", " ").str.strip_chars(" ")
        lines = lines.with_columns(words).filter(pl.col("line") != "")
        lines = schema_lib.check(
            lines,
            "line",
            pl.col("line").str.contains(pattern),
            expected,
            log.name,
            bad_rows,
            first_row=1,
            shown_as="the row",
        )
        numbers = pl.col("line").str.split(" ").cast(pl.List(pl.Int64), strict=False)
        lines = schema_lib.check(
            lines.with_columns(numbers.alias("number")),
            "line",
            pl.col("number").list.eval(pl.element().is_not_null()).list.all(),
            "integers within 64 bits",
            log.name,
            bad_rows,
            first_row=1,
            shown_as="the row",
        )
        events = lines.select(
            schema_lib.ROW,
            pl.col("number").list.first().alias("user"),
            pl.col("number").list.slice(1).alias("item"),
            pl.lit(1.0, pl.Float32).alias("click"),
        )
        if not rows_form:
            users.append(events.select(schema_lib.ROW, "user"))
        yield log.name, events.explode("item")
    if users:
        _reject_second_line(users, log.name)


def _reject_second_line(users: list[pl.DataFrame], name: str) -> None:
    """Checks that each user has one line."""
    lines = pl.concat(users)
    again = lines.filter(~pl.col("user").is_first_distinct())
    if again.height:
        row, user = again.row(0)
        first = lines.filter(pl.col("user") == user)[schema_lib.ROW][0]
        raise UserError(
            f"{name}, row {row}: user {user} has row {first} too; expected one line a user. "
            "The form `rows` reads an event a line"
        )
