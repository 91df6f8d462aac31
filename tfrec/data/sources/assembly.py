"""Blocks of rows -> one interaction table, without a second copy of it.

Blocks of whole users are appended to a `Table`. `gathered` takes blocks of any rows: beyond
some millions of rows it partitions them by user on disk, and then orders and appends one
partition after the other. Memory is the finished table and one partition, for any order of the
log.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrec import outputs
from tfrec.data import schema as schema_lib
from tfrec.errors import UserError

ROWS_IN_MEMORY = 1 << 22  # more rows than this are partitioned on disk
_PART_BITS = 6  # 64 parts


class Table:
    """An interaction table that grows block by block.

    Args:
      schema: schema of the table; every column is a number, or a `pl.Enum` of all blocks.
      rows: expected number of rows. Unused capacity costs no memory.
    """

    def __init__(self, schema: schema_lib.Schema, rows: int):
        self._names, self._capacity, self._filled = schema.columns, rows, 0
        self._columns: dict[str, np.ndarray] = {}
        self._enums: dict[str, pl.Enum] = {}
        self._users: list[np.ndarray] = []

    def append(self, block: pl.DataFrame) -> None:
        """Adds a validated block of whole users, ordered by user and time."""
        end = self._filled + block.height
        if end > self._capacity:
            self._capacity = 2 * end
            for name, column in self._columns.items():
                self._columns[name] = np.resize(column, self._capacity)
        for name in self._names:
            dtype = block.schema[name]
            if isinstance(dtype, pl.Enum):
                self._enums[name] = dtype
            part = block[name].to_physical().to_numpy()
            if name not in self._columns:
                self._columns[name] = np.empty(self._capacity, part.dtype)
            self._columns[name][self._filled : end] = part
        self._filled = end
        users = block["user"].to_physical().to_numpy()
        self._users.append(users[np.append(True, users[1:] != users[:-1])])

    def shared_user(self) -> int | None:
        """Returns a user with rows in two blocks, or None if all blocks held whole users."""
        users = np.sort(np.concatenate(self._users))
        again = np.flatnonzero(users[1:] == users[:-1])
        return int(users[again[0]]) if len(again) else None

    def finished(self) -> pl.DataFrame:
        """Returns the table, ordered by user. Call it once, and only without a shared user."""
        user = self._columns["user"][: self._filled]
        order = None if (user[1:] >= user[:-1]).all() else _order(user)
        columns = {}
        for name in self._names:
            column = pl.Series(self._columns.pop(name)[: self._filled])
            column = column if order is None else column.gather(order)
            enum = self._enums.get(name)
            columns[name] = column if enum is None else column.cat.to(enum)
        return pl.DataFrame(columns)


def _order(user: np.ndarray) -> pl.Series:
    """Positions that order runs of users; rows within a run keep their order."""
    start = np.append(0, np.flatnonzero(user[1:] != user[:-1]) + 1)
    size = np.diff(start, append=len(user))
    by_user = np.argsort(user[start])
    start, size = start[by_user], size[by_user]
    # Half of the memory of 64 bits; negative values wrap, and the sum wraps them back.
    shift = (start - (np.cumsum(size) - size)).astype(np.uint32)
    order = np.arange(len(user), dtype=np.uint32)
    order += np.repeat(shift, size)
    return pl.Series(order)


class Events(NamedTuple):
    """A log that comes in blocks of rows, in any order of users.

    Attributes:
      name: name of the log, for messages.
      schema: schema of the interaction table.
      blocks: the name of a file, and rows of it in the order of the file with their `row`:
        the columns of the schema (without `time_ms` where the order is not that of times).
        The blocks of a file follow one another.
      names: table column -> its name in the files, for messages.
      seed: seed of the order of events, if the schema's order is random.
      once: whether rows that repeat another one are dropped and counted, not rejected.
    """

    name: str
    schema: schema_lib.Schema
    blocks: Iterator[tuple[str, pl.DataFrame]]
    names: Mapping[str, str] = {}
    seed: int = 0
    once: bool = False


def gathered(events: Events, bad_rows: schema_lib.BadRows) -> pl.DataFrame:
    """Reads the validated table of a log.

    Args:
      events: the log; its blocks are consumed.
      bad_rows: what to do with bad rows.

    Returns:
      The table, ordered by user and time. Ids of text are a `pl.Enum`.

    Raises:
      UserError: for a bad or a repeated row, unless such rows are skipped; if there are no
        rows; or if the disk for temporary files is full. In a log of random order, a row
        repeats another one if user and item are the same.
    """
    with tempfile.TemporaryDirectory(prefix="tfrec-") as scratch:
        parts = _Partitions(pathlib.Path(scratch))
        files = _FileRows()
        for file, block in events.blocks:
            before = files.rows_before(file)
            files.reached(block[schema_lib.ROW])
            block = checked(block, file, events, bad_rows)
            parts.append(block.with_columns(pl.col(schema_lib.ROW).cast(pl.Int64) + before))
        if not parts.rows:
            raise UserError(f"{events.name}: no rows; expected at least one event")
        table = Table(events.schema, rows=parts.rows)
        for part in parts.by_user():
            table.append(ordered(part, files.together, events, bad_rows))
    return table.finished()


def checked(
    block: pl.DataFrame, file: str, events: Events, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """The good rows of a block, typed.

    Args:
      block: rows of one file.
      file: the file's name.
      events: the log.
      bad_rows: what to do with bad rows.
    """
    if events.schema.order != "time":
        placeholder = pl.col(schema_lib.ROW).cast(pl.Int64) + schema_lib.COUNTED_FROM_MS
        block = block.with_columns(placeholder.alias("time_ms"))
    return schema_lib.checked(block, events.schema, file, bad_rows, names=events.names)


def ordered(
    part: pl.DataFrame, files: schema_lib.Files, events: Events, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """All rows of some users, each once, ordered by user and time.

    Args:
      part: valid rows in the order of the log; `row` continues across the files.
      files: the files of the log.
      events: the log.
      bad_rows: what to do with repeated rows.
    """
    if events.schema.order == "random":
        part = _distinct_items(part, files, bad_rows)
    if events.schema.order != "time":
        part = _counted(part, None if events.schema.order == "file" else events.seed)
    columns = {series.name: series for series in part}
    del part
    return schema_lib.ordered(columns, files, bad_rows, once=events.once)


class _FileRows:
    """The files of a log and their numbers of rows."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._before: list[int] = []
        self._last = 0

    @property
    def together(self) -> schema_lib.Files:
        """The files so far."""
        return schema_lib.Files(self._names, self._before)

    def rows_before(self, file: str) -> int:
        """Rows of the files before this one, which is added if it is not the last."""
        if not self._names or self._names[-1] != file:
            self._names.append(file)
            self._before.append(self._last)
        return self._before[-1]

    def reached(self, rows: pl.Series) -> None:
        """Notes rows of the last file."""
        if len(rows):
            self._last = max(self._last, self._before[-1] + int(rows[-1]))


class _Partitions:
    """Rows partitioned by user, in memory while they are few and then on disk.

    Text ids are stored as numbers, and become a `pl.Enum` after all of them have been read.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._buffer: list[pl.DataFrame] = []
        self._buffered = self._spills = 0
        self._ids: dict[str, pl.Categories] = {}
        self._alive: list[pl.Series] = []  # polars forgets categories that no series uses
        self.rows = 0

    def append(self, block: pl.DataFrame) -> None:
        """Adds rows. All blocks have the same columns."""
        text = [name for name in ("user", "item") if block.schema[name] == pl.String]
        for name in text:
            if name not in self._ids:
                self._ids[name] = pl.Categories.random()
                dtype = pl.Categorical(self._ids[name])
                self._alive.append(pl.Series([], dtype=dtype))
        self._buffer.append(
            block.with_columns(
                pl.col(name).cast(pl.Categorical(self._ids[name])).to_physical()
                for name in text
            )
        )
        self.rows += block.height
        self._buffered += block.height
        if self._buffered > ROWS_IN_MEMORY:
            self._spill()

    def by_user(self) -> Iterator[pl.DataFrame]:
        """Yields frames of whole users, rows in the order of the log. Call it once."""
        enums = {name: _Ranks(ids) for name, ids in self._ids.items()}
        if not self._spills:
            yield self._named(pl.concat(self._buffer), enums)
            return
        self._spill()
        for part in range(1 << _PART_BITS):
            files = [self._file(spill, part) for spill in range(self._spills)]
            frames = [pl.read_ipc_stream(file) for file in files if file.exists()]
            for file in files:
                file.unlink(missing_ok=True)
            if frames:
                yield self._named(pl.concat(frames), enums)

    def _spill(self) -> None:
        """Writes the buffered rows, a file for each part that has some."""
        if not self._buffer:
            return
        rows = pl.concat(self._buffer)
        # The high bits of a product with an odd constant mix any pattern of ids.
        user = rows["user"].to_numpy().astype(np.uint64)
        part = (user * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _PART_BITS)
        order = np.argsort(part.astype(np.uint8), kind="stable")
        ends = np.cumsum(np.bincount(part.astype(np.int64), minlength=1 << _PART_BITS))
        rows = rows[order]
        with outputs.writing(self._folder):
            for number, (begin, end) in enumerate(zip(np.append(0, ends), ends, strict=False)):
                if end > begin:
                    # Arrow, because Parquet takes seven times as long to write.
                    with self._file(self._spills, number).open("wb") as file:
                        rows[begin:end].write_ipc_stream(file)
        self._buffer, self._buffered = [], 0
        self._spills += 1

    def _file(self, spill: int, part: int) -> pathlib.Path:
        return self._folder / f"{part:02d}-{spill:06d}.arrow"

    @staticmethod
    def _named(rows: pl.DataFrame, enums: Mapping[str, "_Ranks"]) -> pl.DataFrame:
        return rows.with_columns(ranks.enum_of(rows[name]) for name, ranks in enums.items())


class _Ranks:
    """The ids of a column in ascending order."""

    def __init__(self, ids: pl.Categories):
        text = ids.to_series().cast(pl.String)
        order = text.arg_sort()
        self._enum = pl.Enum(text.gather(order))
        rank = np.empty(len(text), np.uint32)
        rank[order.to_numpy()] = np.arange(len(text), dtype=np.uint32)
        self._rank = rank

    def enum_of(self, codes: pl.Series) -> pl.Series:
        """The ids of a column of codes."""
        return pl.Series(codes.name, self._rank[codes.to_numpy()]).cat.to(self._enum)


def _distinct_items(
    rows: pl.DataFrame, files: schema_lib.Files, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """Rejects rows that repeat user and item of an earlier row."""
    first = rows.select(pl.struct("user", "item").is_first_distinct()).to_series()
    if first.all():
        return rows
    again = rows.filter(~first)
    values = pl.select(pl.format("user {}, item {}", again["user"], again["item"])).to_series()
    bad_rows.reject(files, again[schema_lib.ROW], "the row", values, "no item of a user twice")
    return rows.filter(first)


def _counted(rows: pl.DataFrame, seed: int | None) -> pl.DataFrame:
    """Sets `time_ms` of rows of whole users to the position among the user's events.

    Args:
      rows: rows in the order of the log.
      seed: seed of a random order; None keeps the order of the log.
    """
    log_row = rows[schema_lib.ROW].to_numpy().astype(np.uint64)
    key = log_row if seed is None else _mixed(log_row, seed)
    user = rows["user"].to_physical().to_numpy()
    order = np.lexsort((key, user))
    starts = np.append(True, user[order][1:] != user[order][:-1])
    place = np.arange(len(order))
    place -= np.maximum.accumulate(np.where(starts, place, 0))
    times = np.empty(len(order), np.int64)
    times[order] = schema_lib.COUNTED_FROM_MS + place
    return rows.with_columns(pl.Series("time_ms", times))


def _mixed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Random-looking 64 bits of each number and the seed (the finaliser of SplitMix64)."""
    mixed = numbers + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def table(
    events: Callable[..., contextlib.AbstractContextManager[Events]],
    path: str | pathlib.Path,
    config: Any,
    bad_rows: schema_lib.BadRows | None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """A log as a validated table, and its schema.

    Args:
      events: opens the log, given (path, config, bad_rows); see `Events`.
      path: path of the log.
      config: configuration of the source.
      bad_rows: what to do with bad rows; an error by default.

    Raises:
      UserError: from the source.
    """
    bad_rows = bad_rows or schema_lib.BadRows()
    with events(path, config, bad_rows) as log:
        return gathered(log, bad_rows), log.schema
