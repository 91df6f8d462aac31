"""Sessions of an ordered interaction table: user, position, length and split of each.

The table keeps one row for each event, ordered by user and time. A session is a range of
rows, so that its history is simply the rows before it: nothing is copied until a batch is
cut out (`blocks.py`).

1. A gap longer than `session_gap_minutes` starts a session.
2. Training users (split=user) or the training period (split=time) are selected.
3. The `max_items` items that are most frequent in training rows stay, if they have at least
   `min_item_rows` of them; the rows of all other items are removed.
4. Sessions shorter than `min_steps` are dropped. Those of `max_steps` or more keep
   their first `max_steps` and count as cut: `exited` is False. The events after the cut
   form no session, since no user started there, but they are history of later sessions,
   as are dropped sessions.
5. Of each user, the latest `max_sessions_per_user` sessions of a split stay.
"""

import dataclasses
import datetime
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from tfrec import types
from tfrec.data import schema as schema_lib
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError
from tfrec.options import MAX_SEED, Options, option

SPLITS = ("train", "validation", "test")
_DROPPED = len(SPLITS)
_MINUTE_MS = 60_000


@dataclasses.dataclass(frozen=True)
class PrepareConfig(Options):
    """How a log is cut into sessions and split."""

    session_gap_minutes: float = option(
        60.0, "a longer pause starts a new session, minutes", above=0, at_most=1e9
    )
    min_steps: int = option(1, "shorter sessions are dropped, steps", at_least=1)
    max_steps: int = option(100, "sessions are cut after this many steps (T)", at_least=1)
    history_length: int = option(
        50, "events before a step that a policy sees (H), events", at_least=1
    )
    max_items: int = option(
        0,
        "keep the most frequent items of the training rows, items; 0 keeps all of them",
        at_least=0,
    )
    min_item_rows: int = option(
        1, "keep items of at least this many training rows, rows", at_least=1
    )
    max_users: int = option(
        0,
        "number of users to keep, drawn at random (split=user only); 0 keeps all of them",
        at_least=0,
    )
    max_sessions_per_user: int = option(
        30, "the latest sessions kept of each user; 0: all", at_least=0
    )
    test_fraction: float = option(
        0.3, "share of the users (or of the sessions, by time) to test on", at_least=0, below=1
    )
    validation_fraction: float = option(
        0.1, "share of the training users (sessions) to tune on", at_least=0, below=1
    )
    split: Literal["user", "time"] = option("user", "test on other users, or on later sessions")
    train_until: str = option(
        "", "split=time: training sessions end before this ISO time (UTC); default by share"
    )
    test_from: str = option(
        "", "split=time: test sessions start at or after this ISO time (UTC); default by share"
    )
    seed: int = option(7, "seed of the user split", at_least=0, at_most=MAX_SEED)
    shards: int = option(4, "files of each split", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        if self.min_steps > self.max_steps:
            raise ValueError(
                f"min_steps is {self.min_steps}; expected at most max_steps = {self.max_steps}"
            )
        if self.split == "user" and (self.train_until or self.test_from):
            raise ValueError("train_until and test_from need split=time")
        if self.split == "time" and self.max_users:
            raise ValueError("max_users needs split=user")


class Sessions(NamedTuple):
    """S sessions, ordered by user and time; positions are rows of the event table.

    Attributes:
      user: int32 [S], dense user id.
      first: int64 [S], the user's first event.
      start: int64 [S], the session's first event.
      length: int32 [S], steps.
      exited: bool [S], False where the session reached the cap.
      start_ms: int64 [S], time of the first step that was logged.
      end_ms: int64 [S], time of the last one, before any cut.
      split: int8 [S], index into SPLITS.
      row: int64 [S], row of the first event that was logged, in the table of all events.
      context: int32 [S, K], numbers of the values of the session's context, as in
        `types.Starts.context_values`; [S, 0] without such features.
    """

    user: np.ndarray
    first: np.ndarray
    start: np.ndarray
    length: np.ndarray
    exited: np.ndarray
    start_ms: np.ndarray
    end_ms: np.ndarray
    split: np.ndarray
    row: np.ndarray
    context: np.ndarray

    def take(self, where: np.ndarray) -> "Sessions":
        """The sessions at these positions, or where a mask is true."""
        return Sessions(*(column[where] for column in self))


class Prepared(NamedTuple):
    """A log ready for storage.

    Attributes:
      events: one row per event, ordered by user and time: `item` (dense, Int32), one
        Float32 column per feedback, `category` (dense) and `propensity` if the log has them.
      sessions: the sessions.
      vocabulary: raw ids.
      spec: shapes and feedback columns, with scales.
      dropped: reason -> number of removed rows or sessions, for the manifest.
      context: S values of each column of the context that the log has, by its name.
    """

    events: pl.DataFrame
    sessions: Sessions
    vocabulary: vocabulary_lib.Vocabulary
    spec: types.DataSpec
    dropped: dict[str, int]
    context: dict[str, pl.Series]


def prepare(
    table: pl.DataFrame | dict[str, pl.Series],
    schema: schema_lib.Schema,
    config: PrepareConfig,
) -> Prepared:
    """Cuts a validated log into sessions and splits them.

    Args:
      table: the interaction table as `schema.validate` returns it. A dict of its columns is
        emptied during the call, which saves the memory of a large log.
      schema: its columns.
      config: how to cut and split.

    Raises:
      UserError: if nothing is left to train on, or if a split by time would leak or the log
        has no times.
    """
    if config.split == "time" and schema.order != "time":
        raise UserError(
            "split=time needs the times of events; this log has none. Pass split=user"
        )
    columns = table if isinstance(table, dict) else {series.name: series for series in table}
    del table
    user = columns.pop("user")
    new_user = (user != user.shift(1)).fill_null(True)
    users = vocabulary_lib.Ids(vocabulary_lib.as_array(user.filter(new_user)))
    del user
    context = {name: columns.pop(schema_lib.CONTEXT + name) for name in schema.context}
    time = columns.pop("time_ms").to_numpy()
    sessions = _sessions(new_user.to_numpy(), time, config)

    sessions, in_training = _with_splits(sessions, new_user.to_numpy(), time, config)
    del time

    items = _items(columns["item"], in_training, config)
    columns["item"] = pl.Series(items.encode(columns.pop("item")))
    unknown = columns["item"] == types.PAD
    dropped = {"rows_of_unknown_or_rare_items": int(unknown.sum())}
    if unknown.any():
        in_vocabulary = ~unknown
        for name in list(columns):
            columns[name] = columns.pop(name).filter(in_vocabulary)
        in_training = in_training[in_vocabulary.to_numpy()]
        sessions = _without_rows(sessions, in_vocabulary.to_numpy())
    sessions = _selected(sessions, config, dropped)
    reject_leak(sessions, config.split)

    categories = vocabulary_lib.Ids(np.zeros(0, np.int64))
    if schema.category:
        categories = vocabulary_lib.ids_of(columns["category"])
        columns["category"] = pl.Series(categories.encode(columns["category"]))
    return Prepared(
        events=pl.DataFrame(columns),
        sessions=sessions,
        vocabulary=vocabulary_lib.Vocabulary(items, users, categories),
        spec=types.DataSpec(
            feedback=_scaled(columns, schema, in_training),
            num_items=len(items),
            num_users=len(users),
            history_length=config.history_length,
            max_steps=config.max_steps,
        ),
        dropped=dropped,
        context={name: column.gather(sessions.row) for name, column in context.items()},
    )


def reject_leak(sessions: Sessions, split: str) -> None:
    """Checks that the splits of sessions share no user, or do not overlap in time.

    Raises:
      UserError: if two splits share a user (split=user), or an earlier split holds a
        session that ends at or after the start of one in a later split (split=time).
    """
    parts = [sessions.take(sessions.split == index) for index in range(len(SPLITS))]
    for earlier in range(len(SPLITS)):
        for later in range(earlier + 1, len(SPLITS)):
            one, other = parts[earlier], parts[later]
            if not len(one.user) or not len(other.user):
                continue
            names = f"{SPLITS[earlier]} and {SPLITS[later]}"
            if split == "user":
                shared = np.intersect1d(one.user, other.user)
                if len(shared):
                    raise UserError(f"the split leaks: {names} share {len(shared)} users")
            elif one.end_ms.max() >= other.start_ms.min():
                raise UserError(
                    f"the split leaks time: of {names}, the first lasts until "
                    f"{schema_lib.iso(one.end_ms.max())}, the second starts at "
                    f"{schema_lib.iso(other.start_ms.min())}; expected it to end before"
                )


def _with_splits(
    sessions: Sessions, new_user: np.ndarray, time: np.ndarray, config: PrepareConfig
) -> tuple[Sessions, np.ndarray]:
    """Assigns a split to each session.

    Args:
      sessions: all sessions.
      new_user: bool [N], whether an event is the first of its user.
      time: int64 [N], time of each event, unix milliseconds.
      config: how to split.

    Returns:
      The sessions with their splits; and bool [N], whether an event is for training.
    """
    if config.split == "time":
        cuts = _time_cuts(sessions.start_ms, config)
        return sessions._replace(split=cuts.split(sessions)), time < cuts.train_until
    first = np.flatnonzero(new_user)
    split_of = _split_users(len(first), config)  # [U]
    in_training = _repeat(split_of == 0, first, len(time))
    return sessions._replace(split=split_of[sessions.user - 1]), in_training


class _TimeCuts(NamedTuple):
    """Unix milliseconds: training ends before `train_until`, and so on."""

    train_until: int
    validation_until: int
    test_from: int

    def split(self, sessions: Sessions) -> np.ndarray:
        """int8 [S]: the split of each session, _DROPPED if it lies across a cut."""
        start, end = sessions.start_ms, sessions.end_ms
        split = np.full(len(start), _DROPPED, np.int8)
        split[end < self.train_until] = 0
        split[(start >= self.train_until) & (end < self.validation_until)] = 1
        split[start >= self.test_from] = 2
        return split


def _time_cuts(start_ms: np.ndarray, config: PrepareConfig) -> _TimeCuts:
    starts = np.sort(start_ms)

    def time_of_share(share: float) -> int:
        """The time at which this share of the sessions has started."""
        place = round(share * len(starts))
        return int(starts[place]) if place < len(starts) else int(starts[-1]) + 1

    training_share = 1 - config.test_fraction
    training_end = _milliseconds("train_until", config.train_until) or time_of_share(
        training_share
    )
    test_from = _milliseconds("test_from", config.test_from) or max(
        training_end, time_of_share(training_share)
    )
    if test_from < training_end:
        raise UserError(
            f"the split leaks time: test_from is {schema_lib.iso(test_from)}, train_until is "
            f"{schema_lib.iso(training_end)}; expected test_from to be the same or later"
        )
    share = np.searchsorted(starts, training_end) / len(starts)
    return _TimeCuts(
        train_until=min(training_end, time_of_share(share * (1 - config.validation_fraction))),
        validation_until=training_end,
        test_from=test_from,
    )


def _split_users(num_users: int, config: PrepareConfig) -> np.ndarray:
    """int8 [U]: the split of each user, drawn by the seed; _DROPPED beyond `max_users`."""
    order = np.random.default_rng(config.seed).permutation(num_users)
    if config.max_users:
        order = order[: config.max_users]
    num_selected = len(order)
    num_test = round(config.test_fraction * num_selected)
    num_validation = round(config.validation_fraction * (num_selected - num_test))
    split = np.full(num_users, _DROPPED, np.int8)
    split[order] = 0
    split[order[:num_test]] = 2
    split[order[num_test : num_test + num_validation]] = 1
    return split


def _items(
    item: pl.Series, in_training: np.ndarray, config: PrepareConfig
) -> vocabulary_lib.Ids:
    """The items with enough training rows, most frequent first."""
    rows = pl.DataFrame({"item": item, "training": in_training}).lazy()
    counts = rows.group_by("item").agg(pl.col("training").sum()).collect(engine="streaming")
    frequent = counts.filter(pl.col("training") >= config.min_item_rows)
    # Ties go to the smaller id, so that the order does not depend on that of the rows.
    frequent = frequent.sort("training", "item", descending=[True, False])
    return vocabulary_lib.Ids(
        vocabulary_lib.as_array(frequent["item"][: config.max_items or None])
    )


def _sessions(new_user: np.ndarray, time: np.ndarray, config: PrepareConfig) -> Sessions:
    """All sessions at full length; `exited` and `split` are placeholders."""
    starts_session = new_user.copy()
    starts_session[1:] |= np.diff(time) > config.session_gap_minutes * _MINUTE_MS
    start = np.flatnonzero(starts_session)
    length = np.diff(start, append=len(time))
    first = np.flatnonzero(new_user)  # of each user
    user = np.cumsum(new_user[start], dtype=np.int32)
    return Sessions(
        user=user,
        first=first[user - 1],
        start=start,
        length=length.astype(np.int32),
        exited=np.zeros(len(start), bool),
        start_ms=time[start],
        end_ms=time[start + length - 1],
        split=np.zeros(len(start), np.int8),
        row=start,
        context=np.zeros((len(start), 0), np.int32),
    )


def _without_rows(sessions: Sessions, stays: np.ndarray) -> Sessions:
    """The sessions after the removal of the rows where `stays` is false."""
    rows_before = np.append(0, np.cumsum(stays, dtype=np.int32)).astype(np.int64)
    start, end = rows_before[sessions.start], rows_before[sessions.start + sessions.length]
    return sessions._replace(
        first=rows_before[sessions.first], start=start, length=(end - start).astype(np.int32)
    )


def _selected(sessions: Sessions, config: PrepareConfig, dropped: dict[str, int]) -> Sessions:
    """The sessions to store, cut at the cap; counts the others in `dropped`."""

    def keep(mask: np.ndarray, reason: str) -> None:
        nonlocal sessions
        dropped[reason] = int(len(mask) - mask.sum())
        sessions = sessions.take(mask)

    if config.split == "time":
        keep(sessions.split != _DROPPED, "sessions_between_the_splits")
    elif config.max_users:
        keep(sessions.split != _DROPPED, "sessions_of_users_not_chosen")
    keep(sessions.length >= config.min_steps, "short_sessions")
    keep(_latest(sessions, config.max_sessions_per_user), "sessions_beyond_the_latest")
    if not (sessions.split == 0).any():
        raise UserError(
            f"no training session is left; lower min_steps (now {config.min_steps}) or "
            f"test_fraction (now {config.test_fraction}), or give a longer log"
        )
    return sessions._replace(
        length=np.minimum(sessions.length, config.max_steps),
        # A session that just reaches the cap may have been cut by the log's writer.
        exited=sessions.length < config.max_steps,
    )


def _latest(sessions: Sessions, most: int) -> np.ndarray:
    """Bool [S]: whether a session is among the latest `most` of its user and split."""
    if not most or not len(sessions.user):
        return np.ones(len(sessions.user), bool)
    # Within a user sessions are in order of time, so splits by time are contiguous too.
    group = np.stack([sessions.user, sessions.split])
    begins = np.flatnonzero(np.r_[True, (group[:, 1:] != group[:, :-1]).any(axis=0)])
    size = np.diff(begins, append=len(sessions.user))
    from_end = np.repeat(begins + size, size) - np.arange(len(sessions.user))  # 1 is the latest
    return from_end <= most


def _scaled(
    columns: dict[str, pl.Series], schema: schema_lib.Schema, in_training: np.ndarray
) -> tuple[types.FeedbackColumn, ...]:
    """The feedback columns with their scale, computed from training rows.

    The scale of an amount is its standard deviation, or its size where it is constant, so
    that the inputs of a network do not depend on the unit.
    """
    training = pl.Series(in_training)

    def scale(column: types.FeedbackColumn) -> float:
        if column.kind == "binary":
            return 1.0
        rows = columns[column.name].filter(training).to_numpy()
        largest = float(rows.max(initial=0.0))
        if 0.0 < largest < 1 / schema_lib.MOST_AMOUNT:
            raise UserError(
                f"feedback column {column.name!r}: no amount of the training rows is above "
                f"{largest:g} {column.unit}; expected at least {1 / schema_lib.MOST_AMOUNT:g}. "
                "Write it in a smaller unit"
            )
        deviation = float(rows.std(dtype=np.float64))
        # Rounding leaves a constant column a deviation that is not quite 0.
        return deviation if deviation > 1e-6 * largest else largest or 1.0

    return tuple(dataclasses.replace(column, scale=scale(column)) for column in schema.feedback)


def _repeat(values: np.ndarray, first: np.ndarray, total: int) -> np.ndarray:
    """values[i] for each row of the run that begins at first[i], [total]."""
    return np.repeat(values, np.diff(first, append=total))


def _milliseconds(name: str, text: str) -> int:
    if not text:
        return 0
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"{name} is {text!r}; expected an ISO time such as 2019-07-01T00:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)
