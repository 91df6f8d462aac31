"""Protocols that split sequences into training, validation and test events.

    leave_one_out    a user's last event is the test, the last but one the validation
    user_ratio       the last 20% of each user's events are the test, the 10% before them (of
                     the rest) the validation
    global_time      one instant for all users: events after the 90% quantile of all times are
                     the test, those after the 80% quantile the validation

In each protocol, test events are predicted from all events before them, validation events
included; a model is trained only on the training events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfrec.data import sequences
from tfrec.errors import UserError


class HeldOut(NamedTuple):
    """Held-out events of users, with the events before them.

    Attributes:
      users: int64 [V], rows of the log with held-out events.
      history: V rows, the events that a model may read.
      targets: V rows, the events to predict, at least one each.
    """

    users: np.ndarray
    history: sequences.Sequences
    targets: sequences.Sequences


def drawn_users(held_out: HeldOut, count: int, seed: int) -> HeldOut:
    """Held-out events of some users, drawn at random; of all if there are no more.

    Args:
      held_out: of the V users.
      count: users that are drawn.
      seed: of the draw.
    """
    if len(held_out.users) <= count:
        return held_out
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(held_out.users), count, replace=False))
    return HeldOut(
        held_out.users[rows], held_out.history.select(rows), held_out.targets.select(rows)
    )


class Split(NamedTuple):
    """Training, validation and test events of a log.

    Attributes:
      train: training events, a row for each user of the log; a row may be empty.
      validation: events for the selection of settings and epochs.
      test: events for the final evaluation.
    """

    train: sequences.Sequences
    validation: HeldOut
    test: HeldOut


def leave_one_out(log: sequences.Sequences) -> Split:
    """Holds out the last two events of each user with at least three.

    Users with fewer events are used for training only (Kang and McAuley 2018).

    Args:
      log: all events.

    Raises:
      UserError: if no user has three events.
    """
    held_out = np.where(log.lengths >= 3, 1, 0)
    return _split(log, log.lengths - 2 * held_out, log.lengths - held_out)


def user_ratio(log: sequences.Sequences) -> Split:
    """Holds out the last 20% of each user's events, rounded up.

    The validation events are the last 10% of the others, rounded up. Users with fewer than
    three events are used for training only.

    Args:
      log: all events.

    Raises:
      UserError: if no user has three events.
    """
    lengths = log.lengths
    # In whole numbers: 0.8 * 5 in floating point need not be 4.
    test = np.where(lengths >= 3, lengths * 4 // 5, lengths)
    validation = np.where(lengths >= 3, test * 9 // 10, lengths)
    return _split(log, validation, test)


def global_time(log: sequences.Sequences) -> Split:
    """Holds out the events of all users after one instant.

    A user without an event before the instant is not evaluated, for lack of a history.

    Args:
      log: all events, with times.

    Raises:
      UserError: if the log has no times, or nothing is left to train or to predict.
    """
    if log.times is None:
        raise UserError(
            "the protocol global_time needs the time of each event, which this log lacks; "
            "expected lines of `user item time`, or prepared data"
        )
    instants = np.quantile(log.times, [0.8, 0.9], method="lower")
    validation, test = (
        np.bincount(log.rows[log.times <= instant], minlength=len(log)) for instant in instants
    )
    return _split(log, validation, test)


PROTOCOLS: dict[str, Callable[[sequences.Sequences], Split]] = {
    "leave_one_out": leave_one_out,
    "user_ratio": user_ratio,
    "global_time": global_time,
}


def _split(log: sequences.Sequences, validation: np.ndarray, test: np.ndarray) -> Split:
    """Splits each row at two positions, validation <= test <= length."""
    start = np.zeros_like(log.lengths)
    split = Split(
        train=log.between(start, validation),
        validation=_held_out(log, validation, test),
        test=_held_out(log, test, log.lengths),
    )
    for name in ("validation", "test"):
        if not len(getattr(split, name).users):
            raise UserError(
                f"no user has a {name} event and one before it; expected a log with users of "
                "at least three events"
            )
    return split


def _held_out(log: sequences.Sequences, first: np.ndarray, end: np.ndarray) -> HeldOut:
    users = np.flatnonzero((first > 0) & (end > first))
    selected, first, end = log.select(users), first[users], end[users]
    return HeldOut(
        users, selected.between(np.zeros_like(first), first), selected.between(first, end)
    )
