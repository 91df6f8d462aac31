"""KuaiRand: short videos shown in a feed, with every kind of feedback the app recorded.

https://kuairand.com, Gao et al. 2022 (CC BY-SA 4.0). Reads the published
`log_standard_*.csv` (commas; a folder or an archive may hold several, which are read
together) and tab-separated extracts of it. Feedback: the click, then those of the
other columns that the file has; times in seconds. The publisher gives the unit of the play
time only; the two stay times are read as milliseconds too, as their size suggests.

Of events that agree in user, video, time and all feedback, the first is used, and the number
of dropped ones is logged.
"""

import logging
import pathlib

import polars as pl

from tfrec import types
from tfrec.data import schema as schema_lib
from tfrec.data.sources import delimited, files
from tfrec.errors import UserError

_log = logging.getLogger(__name__)

PATTERNS = ("log_standard_*.csv", "processed_standard_*.csv")
_KEYS = {"user_id": pl.Int32, "video_id": pl.Int32, "time_ms": pl.Int64}
_BINARY = {
    "is_click": ("click", "clicks"),
    "is_like": ("like", "likes"),
    "is_follow": ("follow", "follows"),
    "is_comment": ("comment", "comments"),
    "is_forward": ("forward", "forwards"),
    "is_hate": ("hate", "hates"),
    "long_view": ("long_view", "long views"),
    "is_profile_enter": ("profile_enter", "profile visits"),
}
_MILLISECONDS = {
    "play_time_ms": "play_seconds",
    "profile_stay_time": "profile_stay_seconds",
    "comment_stay_time": "comment_stay_seconds",
}
FEEDBACK = tuple(
    types.FeedbackColumn(name, "binary", unit) for name, unit in _BINARY.values()
) + tuple(types.FeedbackColumn(name, "amount", "seconds") for name in _MILLISECONDS.values())


def read(
    path: str | pathlib.Path, bad_rows: schema_lib.BadRows | None = None
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The log as an interaction table.

    Args:
      path: a log file, its folder, or the publisher's archive.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table and its schema, the click first.

    Raises:
      UserError: naming file, row, column and value.
    """
    bad_rows = bad_rows or schema_lib.BadRows()
    with files.opened(path, PATTERNS, several=True) as logs:
        parts = [_read_file(log, bad_rows) for log in logs]
    tables, schemas = zip(*parts, strict=True)
    if len(set(schemas)) > 1:
        raise UserError(f"{path}: the files of this log do not have the same feedback columns")
    if len(tables) == 1:
        return tables[0], schemas[0]
    table = _distinct(pl.concat(tables), path, bad_rows)
    return schema_lib.validate(table, schemas[0], path, bad_rows), schemas[0]


def _read_file(
    path: pathlib.Path, bad_rows: schema_lib.BadRows
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    separator = "\t" if files.has_tabs(path) else ","
    present = delimited.header(path, separator)
    feedback = {raw: name for raw, (name, _) in _BINARY.items()} | _MILLISECONDS
    names = {raw: name for raw, name in feedback.items() if raw in present or raw == "is_click"}
    columns = _KEYS | dict.fromkeys(names, pl.Float32)
    frame = delimited.read(path, columns, bad_rows, separator=separator)
    if schema_lib.ROW not in frame.columns:
        frame = frame.with_row_index(schema_lib.ROW, offset=2)
    frame = _distinct(frame, path, bad_rows)
    # In double precision: in single, equal milliseconds may become unequal seconds.
    frame = frame.with_columns(
        (pl.col(raw).cast(pl.Float64) / 1000).cast(pl.Float32)
        for raw in _MILLISECONDS
        if raw in names
    )
    renamed = {"user_id": "user", "video_id": "item", **names}
    schema = schema_lib.Schema(
        feedback=tuple(column for column in FEEDBACK if column.name in names.values())
    )
    shown = {new: old for old, new in renamed.items()}
    table = schema_lib.validate(frame.rename(renamed), schema, path, bad_rows, names=shown)
    return table, schema


def _distinct(
    frame: pl.DataFrame, path: str | pathlib.Path, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """Drops rows that repeat another one exactly, and says how many."""
    event = [name for name in frame.columns if name != schema_lib.ROW]
    distinct = frame.unique(event, keep="first", maintain_order=True)
    repeated = frame.height - distinct.height
    if repeated:
        bad_rows.repeated += repeated
        _log.warning("%s: dropped %d rows that repeat another", path, repeated)
    return distinct
