"""OTTO: four weeks of a shop, JSON lines, one session (which is one user) a line.

https://github.com/otto-de/recsys-dataset (CC BY 4.0; lies on Kaggle, an account is needed):

    {"session": 42, "events": [{"aid": 0, "ts": 1661200010000, "type": "clicks"}, ...]}

`aid` is the item, `ts` unix milliseconds, `type` one of clicks, carts and orders. Every event
is a step at which the user saw the item; its type is the feedback: `order` (the reward, as
a buy is in the other shops) and `cart`, both 0 where it is a click. A session
of the publisher is all that a user did in the four weeks, so `session_gap_minutes` splits it.

The file is read in blocks of lines. Lines with other content, and events with invalid values,
are bad rows; a row's number is that of its line.
"""

import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import polars as pl

from tfrec import types
from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, files
from tfrec.errors import UserError

PATTERNS = ("train.jsonl", "otto-recsys-train.jsonl")
_TYPES = ("clicks", "carts", "orders")
_EVENT: dict[str, type[pl.DataType]] = {"aid": pl.Int32, "ts": pl.Int64, "type": pl.String}
_LINE: dict[str, Any] = {"session": pl.Int32, "events": pl.List(pl.Struct(_EVENT))}
_NAMES = {"user": "session", "item": "aid", "time_ms": "ts"}
_EXPECTED = {
    "session": "an integer within 32 bits",
    "aid": "an integer within 32 bits",
    "ts": "an integer of unix milliseconds",
    "type": "clicks, carts or orders",
}
_SCHEMA = schema_lib.Schema(
    feedback=(
        types.FeedbackColumn("order", "binary", "orders"),
        types.FeedbackColumn("cart", "binary", "additions to the cart"),
    )
)


def read(
    path: str | pathlib.Path, bad_rows: schema_lib.BadRows | None = None
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The events as an interaction table.

    Args:
      path: the file (also as .gz), its folder, or an archive.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: order, cart) and its schema.

    Raises:
      UserError: naming file, line, field and value; or a session that has two lines.
    """
    bad_rows = bad_rows or schema_lib.BadRows()
    with files.streams(path, PATTERNS) as (log,):
        events = assembly.Events(log.name, _SCHEMA, _blocks(log, bad_rows), names=_NAMES)
        return assembly.gathered(events, bad_rows), _SCHEMA


def _blocks(
    log: files.Stream, bad_rows: schema_lib.BadRows
) -> Iterator[tuple[str, pl.DataFrame]]:
    lines_of: list[pl.DataFrame] = []
    for first_row, lines in files.blocks_of_lines(log):
        events = _events(lines, first_row, log.name, bad_rows)
        lines_of.append(events.select(schema_lib.ROW, "user").unique())
        yield log.name, events
    _reject_second_line(lines_of, log.name)


def _reject_second_line(lines_of: list[pl.DataFrame], name: str) -> None:
    """Checks that each session has one line."""
    sessions = pl.concat(lines_of)["user"]
    session: Any = sessions.filter(sessions.is_duplicated()).min()
    if session is not None:
        raise UserError(f"{name}: session {session} has two lines; expected one of each")


def _events(
    lines: bytes, first_row: int, log: str, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """The events of some lines as rows of the interaction table."""
    events = _parsed(lines, first_row)
    if events is None:
        events = _parsed_by_line(lines, first_row, log, bad_rows)
    is_valid = pl.col("type").is_in(_TYPES)
    events = schema_lib.check(
        events, "type", is_valid, _EXPECTED["type"], log, bad_rows, first_row=first_row
    )
    return events.select(
        schema_lib.ROW,
        pl.col("session").alias("user"),
        pl.col("aid").alias("item"),
        pl.col("ts").alias("time_ms"),
        (pl.col("type") == "orders").cast(pl.Float32).alias("order"),
        (pl.col("type") == "carts").cast(pl.Float32).alias("cart"),
    )


def _parsed(lines: bytes, first_row: int) -> pl.DataFrame | None:
    """Parses valid lines at full speed: row, session, aid, ts, type; None for other lines."""
    try:
        sessions = pl.read_ndjson(io.BytesIO(lines), schema=_LINE)
    except pl.exceptions.PolarsError:
        return None
    if sessions.height != lines.count(b"\n") + (not lines.endswith(b"\n")):
        return None  # blank lines would shift the row numbers
    events = sessions.with_row_index(schema_lib.ROW, offset=first_row).explode("events")
    events = events.unnest("events")
    return None if sum(events.null_count().row(0)) else events


def _parsed_by_line(
    lines: bytes, first_row: int, log: str, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """Parses lines one by one, and rejects the damaged ones."""
    event_rows: list[tuple[object, ...]] = []
    broken: list[tuple[int, str]] = []
    for row, line in enumerate(lines.split(b"\n"), first_row):
        if not line.strip():
            continue
        try:
            parsed = json.loads(line)
            session, events = parsed["session"], parsed["events"]
            event_rows += [
                (row, _text(session), *(_text(event.get(name)) for name in _EVENT))
                for event in events
            ]
        except (ValueError, LookupError, TypeError, AttributeError):
            broken.append((row, line.decode("utf-8", "replace")))
    if broken:
        rows, texts = zip(*broken, strict=True)
        bad_rows.reject(
            log,
            pl.Series(rows),
            "the line",
            pl.Series(texts),
            'JSON such as {"session": 1, "events": [{"aid": 2, "ts": 3, "type": "clicks"}]}',
        )
    names = ["session", *_EVENT]
    columns = {schema_lib.ROW: pl.UInt32, **dict.fromkeys(names, pl.String)}
    frame = pl.DataFrame(event_rows, schema=columns, orient="row")
    for name in names:
        value = pl.col(name).cast(_EVENT.get(name, pl.Int32), strict=False)
        frame = schema_lib.check(
            frame,
            name,
            value.is_not_null(),
            _EXPECTED[name],
            log,
            bad_rows,
            first_row=first_row,
        ).with_columns(value)
    return frame


def _text(value: object) -> str | None:
    return None if value is None else str(value)
