"""Blocks of whole users -> one interaction table of numbers, without a second copy of it."""

import numpy as np
import polars as pl

from tfrec.data import schema as schema_lib


class Table:
    """An interaction table that grows block by block.

    Args:
      schema: of the table; every column a number.
      rows: how many are expected. Room that is not filled costs no memory.
    """

    def __init__(self, schema: schema_lib.Schema, rows: int):
        self._names, self._room, self._filled = schema.columns, rows, 0
        self._columns: dict[str, np.ndarray] = {}
        self._users: list[np.ndarray] = []

    def append(self, block: pl.DataFrame) -> None:
        """Adds a validated block: some users, ordered by user and time."""
        end = self._filled + block.height
        if end > self._room:
            self._room = 2 * end
            for name, column in self._columns.items():
                self._columns[name] = np.resize(column, self._room)
        for name in self._names:
            part = block[name].to_numpy()
            if name not in self._columns:
                self._columns[name] = np.empty(self._room, part.dtype)
            self._columns[name][self._filled : end] = part
        self._filled = end
        users = block["user"].to_numpy()
        self._users.append(users[np.append(True, users[1:] != users[:-1])])

    def shared_user(self) -> int | None:
        """A user of whom two blocks hold rows, or None: every block held whole users."""
        users = np.sort(np.concatenate(self._users))
        again = np.flatnonzero(users[1:] == users[:-1])
        return int(users[again[0]]) if len(again) else None

    def finished(self) -> pl.DataFrame:
        """The table, ordered by user; call once, where no user is shared."""
        user = self._columns["user"][: self._filled]
        order = None if (user[1:] >= user[:-1]).all() else _order(user)
        columns = {}
        for name in self._names:
            column = pl.Series(self._columns.pop(name)[: self._filled])
            columns[name] = column if order is None else column.gather(order)
        return pl.DataFrame(columns)


def _order(user: np.ndarray) -> pl.Series:
    """Positions that put runs of users in order; within a run they stay."""
    start = np.append(0, np.flatnonzero(user[1:] != user[:-1]) + 1)
    size = np.diff(start, append=len(user))
    by_user = np.argsort(user[start])
    start, size = start[by_user], size[by_user]
    # Half of the memory of 64 bits; what is negative here wraps, and back with the sum.
    shift = (start - (np.cumsum(size) - size)).astype(np.uint32)
    order = np.arange(len(user), dtype=np.uint32)
    order += np.repeat(shift, size)
    return pl.Series(order)
