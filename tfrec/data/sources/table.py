"""Any CSV, TSV or Parquet file with one event per row, by a mapping of its columns."""

import dataclasses
import pathlib
from typing import Literal

import polars as pl

from tfrec import types
from tfrec.data import parquet, text_columns
from tfrec.data import schema as schema_lib
from tfrec.data.sources import delimited, files, text_rows
from tfrec.errors import UserError
from tfrec.training.options import option

PATTERNS = ("*.parquet", "*.csv", "*.tsv", "*.txt")
_RESERVED = ("user", "item", "time_ms", "category", "propensity", schema_lib.ROW)


@dataclasses.dataclass(frozen=True)
class TableConfig(text_rows.TextFormat):
    """Which column of one's own log is what."""

    user: str = option("user", "column with the user's id: integers or text")
    item: str = option("item", "column with the item's id: integers or text")
    time: str = option("time", "column with the time of the event")
    time_unit: Literal["s", "ms", "iso"] = option(
        "s", "unix seconds, unix milliseconds, or ISO 8601 text (UTC where no zone is given)"
    )
    feedback: tuple[str, ...] = option(
        ("click:binary:clicks",),
        "feedback columns, each name:kind:unit with kind binary (0/1) or amount (0 or more); "
        "the first is the click",
    )
    category: str = option("", "column with the item's category, if there is one")
    propensity: str = option(
        "", "column with the logging policy's probability, if there is one"
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.feedback:
            raise ValueError("feedback is empty; expected at least name:kind:unit of the click")
        columns = [_feedback_column(text) for text in self.feedback]
        if columns[0].kind != "binary":
            raise ValueError(
                f"feedback begins with {self.feedback[0]!r}; expected a binary click"
            )
        names = [column.name for column in columns]
        for name in names:
            if names.count(name) > 1 or name in _RESERVED:
                raise ValueError(f"feedback column {name!r} is named twice or is reserved")


def read(
    path: str | pathlib.Path,
    config: TableConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """One's own log as an interaction table.

    Args:
      path: a .csv, .tsv or .parquet file (text also as .gz), or a folder or an archive
        with one such file.
      config: which column is what.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table and its schema.

    Raises:
      UserError: naming file, row, column and value.
    """
    config, bad_rows = config or TableConfig(), bad_rows or schema_lib.BadRows()
    schema = schema_lib.Schema(
        feedback=tuple(_feedback_column(text) for text in config.feedback),
        category=bool(config.category),
        propensity=bool(config.propensity),
    )
    raw_names = {
        "user": config.user,
        "item": config.item,
        "time_ms": config.time,
        **{column.name: column.name for column in schema.feedback},
        **({"category": config.category} if config.category else {}),
        **({"propensity": config.propensity} if config.propensity else {}),
    }
    with files.opened(path, PATTERNS, config.encoding) as (log, *others):
        if others:
            raise UserError(
                f"{path}: holds {log.name} and {others[0].name}; name the file that is the log"
            )
        if parquet.is_parquet(log):
            frame, first_row = _read_parquet(log, raw_names), 1
        else:
            frame, first_row = _read_text(log, raw_names, config, bad_rows), 2
    frame = _with_time(frame, config, log, bad_rows, first_row)
    return (
        schema_lib.validate(frame, schema, log, bad_rows, first_row=first_row, names=raw_names),
        schema,
    )


def _feedback_column(text: str) -> types.FeedbackColumn:
    """`name:kind:unit` -> the column.

    Raises:
      ValueError: if it is written otherwise.
    """
    name, _, rest = text.partition(":")
    kind, _, unit = rest.partition(":")
    if not name or kind not in ("binary", "amount") or not unit:
        raise ValueError(
            f"feedback is {text!r}; expected name:kind:unit, for example click:binary:clicks "
            "or watch:amount:seconds"
        )
    return types.FeedbackColumn(name, kind, unit)


def _read_text(
    log: pathlib.Path,
    raw_names: dict[str, str],
    config: TableConfig,
    bad_rows: schema_lib.BadRows,
) -> pl.DataFrame:
    dtypes: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("user", "item", "category"), pl.String),
        "time_ms": pl.String if config.time_unit == "iso" else pl.Int64,
    }
    columns = {raw: dtypes.get(name, pl.Float32) for name, raw in raw_names.items()}
    frame = delimited.read(
        log, columns, bad_rows, separator=config.separator_of(log), quoting=config.quoting
    )
    frame = frame.rename({raw: name for name, raw in raw_names.items()})
    ids = [name for name in ("user", "item", "category") if name in frame.columns]
    return frame.with_columns(text_columns.as_ids(frame[name]) for name in ids)


def _read_parquet(log: pathlib.Path, raw_names: dict[str, str]) -> pl.DataFrame:
    try:
        present = {text_columns.strip(name): name for name in parquet.column_types(log)}
        absent = [raw for raw in raw_names.values() if raw not in present]
        if absent:
            raise UserError(
                f"{log.name}: no column {absent[0]!r}; the file has {', '.join(present)}"
            )
        columns = {name: present[raw] for name, raw in raw_names.items()}
        frame = parquet.read(log, sorted(set(columns.values())))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{log.name}: damaged Parquet file ({error})") from error
    return frame.select(
        (
            text_columns.stripped(pl.col(raw))
            if frame.schema[raw] == pl.String
            else pl.col(raw)
        ).alias(name)
        for name, raw in columns.items()
    )


def _with_time(
    frame: pl.DataFrame,
    config: TableConfig,
    log: pathlib.Path,
    bad_rows: schema_lib.BadRows,
    first_row: int,
) -> pl.DataFrame:
    """Turns the time column into unix milliseconds."""
    dtype, time = frame.schema["time_ms"], pl.col("time_ms")
    if isinstance(dtype, pl.Datetime | pl.Date):  # Parquet knows its own unit
        return frame.with_columns(time.cast(pl.Datetime("ms")).dt.epoch("ms"))
    if config.time_unit == "iso":
        if dtype != pl.String:
            raise UserError(
                f"{log.name}: column {config.time!r} holds {dtype}; expected ISO text or times"
            )
        parsed = time.str.to_datetime(time_unit="ms", time_zone="UTC", strict=False)
        expected = "an ISO 8601 time, such as 2024-05-01T12:30:00"
        good = schema_lib.check(
            frame,
            "time_ms",
            parsed.is_not_null(),
            expected,
            log,
            bad_rows,
            first_row=first_row,
            shown_as=config.time,
        )
        return good.with_columns(parsed.dt.epoch("ms"))
    if not dtype.is_integer():
        raise UserError(f"{log.name}: column {config.time!r} holds {dtype}; expected integers")
    scale = 1000 if config.time_unit == "s" else 1
    good = schema_lib.check(
        frame,
        "time_ms",
        time.is_between(0, schema_lib.LATEST_MS // scale),
        f"unix time in {config.time_unit}, between the years 1970 and 2100",
        log,
        bad_rows,
        first_row=first_row,
        shown_as=config.time,
    )
    return good.with_columns(time.cast(pl.Int64) * scale)
