"""The interaction table, which is the common form of all logs, and its validation.

One row per event, columns in this order:

    user        integer or string, the id in the log
    item        integer or string, the id in the log
    time_ms     Int64, unix milliseconds
    <feedback>  Float32, one column per kind of feedback, the click first
    category    integer or string, optional
    propensity  Float32 in (0, 1], optional: the chance that the logging policy showed this item
    context.*   any type, optional: columns of the log that describe the context of the event

Ids of text may also be a `pl.Enum` whose categories ascend: 4 bytes a row. `validate` returns
the table ordered by user and time; events of one user at the same time keep the order of the
file. Rows are numbered as in the file: the first line is row 1.
"""

import dataclasses
import datetime
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from tfrec import names as names_lib
from tfrec import types
from tfrec.data import vocabulary
from tfrec.errors import UserError

# Optional column: a row's number in its file, where it is not its position.
ROW = "__row__"
LATEST_MS = 4_102_444_800_000  # 2100-01-01: later times are a mistaken unit
EARLIEST_PLAUSIBLE_MS = 631_152_000_000  # 1990-01-01: earlier times are warned of
COUNTED_FROM_MS = 946_684_800_000  # 2000-01-01: time_ms of the first event of an untimed log

CONTEXT = "context."  # before the name that a column of the context has in the log

_HUGE_SPREAD = 10_000  # an amount this many times the mean of its column is warned of
MOST_AMOUNT = 1e30  # sums and squares of larger ones leave the range of float32

_SKIP_HINT = (
    "Nothing was written. Fix the {rows}, or pass --on_bad_row=skip to drop such rows and "
    "list them in rejected.csv."
)
_FIX_HINT = "Nothing was written. Fix the {rows}."


@dataclasses.dataclass(frozen=True)
class Schema:
    """Which columns an interaction table has beyond user, item and time.

    Attributes:
      feedback: the feedback columns; the first is the click.
      category: whether there is a category column.
      propensity: whether there is a propensity column.
      order: order of the events of a user: by logged time; or, in a log without times, as
        in the file or random. `time_ms` then counts the user's
        events, a millisecond each, from the year 2000 on.
      context: names of the columns of the context in the log.

    Raises:
      UserError: if two feedback columns have one name.
    """

    feedback: tuple[types.FeedbackColumn, ...]
    category: bool = False
    propensity: bool = False
    order: Literal["time", "file", "random"] = "time"
    context: tuple[str, ...] = ()

    def __post_init__(self):
        names_lib.check_distinct("feedback column", (column.name for column in self.feedback))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the table, in order."""
        return (
            "user",
            "item",
            "time_ms",
            *(column.name for column in self.feedback),
            *(["category"] if self.category else []),
            *(["propensity"] if self.propensity else []),
            *(CONTEXT + name for name in self.context),
        )


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one log; row numbers continue from file to file.

    Attributes:
      names: names of the files, in order.
      rows_before: rows of all files before each of them; 0 for the first.
    """

    names: Sequence[str]
    rows_before: Sequence[int]

    def locate(self, rows: pl.Series) -> list[tuple[str, pl.Series, int]]:
        """Finds rows in their files.

        Args:
          rows: row numbers of the whole log.

        Returns:
          For each file that has some of them: its name, the mask of its rows, and the number
          of rows before the file.
        """
        place = np.searchsorted(np.asarray(self.rows_before), rows.to_numpy(), side="left") - 1
        return [
            (self.names[file], pl.Series(place == file), self.rows_before[file])
            for file in np.unique(place)
        ]


# Columns of rejected.csv.
REJECTED: dict[str, type[pl.DataType]] = {
    "file": pl.String,
    "row": pl.Int64,
    "column": pl.String,
    "value": pl.String,
    "expected": pl.String,
}


class BadRows:
    """Handles rows that violate a rule: an error, or a line in rejected.csv.

    Attributes:
      skip: False raises a UserError at the first violation; True drops the rows and
        records them.
      skippable: whether the reader has an option to skip bad rows, for the message.
      repeated: number of dropped rows of data sets that are published with repeated rows.
      left_out: valid rows that were left out: reason, e.g. `reviews_without_stars`, ->
        number of rows.
    """

    def __init__(self, skip: bool = False, skippable: bool = True):
        self.skip, self.skippable = skip, skippable
        self.repeated = 0
        self.left_out: dict[str, int] = {}
        self._remarks: list[str] = []
        self._rejected: list[pl.DataFrame] = []
        self._doubtful: dict[tuple[str, str], tuple[int, str, int]] = {}

    @property
    def count(self) -> int:
        """Rows rejected so far."""
        return sum(frame.height for frame in self._rejected)

    @property
    def rejected(self) -> pl.DataFrame:
        """The rows rejected so far: columns REJECTED, ordered by file and row."""
        if not self._rejected:
            return pl.DataFrame(schema=REJECTED)
        return pl.concat(self._rejected).sort("file", "row", maintain_order=True)

    def take(self, rejected: pl.DataFrame) -> None:
        """Rejects the bad rows of another process.

        Args:
          rejected: `BadRows.rejected` of that process.

        Raises:
          UserError: for the first of them, unless bad rows are skipped.
        """
        if not rejected.height:
            return
        rejected = rejected.sort("file", "row", maintain_order=True)
        if not self.skip:
            rule = ["file", "column", "expected"]
            alike = rejected.join(rejected.head(1).select(rule), on=rule, how="semi")
            file, row, column, _, expected = alike.row(0)
            self.reject(file, alike["row"], column, alike["value"], expected)
        self._rejected.append(rejected)

    def leave_out(self, reason: str, count: int) -> None:
        """Counts valid rows that are left out."""
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count

    def remark(self, sentence: str) -> None:
        """Adds a sentence on the whole log to the warnings."""
        if sentence not in self._remarks:
            self._remarks.append(sentence)

    def reject(
        self,
        path: str | pathlib.Path | Files,
        rows: pl.Series,
        column: str,
        values: pl.Series,
        expected: str,
    ) -> None:
        """Raises for the first of the rows, or records all of them.

        Args:
          path: the file, or all files of the log.
          rows: row numbers in the file (of the log), ascending, at least one.
          column: the column's name in the file.
          values: values of the column; null where missing.
          expected: completes "expected ...".

        Raises:
          UserError: unless bad rows are skipped.
        """
        if isinstance(path, Files):
            for file, mask, before in path.locate(rows):
                here = rows.filter(mask).cast(pl.Int64) - before
                self.reject(file, here, column, values.filter(mask), expected)
            return
        name = pathlib.Path(path).name
        if not self.skip:
            value = values[0]
            shown = "missing" if value is None else repr(_shorten(value))
            more = f" ({len(rows) - 1:,} more rows like it)" if len(rows) > 1 else ""
            hint = (_SKIP_HINT if self.skippable else _FIX_HINT).format(
                rows="rows" if len(rows) > 1 else "row"
            )
            raise UserError(
                f"{name}, row {rows[0]}: {column} is {shown}; expected {expected}.{more}\n"
                + hint
            )
        self._rejected.append(
            pl.DataFrame(
                {
                    "file": [name] * len(rows),
                    "row": rows.cast(pl.Int64),
                    "column": [column] * len(rows),
                    "value": values.cast(pl.String),
                    "expected": [expected] * len(rows),
                },
                schema=REJECTED,
            )
        )

    def doubt(
        self, path: str | pathlib.Path, column: str, row: int, message: str, count: int
    ) -> None:
        """Records implausible rows, which stay in the table.

        Args:
          path: the file.
          column: the column's name in the file.
          row: the number of the first such row.
          message: the implausible value, and what was expected.
          count: number of such rows.
        """
        key = (pathlib.Path(path).name, column)
        first = min((row, message), self._doubtful.get(key, (row, message))[:2])
        self._doubtful[key] = (*first, count + self._doubtful.get(key, (0, "", 0))[2])

    @property
    def warnings(self) -> list[str]:
        """Remarks, then one sentence for each column with implausible values."""
        return self._remarks + [
            f"{file}, row {row}: {message}"
            + (f" ({count - 1:,} more rows like it)" if count > 1 else "")
            for (file, _), (row, message, count) in self._doubtful.items()
        ]

    def add(self, other: "BadRows") -> None:
        """Adds the rejected, implausible and left-out rows of another one."""
        self.repeated += other.repeated
        for reason, count in other.left_out.items():
            self.leave_out(reason, count)
        for sentence in other._remarks:
            self.remark(sentence)
        self._rejected += other._rejected
        for (file, column), (row, message, count) in other._doubtful.items():
            self.doubt(file, column, row, message, count)

    def write(self, directory: pathlib.Path) -> None:
        """Writes rejected.csv (file, row, column, value, expected) if a row was rejected."""
        if self._rejected:
            with (directory / "rejected.csv").open("wb") as file:  # polars expands `~`
                self.rejected.write_csv(file)


def check(
    frame: pl.DataFrame,
    column: str,
    valid: pl.Expr,
    expected: str,
    path: str | pathlib.Path,
    bad_rows: BadRows,
    *,
    first_row: int,
    shown_as: str | None = None,
) -> pl.DataFrame:
    """Keeps the rows that satisfy a rule and rejects the others.

    Args:
      frame: rows in the order of the file, or with a `row` column.
      column: the column of the rule.
      valid: true where the rule holds; null counts as a violation.
      expected: completes "expected ...".
      path: the file, for the message.
      bad_rows: what to do with the others.
      first_row: the number of the first row, where there is no `row` column.
      shown_as: the column's name in the file, if it differs.

    Returns:
      The frame itself if every row is good; otherwise the good rows, with a `row` column.

    Raises:
      UserError: if a row is bad and bad rows are not skipped.
    """
    if frame.select(valid.all(ignore_nulls=False)).item():
        return frame
    if ROW not in frame.columns:
        frame = frame.with_row_index(ROW, offset=first_row)
    good = valid.fill_null(False)
    bad = frame.filter(~good)
    bad_rows.reject(path, bad[ROW], shown_as or column, bad[column], expected)
    return frame.filter(good)


def validate(
    frame: pl.DataFrame,
    schema: Schema,
    path: str | pathlib.Path,
    bad_rows: BadRows | None = None,
    *,
    first_row: int = 2,
    names: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Validates an interaction table and orders it.

    Args:
      frame: the columns of the schema, in any order, rows in the order of the file
        (or with a `row` column). More columns are ignored.
      schema: expected columns.
      path: source of the table, for messages.
      bad_rows: what to do with bad and with duplicate rows; an error by default.
      first_row: the number of the frame's first row; 2 after a header line.
      names: table column -> its name in the file, for messages.

    Returns:
      The schema's columns, checked, ordered by user and time.

    Raises:
      UserError: for a missing column, a wrong type, no rows at all, or (unless they
        are skipped) a bad or duplicate row.
    """
    bad_rows = bad_rows or BadRows()
    frame = checked(frame, schema, path, bad_rows, first_row=first_row, names=names)
    if frame.height == 0:
        raise UserError(f"{pathlib.Path(path).name}: no rows; expected at least one event")
    columns = {series.name: series for series in frame}
    del frame
    return ordered(columns, path, bad_rows, first_row=first_row).select(schema.columns)


def checked(
    frame: pl.DataFrame,
    schema: Schema,
    path: str | pathlib.Path,
    bad_rows: BadRows,
    *,
    first_row: int = 2,
    names: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Validates each row on its own; the first part of `validate`.

    Args:
      frame: as for `validate`, like all arguments.
      schema: expected columns.
      path: source of the table, for messages.
      bad_rows: what to do with bad rows.
      first_row: the number of the frame's first row.
      names: table column -> its name in the file.

    Returns:
      The good rows in the order of the file: the schema's columns, typed, and `row` where
      a row is missing or the frame has it.

    Raises:
      UserError: as `validate`, except for repeated rows.
    """
    names = {name: (names or {}).get(name, name) for name in schema.columns}
    file = pathlib.Path(path).name
    absent = [names[name] for name in schema.columns if name not in frame.columns]
    if absent:
        raise UserError(
            f"{file}: no column {absent[0]!r}; the file has {', '.join(frame.columns)}"
        )
    row = [ROW] if ROW in frame.columns else []
    frame = frame.select(*row, *schema.columns)
    frame = _typed(frame, schema, file, names)
    for column, valid, expected in _rules(frame, schema):
        frame = check(
            frame,
            column,
            valid,
            expected,
            path,
            bad_rows,
            first_row=first_row,
            shown_as=names[column],
        )
    _doubt_times(frame, path, bad_rows, first_row, names["time_ms"])
    return frame


def _typed(
    frame: pl.DataFrame, schema: Schema, file: str, names: Mapping[str, str]
) -> pl.DataFrame:
    """Casts numbers to their storage types; rejects columns of another kind."""
    kinds = {"user": "id", "item": "id", "category": "id", "time_ms": "time"}
    casts = []
    for name in schema.columns:
        if name.startswith(CONTEXT):  # its encoder checks the values
            continue
        dtype, kind = frame.schema[name], kinds.get(name, "number")
        expected = {"id": "integers or strings", "time": "integers", "number": "numbers"}[kind]
        fits = dtype.is_integer() or (kind == "id" and vocabulary.is_text(dtype))
        if kind == "number":
            fits = dtype.is_numeric() or dtype == pl.Boolean
        if not fits:
            raise UserError(
                f"{file}: column {names[name]!r} holds {dtype}; expected {expected}"
            )
        if kind == "time" and dtype != pl.Int64:
            casts.append(pl.col(name).cast(pl.Int64))
        if kind == "number" and dtype != pl.Float32:
            casts.append(pl.col(name).cast(pl.Float32))
    return frame.with_columns(casts) if casts else frame


def _rules(frame: pl.DataFrame, schema: Schema) -> list[tuple[str, pl.Expr, str]]:
    """All rules: column, expression that is true for a valid row, expected values."""
    rules = []
    for name in ("user", "item", *(["category"] if schema.category else [])):
        dtype = frame.schema[name]
        rules += [(name, *rule) for rule in vocabulary.id_rules(name, dtype)]
        if dtype == pl.UInt64:
            fits = pl.col(name) <= np.iinfo(np.int64).max
            rules.append((name, fits, "an integer that fits 64 bits with its sign"))
    possible = pl.col("time_ms").is_between(0, LATEST_MS)
    rules.append(("time_ms", possible, "unix milliseconds between the years 1970 and 2100"))
    for feedback in schema.feedback:
        column = pl.col(feedback.name)
        if feedback.kind == "binary":
            rules.append((feedback.name, (column == 0) | (column == 1), "0 or 1"))
        else:
            fits = (column >= 0) & (column <= MOST_AMOUNT)
            most = f"a number of {feedback.unit}, 0 or more and at most {MOST_AMOUNT:g}"
            rules.append((feedback.name, fits, most))
    if schema.propensity:
        column = pl.col("propensity")
        fits = (column > 0) & (column <= 1)
        rules.append(("propensity", fits, "a probability above 0 and at most 1"))
    return rules


def _doubt_times(
    frame: pl.DataFrame,
    path: str | pathlib.Path,
    bad_rows: BadRows,
    first_row: int,
    shown_as: str,
) -> None:
    """Records the rows with times before 1990 or later than tomorrow."""
    plausible = frame["time_ms"].is_between(EARLIEST_PLAUSIBLE_MS, latest_plausible_ms())
    place = (~plausible).arg_true()
    if len(place):
        first = int(place[0])
        row = frame[ROW][first] if ROW in frame.columns else first + first_row
        bad_rows.doubt(
            path,
            shown_as,
            row,
            f"{shown_as} is {iso(frame['time_ms'][first])}; expected a time between 1990 and "
            "tomorrow. Is the unit of time right?",
            len(place),
        )


def warnings(frame: pl.DataFrame, schema: Schema) -> list[str]:
    """Describes columns of a valid table that are implausible as a whole.

    Args:
      frame: the interaction table, as `validate` returns it.
      schema: its columns.
    """
    sentences = []
    times = frame["time_ms"].to_numpy()
    if frame.height > 1 and times.min() == times.max():
        sentences.append(
            f"every event has the same time, {iso(times[0])}: the order of events is that of "
            "the file, and each user has one session"
        )
    for column in schema.feedback:
        values = frame[column.name].to_numpy()
        least, most, mean = values.min(), values.max(), values.mean(dtype=np.float64)
        if frame.height > 1 and least == most:
            sentences.append(
                f"{column.name} is {most:g} in every row: nothing can be learned about it"
            )
        elif column.kind == "amount" and most > _HUGE_SPREAD * mean:
            sentences.append(
                f"{column.name}: the largest amount, {most:g} {column.unit}, is "
                f"{most / mean:,.0f} times the mean, {mean:.3g}: is it a mistake?"
            )
    return sentences


def latest_plausible_ms() -> int:
    """A day from now, unix milliseconds: later times are warned of."""
    return int((time.time() + 86_400) * 1000)


def iso(milliseconds: float) -> str:
    """Unix milliseconds as ISO 8601 text in UTC."""
    moment = datetime.datetime.fromtimestamp(int(milliseconds) / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def ordered(
    columns: dict[str, pl.Series],
    path: str | pathlib.Path | Files,
    bad_rows: BadRows,
    *,
    first_row: int = 2,
    once: bool = False,
) -> pl.DataFrame:
    """Orders by user and time, ties as in the file; rejects repeated rows.

    Args:
      columns: columns of the table, with at least one row, as `checked` returns them. The
        dict is emptied column by column, so that only one is ever held twice.
      path: the file, or all files of the log if `row` continues across them.
      bad_rows: what to do with repeated rows.
      first_row: the number of the first row, where there is no `row` column.
      once: whether the data set is published with repeated rows, which are then dropped and
        counted as `repeated`.

    Raises:
      UserError: for a repeated row, unless they are skipped or `once` is true.
    """
    order, same = _order(columns["user"], columns["time_ms"])
    frame = pl.DataFrame(
        {name: columns.pop(name).rechunk().gather(order) for name in list(columns)}
    )
    if not _may_repeat(frame["item"], same):
        return frame
    if ROW not in frame.columns:
        frame = frame.with_columns((order.cast(pl.Int64) + first_row).alias(ROW))
    event = [x for x in frame.columns if x != ROW and not x.startswith(CONTEXT)]
    first = frame.select(pl.struct(event).is_first_distinct()).to_series()
    if first.all():
        return frame
    if once:
        bad_rows.repeated += int((~first).sum())
        return frame.filter(first)
    repeated = frame.filter(~first).sort(ROW)
    values = pl.select(
        pl.format("item {} at time_ms {}", repeated["item"], repeated["time_ms"])
    )
    bad_rows.reject(
        path, repeated[ROW], "the whole row", values.to_series(), "no event of a user twice"
    )
    return frame.filter(first)


def _order(user: pl.Series, time_ms: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Orders rows by user, time and position.

    Returns:
      Positions in that order, and for each but the first whether user and time equal those
      of the one before it.
    """
    users, times = _codes(user), time_ms.to_numpy()
    low_user, low = int(users.min()), int(times.min())
    bits = (int(times.max()) - low).bit_length()
    if (int(users.max()) - low_user).bit_length() + bits < 64:
        # One integer orders both. It is computed in place to save memory.
        key = users.astype(np.int64)
        key -= low_user
        key <<= bits
        key += times
        key -= low
        order = np.argsort(key, kind="stable").astype(np.uint32)
        key = key[order]
        same = key[1:] == key[:-1]
    else:
        order = np.lexsort((times, users)).astype(np.uint32)
        same = (np.diff(times[order]) == 0) & (np.diff(users[order]) == 0)
    return pl.Series(order), same


def _may_repeat(item: pl.Series, same: np.ndarray) -> bool:
    """Whether an item occurs twice at the same time of the same user."""
    tied = np.append(False, same)  # with the row before
    tied[:-1] |= same  # or with the row after
    rows = np.flatnonzero(tied)
    if not len(rows):
        return False
    shown = _codes(item.gather(rows))
    # One number for a run of ties and an item: repeats are then equal neighbours.
    key = np.cumsum(~np.append(False, same)[rows])
    key <<= 32
    key += shown
    key -= shown.min()
    key.sort()
    return bool((key[1:] == key[:-1]).any())


def _codes(ids: pl.Series) -> np.ndarray:
    """Integers in the order of the ids, within 32 bits of one another."""
    if isinstance(ids.dtype, pl.Enum):
        return ids.to_physical().to_numpy()
    if ids.dtype.is_integer():
        codes = ids.to_numpy()
        if int(codes.max()) - int(codes.min()) < 1 << 32:
            return codes
    return ids.rank("dense").to_numpy()


def _shorten(value: object) -> object:
    """Shortens long texts for messages."""
    if isinstance(value, str) and len(value) > 60:
        return f"{value[:40]}... ({len(value):,} characters)"
    return value
