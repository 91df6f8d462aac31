"""Any CSV, TSV or Parquet file with one event per row, by a mapping of its columns."""

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Literal

import polars as pl

from tfrec import names, types
from tfrec.data import feature_schema, parquet, text_columns
from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, delimited, files, ratings, text_rows
from tfrec.errors import UserError
from tfrec.options import MAX_SEED, option

PATTERNS = ("*.parquet", "*.csv", "*.tsv", "*.txt")
_PER_MILLISECOND = {"s": 0.001, "ms": 1, "us": 1_000, "ns": 1_000_000}  # of unix times
_ORDERS: dict[str, Literal["file", "random"]] = {"order": "file", "random": "random"}
_ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?"  # a date, or date and time
_ZONE = r" ?(Z|[+-]\d{2}:?\d{2})$"


@dataclasses.dataclass(frozen=True)
class TableConfig(text_rows.TextFormat):
    """Names of the columns of a log in a table."""

    user: str = option("user", "column with the user's id: integers or text")
    item: str = option("item", "column with the item's id: integers or text")
    time: str = option("time", "column with the time of the event")
    time_unit: Literal["s", "ms", "us", "ns", "iso", "order", "random"] = option(
        "s",
        "unix seconds, milliseconds, microseconds or nanoseconds, or ISO 8601 text (UTC where "
        "no time of the file has a zone); order: no time, but integers that order the events "
        "of a user; random: neither times nor an order; the order is drawn with time_seed, and "
        "a user has an item once",
    )
    time_seed: int = option(
        7, "seed of the order with time_unit=random", at_least=0, at_most=MAX_SEED
    )
    feedback: tuple[str, ...] = option(
        ("click:binary:clicks",),
        "feedback columns, each name:kind:unit with kind binary (0/1) or amount (0 or more), "
        "or name=column:kind:unit to give the file's column another name; the first is the "
        "click; none: every event is a click",
        distinct=True,
    )
    category: str = option("", "column with the item's category, if there is one")
    propensity: str = option(
        "", "column with the logging policy's probability, if there is one"
    )

    def __post_init__(self):
        super().__post_init__()
        columns = [_feedback_column(text)[0] for text in self.feedback]
        if columns and columns[0].kind != "binary":
            raise ValueError(
                f"feedback begins with {self.feedback[0]!r}; expected a binary click"
            )
        names.check_distinct("feedback column", (column.name for column in columns))
        used: dict[str, str] = {}
        for name, column in self.columns().items():
            role = "time" if name == "time_ms" else name
            if not column or column == schema_lib.ROW:
                raise ValueError(f"{role} is {column!r}; expected the name of a column")
            if column in used:
                raise ValueError(
                    f"column {column!r} is used twice, for {used[column]} and for {role}; "
                    "expected a column for each"
                )
            used[column] = role

    def columns(self) -> dict[str, str]:
        """Columns of the interaction table -> their names in the file."""
        optional = {"category": self.category, "propensity": self.propensity}
        return {
            "user": self.user,
            "item": self.item,
            **({} if self.time_unit == "random" else {"time_ms": self.time}),
            **{name: column for name, column in optional.items() if column},
            **{
                column.name: raw
                for column, raw in (_feedback_column(text) for text in self.feedback)
            },
        }


def read(
    path: str | pathlib.Path,
    config: TableConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
    context: Sequence[feature_schema.FeatureColumn] = (),
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """Reads a CSV, TSV or Parquet log as an interaction table.

    Args:
      path: a .csv, .tsv or .parquet file (text also as .gz), or a folder or an archive
        with one such file.
      config: names of the columns.
      bad_rows: what to do with bad rows; an error by default.
      context: columns of the log that are read as the context of events.

    Returns:
      The validated table and its schema.

    Raises:
      UserError: naming file, row, column and value.
    """
    config, bad_rows = config or TableConfig(), bad_rows or schema_lib.BadRows()
    feedback = tuple(_feedback_column(text)[0] for text in config.feedback)
    schema = schema_lib.Schema(
        feedback=feedback or (ratings.CLICK,),
        category=bool(config.category),
        propensity=bool(config.propensity),
        order=_ORDERS.get(config.time_unit, "time"),
        context=tuple(column.name for column in context),
    )
    if schema.order == "file":
        bad_rows.remark(f"the log has no times: {config.time} orders each user's events")
    raw_names = config.columns() | _context_columns(config, context)
    numbers = {x.name for x in context if x.kind == "number"}
    with files.opened(path, PATTERNS, config.encoding) as (log,):
        if parquet.is_parquet(log):
            frame, first_row = _read_parquet(log, raw_names), 1
        else:
            frame, first_row = _read_text(log, raw_names, numbers, config, bad_rows), 2
    if not feedback:
        frame = frame.with_columns(pl.lit(1.0, pl.Float32).alias(ratings.CLICK.name))
    if schema.order == "random":
        bad_rows.remark(
            "the log has no times: each user's events are in a random order, drawn with "
            f"--time_seed={config.time_seed}"
        )
        if schema_lib.ROW not in frame.columns:
            frame = frame.with_row_index(schema_lib.ROW, offset=first_row)
        events = assembly.Events(
            log.name, schema, iter([(log.name, frame)]), raw_names, config.time_seed
        )
        return assembly.gathered(events, bad_rows), schema
    frame = _with_time(frame, config, log, bad_rows, first_row)
    return (
        schema_lib.validate(frame, schema, log, bad_rows, first_row=first_row, names=raw_names),
        schema,
    )


def _feedback_column(text: str) -> tuple[types.FeedbackColumn, str]:
    """`name:kind:unit` or `name=column:kind:unit` -> the column, and its name in the file.

    Raises:
      ValueError: if it is written otherwise.
      UserError: if the name or the unit is not valid.
    """
    parts = [part.strip() for part in text.rsplit(":", 2)]
    if len(parts) < 3 or not all(parts) or parts[1] not in ("binary", "amount"):
        raise ValueError(
            f"feedback is {text!r}; expected name:kind:unit, for example click:binary:clicks "
            "or watch:amount:seconds, or name=column:kind:unit"
        )
    source, kind, unit = parts
    name, _, raw = (part.strip() for part in source.partition("="))
    return types.FeedbackColumn(name, kind, unit), raw or name


def _read_text(
    log: pathlib.Path,
    raw_names: dict[str, str],
    numbers: Collection[str],
    config: TableConfig,
    bad_rows: schema_lib.BadRows,
) -> pl.DataFrame:
    """Reads a text file; of the columns of the context, `numbers` are numbers."""
    context = [name for name in raw_names if name.startswith(schema_lib.CONTEXT)]
    text = [name for name in context if raw_names[name] not in numbers]
    dtypes: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("user", "item", "category", *text), pl.String),
        "time_ms": pl.String if config.time_unit == "iso" else pl.Int64,
    }
    columns = {raw: dtypes.get(name, pl.Float32) for name, raw in raw_names.items()}
    frame = delimited.read(
        log,
        columns,
        bad_rows,
        separator=config.separator_of(log),
        quoting=config.quoting,
        optional=[raw_names[name] for name in context],
    )
    frame = frame.rename({raw: name for name, raw in raw_names.items()})
    ids = [name for name in ("user", "item", "category") if name in frame.columns]
    return frame.with_columns(text_columns.as_ids(frame[name]) for name in ids)


def _context_columns(
    config: TableConfig, context: Sequence[feature_schema.FeatureColumn]
) -> dict[str, str]:
    """Columns of the interaction table -> their names in the file, for those of the context.

    Raises:
      UserError: if a column has another use, or the order of events is random.
    """
    roles = {column: role for role, column in config.columns().items()}
    for column in context:
        if config.time_unit == "random":
            raise UserError(
                f"[context.{column.name}] and time_unit=random: a session of drawn order has "
                "no first event, whose context is read; expected no columns of the context"
            )
        if column.name in roles:
            role = roles[column.name].replace("time_ms", "time")
            raise UserError(
                f"column {column.name!r} is used twice, for {role} and for "
                f"[context.{column.name}]; expected a column for each"
            )
    return {schema_lib.CONTEXT + column.name: column.name for column in context}


def _read_parquet(log: pathlib.Path, raw_names: dict[str, str]) -> pl.DataFrame:
    try:
        names = list(parquet.column_types(log))
        stripped = [text_columns.strip(name) for name in names]
        for raw in raw_names.values():
            if stripped.count(raw) != 1:
                count = "two columns have the name" if raw in stripped else "no column"
                raise UserError(
                    f"{log.name}: {count} {raw!r}; the file has {', '.join(stripped)}"
                )
        columns = {name: names[stripped.index(raw)] for name, raw in raw_names.items()}
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

    def good(frame: pl.DataFrame, valid: pl.Expr, expected: str) -> pl.DataFrame:
        return schema_lib.check(
            frame,
            "time_ms",
            valid,
            expected,
            log,
            bad_rows,
            first_row=first_row,
            shown_as=config.time,
        )

    if isinstance(dtype, pl.Datetime | pl.Date):  # the Parquet type has a unit
        return frame.with_columns(time.cast(pl.Datetime("ms")).dt.epoch("ms"))
    if config.time_unit == "iso":
        if dtype != pl.String:
            raise UserError(
                f"{log.name}: column {config.time!r} holds {dtype}; expected ISO text or times"
            )
        parsed = _iso_time(time)
        frame = good(
            frame, parsed.is_not_null(), "an ISO 8601 time, such as 2024-05-01T12:30:00"
        )
        zoned = time.str.contains(_ZONE)
        if frame.select(zoned.any() & ~zoned.all()).item():
            frame = good(frame, zoned, "a time with its zone, as other rows of the file have")
        return frame.with_columns(parsed.dt.epoch("ms"))
    if dtype.is_integer() and config.time_unit == "order":
        most = schema_lib.LATEST_MS - schema_lib.COUNTED_FROM_MS
        expected = f"an integer from 0 to {most} that orders the events of a user"
        return good(frame, time.is_between(0, most), expected).with_columns(
            time.cast(pl.Int64) + schema_lib.COUNTED_FROM_MS
        )
    if not dtype.is_integer():
        raise UserError(f"{log.name}: column {config.time!r} holds {dtype}; expected integers")
    scale = _PER_MILLISECOND[config.time_unit]
    possible = time.is_between(0, int(schema_lib.LATEST_MS * scale))
    frame = good(
        frame,
        possible,
        f"unix time in {config.time_unit}, between the years 1970 and 2100"
        + _better_unit(frame.filter(~possible)["time_ms"]),
    )
    _reject_unit(frame, config, log, first_row)
    if scale < 1:
        return frame.with_columns(time.cast(pl.Int64) * round(1 / scale))
    return frame.with_columns(time.cast(pl.Int64) // scale)


def _reject_unit(
    frame: pl.DataFrame, config: TableConfig, log: pathlib.Path, first_row: int
) -> None:
    """Rejects a unit that puts all times before 1990 where another one does not."""
    scale, times = _PER_MILLISECOND[config.time_unit], frame["time_ms"].to_numpy()
    if not len(times) or times.max() / scale >= schema_lib.EARLIEST_PLAUSIBLE_MS:
        return
    better = _better_unit(frame["time_ms"])
    if better:
        row = frame[schema_lib.ROW][0] if schema_lib.ROW in frame.columns else first_row
        raise UserError(
            f"{log.name}, row {row}: {config.time} is {times[0]}; read in "
            f"{config.time_unit}, every time of the file lies between "
            f"{schema_lib.iso(times.min() / scale)} and "
            f"{schema_lib.iso(times.max() / scale)}{better}"
        )


def _iso_time(text: pl.Expr) -> pl.Expr:
    """Parses ISO 8601 text as UTC times; null for other text, e.g. 01/02/2024."""
    text = text.str.strip_chars(" ")
    zone = text.str.extract(_ZONE).str.replace("Z", "+00:00", literal=True).fill_null("+00:00")
    clock = text.str.replace(_ZONE, "")
    valid = clock.str.contains(_ISO + "$")
    clock = (
        pl.when(clock.str.len_bytes() == len("2024-05-01"))
        .then(clock + "T00:00:00")
        .when(clock.str.len_bytes() == len("2024-05-01T12:30"))
        .then(clock.str.replace(" ", "T", literal=True) + ":00")
        .otherwise(clock.str.replace(" ", "T", literal=True))
    )
    zone = zone.str.replace(r"^([+-]\d{2})(\d{2})$", "${1}:${2}")
    parsed = (clock + zone).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="ms", strict=False
    )
    return pl.when(valid).then(parsed)


def _better_unit(times: pl.Series) -> str:
    """A sentence on the unit that puts all times between 1990 and now; "" without one."""
    values = times.drop_nulls().to_numpy()
    for unit, scale in _PER_MILLISECOND.items() if len(values) else ():
        low, high = values.min() / scale, values.max() / scale
        if schema_lib.EARLIEST_PLAUSIBLE_MS <= low and high <= schema_lib.latest_plausible_ms():
            return (
                f". Read in {unit}, this would be {schema_lib.iso(low)} to "
                f"{schema_lib.iso(high)}: pass --time_unit={unit}"
            )
    return ""
