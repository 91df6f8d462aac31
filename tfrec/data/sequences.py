"""Item sequences of users, oldest first: the input of sequential recommenders.

Axes: U users (rows), E events, L events of a padded row, N items.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tfrec.data import storage


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Ragged item sequences in one array.

    Attributes:
      items: int32 [E], dense ids 1..num_items; the rows one after the other, each oldest
        first.
      offsets: int64 [U + 1]; row u holds `items[offsets[u]:offsets[u + 1]]`, perhaps nothing.
      num_items: N, size of the catalogue.
      times: float64 [E], unit of the log (seconds in text files), ascending within each row;
        None if the log has an order and no times.

    Raises:
      ValueError: if the arrays do not fit together.
    """

    items: np.ndarray
    offsets: np.ndarray
    num_items: int
    times: np.ndarray | None = None

    def __post_init__(self):
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.items):
            raise ValueError(
                f"offsets run from {self.offsets[0]} to {self.offsets[-1]}; expected 0 to "
                f"{len(self.items)}, the number of events"
            )
        if (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets descend")
        if self.times is not None and len(self.times) != len(self.items):
            raise ValueError(f"{len(self.times)} times for {len(self.items)} events")
        if len(self.items) and not 1 <= self.items.min() <= self.items.max() <= self.num_items:
            raise ValueError(f"items must be within 1..{self.num_items}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [U], events of each row."""
        return np.diff(self.offsets)

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """int64 [E], the row of each event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row(self, row: int) -> np.ndarray:
        """Items of one row, oldest first."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def between(self, start: np.ndarray, end: np.ndarray) -> Sequences:
        """Events `start[u]` to `end[u]` (not included) of each row, positions within the row.

        Args:
          start: int [U], 0 to `end`.
          end: int [U], `start` to the row's length.
        """
        lengths = np.asarray(end - start, np.int64)
        first = self.offsets[:-1] + start
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(first - offsets[:-1], lengths)
        place = np.arange(offsets[-1]) + shift
        return self._gathered(place, offsets)

    def select(self, rows: np.ndarray) -> Sequences:
        """Some of the rows, in the given order; int or bool [.]."""
        rows = np.arange(len(self))[rows]
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return self._gathered(place, offsets)

    def padded(self, length: int) -> np.ndarray:
        """The last `length` items of each row, left-padded with 0: int32 [U, L]."""
        back = np.arange(length, 0, -1)  # [L], distance from the row's end
        place = self.offsets[1:, None] - back  # [U, L]
        filled = back <= self.lengths[:, None]
        if not len(self.items):
            return np.zeros([len(self), length], np.int32)
        return np.where(filled, self.items[np.where(filled, place, 0)], 0)

    def counts(self) -> np.ndarray:
        """int64 [N], events of each item; item i stands at index i - 1."""
        return np.bincount(self.items, minlength=self.num_items + 1)[1:]

    def _gathered(self, place: np.ndarray, offsets: np.ndarray) -> Sequences:
        times = None if self.times is None else self.times[place]
        return Sequences(self.items[place], offsets, self.num_items, times)


def of_events(
    rows: np.ndarray,
    items: np.ndarray,
    num_rows: int,
    num_items: int,
    times: np.ndarray | None = None,
) -> Sequences:
    """Makes sequences of events in any order.

    Args:
      rows: int [E], 0..num_rows - 1.
      items: int [E], dense ids.
      num_rows: U.
      num_items: N.
      times: [E]; they order the events of a row, and equal times keep the given order. None:
        the events of a row are in order already.
    """
    keys = (rows,) if times is None else (times, rows)
    order = np.lexsort(keys)  # stable
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))])
    ordered = None if times is None else np.asarray(times, np.float64)[order]
    return Sequences(np.asarray(items, np.int32)[order], offsets, num_items, ordered)


class Events(NamedTuple):
    """The events of all sessions of prepared data, ordered by user and time.

    Attributes:
      row: int64 [E], the user's dense id - 1.
      item: int32 [E], dense ids.
      start_ms: int64 [E], time of the session's first event, unix milliseconds.
      step: int64 [E], position in the session.
      feedback: float32 [E, F], raw units.
    """

    row: np.ndarray
    item: np.ndarray
    start_ms: np.ndarray
    step: np.ndarray
    feedback: np.ndarray

    @property
    def place(self) -> np.ndarray:
        """int64 [E], position among the events of the user."""
        return np.arange(len(self.row)) - np.searchsorted(self.row, self.row)


def events_of(data: storage.PreparedData) -> Events:
    """All events of prepared data, one for each step of a stored session.

    Events of a session have the time of its first event and keep their order.

    Args:
      data: the prepared data.
    """
    sessions = data.episodes("all")
    steps = np.arange(sessions.item.shape[1]) < sessions.length[:, None]  # [S, T]
    start_ms, _ = data.session_times("all")
    row = np.repeat(sessions.user.astype(np.int64) - 1, sessions.length)
    start_ms = np.repeat(start_ms, sessions.length)
    order = np.lexsort((start_ms, row))  # stable
    step = np.nonzero(steps)[1]
    return Events(
        row[order],
        sessions.item[steps][order],
        start_ms[order],
        step[order],
        sessions.feedback[steps][order],
    )


def of_prepared(data: storage.PreparedData) -> Sequences:
    """Sequences of all sessions of prepared data, a row for each user of its vocabulary.

    Args:
      data: the prepared data; see `events_of`. Without times in the log, sequences have none.
    """
    events = events_of(data)
    lengths = np.bincount(events.row, minlength=data.spec.num_users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times = events.start_ms / 1000.0 if data.order == "time" else None
    return Sequences(events.item, offsets, data.spec.num_items, times)
