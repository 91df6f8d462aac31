"""YooChoose (RecSys Challenge 2015): six months of clicks and buys in a shop.

As published (CC BY-NC-ND 4.0), two files without a header, which are read together:

    yoochoose-clicks.dat   session, ISO time, item, category
    yoochoose-buys.dat     session, ISO time, item, price, quantity

Every click is a step at which the session saw the item. Its feedback is `buy`, the reward
(the paper counts transactions, SPEC 1.10): 1 at the last click of an item that is not later
than a buy of it in the session. Several buys that follow the same click count once. Buys
of an item that was not clicked before are not counted, and their number is logged. The category
describes the click, not the item; S (special offer) becomes -1, and 0 stands for unknown.

Session-rec and GRU4Rec pass the clicks on as text with a header, SessionId, ItemId and Time
(unix seconds) between tabs, without the buys. The reward of such files is a stand-in,
`long_view`: 1 where the session's next click comes at least `long_view_seconds` later. The
last click of a session has no next one and counts 0. The default gives a rate of .037 in
sessions of 13 or more clicks, which is the CTR of the paper's tables on this set (.032 to
.041). It is not a purchase, and results must say so.

Of clicks that agree in session, item and time, the first is used, and the number of dropped
ones is logged.
"""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from tfrec import types
from tfrec.data import schema as schema_lib
from tfrec.data.sources import delimited, files
from tfrec.errors import UserError
from tfrec.options import Options, option

_log = logging.getLogger(__name__)

PATTERNS = ("yoochoose-[bc]*.dat", "yoochoose-clicks*.txt")
_BUYS = "yoochoose-buys.dat"
_CLICK_COLUMNS = {
    "session": pl.Int32,
    "time": pl.String,
    "item": pl.Int32,
    "category": pl.String,
}
_BUY_COLUMNS = {"session": pl.Int32, "time": pl.String, "item": pl.Int32}
_TEXT_COLUMNS = {"SessionId": pl.Int32, "ItemId": pl.Int32, "Time": pl.Float64}
_BUY_SCHEMA = schema_lib.Schema(
    feedback=(types.FeedbackColumn("buy", "binary", "buys"),), category=True
)
_TEXT_SCHEMA = schema_lib.Schema(
    feedback=(types.FeedbackColumn("long_view", "binary", "long views"),)
)
_NAMES_IN_FILE = {"user": "session", "time_ms": "time"}
_DAY_MS, _TEN_HOURS_MS = 86_400_000, 36_000_000


@dataclasses.dataclass(frozen=True)
class YooChooseConfig(Options):
    """How clicks become steps with feedback."""

    merge_repeats: bool = option(
        False,
        "YooChoose: count an item's clicks in a session once within 0-10 h, 10-20 h or 20-24 h "
        "of a day (UTC); the first stays",
    )
    long_view_seconds: float = option(
        500.0,
        "YooChoose's text form, which has no buys: a click is a long view if the next one of "
        "the session comes at least this much later, seconds",
        above=0,
    )


def read(
    path: str | pathlib.Path,
    config: YooChooseConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The clicks as an interaction table; a session is a user.

    Args:
      path: a folder or an archive with both .dat files or with text files (which are read
        together); or yoochoose-clicks.dat, the buys being beside it; or a text file.
      config: how clicks become feedback.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table and its schema: feedback buy and a category, or long_view.

    Raises:
      UserError: naming file, row, column and value; if one of the two files is missing; or if
        text files share a session.
    """
    config, bad_rows = config or YooChooseConfig(), bad_rows or schema_lib.BadRows()
    before = bad_rows.repeated
    table, schema = _read(path, config, bad_rows)
    repeated = bad_rows.repeated - before
    if repeated:
        _log.warning("%s: dropped %d clicks that repeat another", path, repeated)
    return table, schema


@contextlib.contextmanager
def opened(path: str | pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """The files of a log: both .dat files, or the text files.

    Args:
      path: as `read` takes it.

    Raises:
      UserError: if there is no such file.
    """
    with contextlib.ExitStack() as stack:
        logs = stack.enter_context(files.opened(path, PATTERNS, several=True))
        if not any("buys" in log.name or files.has_tabs(log) for log in logs):
            beside = [pathlib.Path(path).with_name(_BUYS + end) for end in ("", ".gz")]
            for file in [file for file in beside if file.exists()][:1]:
                logs = [*logs, *stack.enter_context(files.opened(file))]
        yield logs


def _read(
    path: str | pathlib.Path, config: YooChooseConfig, bad_rows: schema_lib.BadRows
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    with opened(path) as logs:
        if any(files.has_tabs(log) for log in logs):
            tables = [_read_text(log, config, bad_rows) for log in logs]
            return _together(tables, logs), _TEXT_SCHEMA
        buys = [log for log in logs if "buys" in log.name]
        clicks = [log for log in logs if log not in buys]
        for files_of_one in (buys, clicks):
            if len(files_of_one) > 1:
                raise UserError(
                    f"{path}: holds {files_of_one[0].name} and {files_of_one[1].name}; "
                    "expected one pair of clicks and buys"
                )
        if not clicks:
            raise UserError(f"{path}: no yoochoose-clicks.dat beside {buys[0].name}")
        if not buys:
            raise UserError(
                f"{path}: no {_BUYS} beside it; expected the published pair, since the reward "
                "is what was bought (or session-rec's text form, which begins with SessionId)"
            )
        return _read_published(clicks[0], buys[0], config, bad_rows), _BUY_SCHEMA


def _read_published(
    log: pathlib.Path,
    buys_log: pathlib.Path,
    config: YooChooseConfig,
    bad_rows: schema_lib.BadRows,
) -> pl.DataFrame:
    names = [*_BUY_COLUMNS, "price", "quantity"]
    bought = delimited.read(buys_log, _BUY_COLUMNS, bad_rows, names=names)
    buys = _with_time(bought, buys_log, bad_rows).select("session", "item", "time_ms")
    matched: list[int] = []

    def interactions(rows: pl.DataFrame, bad_rows: schema_lib.BadRows) -> pl.DataFrame:
        rows = _with_time(rows, log, bad_rows)
        category = pl.col("category").replace("S", "-1").cast(pl.Int64, strict=False)
        rows = schema_lib.check(
            rows,
            "category",
            category.is_not_null(),
            "S, 0 or a number",
            log,
            bad_rows,
            first_row=1,
        ).with_columns(category)
        clicks = _in_order(rows, config, bad_rows)
        place = _last_click_before(clicks, buys)
        matched.append(len(place))
        bought = np.zeros(clicks.height, np.float32)
        bought[place] = 1.0
        return clicks.with_columns(pl.Series("buy", bought)).rename({"session": "user"})

    layout: dict[str, Any] = {"names": list(_CLICK_COLUMNS)}
    table = delimited.read_grouped(
        log, _CLICK_COLUMNS, interactions, _BUY_SCHEMA, bad_rows, user="session", **layout
    )
    if table is None:
        matched.clear()
        rows = interactions(delimited.read(log, _CLICK_COLUMNS, bad_rows, **layout), bad_rows)
        table = schema_lib.validate(rows, _BUY_SCHEMA, log, bad_rows, names=_NAMES_IN_FILE)
    unmatched = buys.height - sum(matched)
    if unmatched:
        _log.warning(
            "%s: %d of %d buys are of items that were not clicked before; not counted",
            buys_log.name,
            unmatched,
            buys.height,
        )
    return table


def _with_time(
    rows: pl.DataFrame, log: pathlib.Path, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """Adds time_ms, and row where it is not there yet."""
    if schema_lib.ROW not in rows.columns:
        rows = rows.with_row_index(schema_lib.ROW, offset=1)
    parsed = pl.col("time").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ms", strict=False
    )
    rows = rows.with_columns(parsed.dt.epoch("ms").alias("time_ms"))
    return schema_lib.check(
        rows,
        "time",
        pl.col("time_ms").is_not_null(),
        "an ISO 8601 time such as 2014-04-07T10:51:09.277Z",
        log,
        bad_rows,
        first_row=1,
    )


def _in_order(
    rows: pl.DataFrame, config: YooChooseConfig, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """Orders clicks by session and time, drops repeated rows and merges repeats as configured.

    The merging is that of RL4RS, which compares the first 12 characters of an ISO time: they
    end with the tens of the hour (SPEC 1.13).
    """
    rows = rows.sort("session", "time_ms", maintain_order=True)
    once = rows.filter(pl.struct("session", "item", "time_ms").is_first_distinct())
    bad_rows.repeated += rows.height - once.height
    if not config.merge_repeats:
        return once
    day, within = pl.col("time_ms") // _DAY_MS, pl.col("time_ms") % _DAY_MS
    block = (day * 3 + within // _TEN_HOURS_MS).alias("block")
    return once.filter(pl.struct("session", "item", block).is_first_distinct())


def _last_click_before(clicks: pl.DataFrame, buys: pl.DataFrame) -> np.ndarray:
    """Positions of the clicks before a buy of the same item, one for each buy with a click.

    Args:
      clicks: clicks of whole sessions, ordered by session and time.
      buys: buys of any sessions.
    """
    buys_of_sessions = buys.join(clicks.select("session").unique(), on="session", how="semi")
    places = clicks.select("session", "item", "time_ms").with_row_index("place")
    matched = buys_of_sessions.sort("time_ms").join_asof(
        places.sort("time_ms", maintain_order=True),
        on="time_ms",
        by=["session", "item"],
        strategy="backward",
        check_sortedness=False,  # polars cannot check it within groups; both are sorted
    )
    return matched["place"].drop_nulls().to_numpy()


def _read_text(
    log: pathlib.Path, config: YooChooseConfig, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    def interactions(rows: pl.DataFrame, bad_rows: schema_lib.BadRows) -> pl.DataFrame:
        if schema_lib.ROW not in rows.columns:
            rows = rows.with_row_index(schema_lib.ROW, offset=2)
        rows = schema_lib.check(
            rows,
            "Time",
            pl.col("Time").is_between(0, schema_lib.LATEST_MS / 1000),
            "unix seconds between the years 1970 and 2100",
            log,
            bad_rows,
            first_row=2,
        )
        time = (pl.col("Time") * 1000).round().cast(pl.Int64).alias("time_ms")
        rows = rows.select(
            schema_lib.ROW, time, pl.col("SessionId").alias("session"), item="ItemId"
        )
        clicks = _in_order(rows, config, bad_rows)
        pause = pl.col("time_ms").shift(-1) - pl.col("time_ms")
        goes_on = pl.col("session").shift(-1) == pl.col("session")
        long_view = goes_on & (pause >= config.long_view_seconds * 1000)
        return clicks.with_columns(
            long_view.fill_null(False).cast(pl.Float32).alias("long_view")
        ).rename({"session": "user"})

    layout: dict[str, Any] = {"separator": "\t"}
    table = delimited.read_grouped(
        log, _TEXT_COLUMNS, interactions, _TEXT_SCHEMA, bad_rows, user="SessionId", **layout
    )
    if table is None:
        rows = interactions(delimited.read(log, _TEXT_COLUMNS, bad_rows, **layout), bad_rows)
        shown = {"user": "SessionId", "item": "ItemId", "time_ms": "Time"}
        table = schema_lib.validate(rows, _TEXT_SCHEMA, log, bad_rows, names=shown)
    return table


def _together(tables: list[pl.DataFrame], logs: list[pathlib.Path]) -> pl.DataFrame:
    """One table of files that share no session.

    Raises:
      UserError: if two of them hold the same session, as a file and a part of it do.
    """
    if len(tables) == 1:
        return tables[0]
    sessions = pl.concat(
        table.select(pl.col("user").unique()).with_columns(file=pl.lit(log.name))
        for table, log in zip(tables, logs, strict=True)
    )
    shared = sessions.filter(pl.col("user").is_duplicated()).sort("user", "file")
    if shared.height:
        raise UserError(
            f"session {shared['user'][0]} is in {shared['file'][0]} and in "
            f"{shared['file'][1]}; expected files without common sessions: name one of them"
        )
    return pl.concat(tables).sort("user", maintain_order=True)
