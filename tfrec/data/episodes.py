"""An ordered interaction table becomes sessions: who, from where, how long, which split.

Events stay where they are, one row each, ordered by user and time. A session is a
range of them, so that its history is simply the rows before it: nothing is copied
until a batch is cut out (`blocks.py`).

1. A gap longer than `session_gap_minutes` starts a session.
2. Training users (split=user) or the training period (split=time) are chosen.
3. The `max_items` items that are most frequent in training rows stay; an item that no
   training row has, or that is rarer, leaves the log with its rows.
4. Sessions shorter than `min_steps` are dropped. Those of `max_steps` or more keep
   their first `max_steps` and count as cut: `exited` is False. What a cut session did
   afterwards is no session of its own (nobody started there), but it is history to
   later sessions, as are dropped sessions.
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
from tfrec.training.options import option

SPLITS = ("train", "validation", "test")
_DROPPED = len(SPLITS)
_MINUTE_MS = 60_000


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """How a log is cut into sessions and split."""

    session_gap_minutes: float = option(60.0, "a longer pause starts a new session, minutes")
    min_steps: int = option(1, "shorter sessions are dropped, steps")
    max_steps: int = option(100, "sessions are cut after this many steps (T)")
    history_length: int = option(50, "events before a step that a policy sees (H), events")
    max_items: int = option(
        0, "keep the most frequent items of the training rows, items; 0 keeps all of them"
    )
    max_sessions_per_user: int = option(30, "the latest sessions kept of each user; 0: all")
    test_fraction: float = option(0.3, "share of the users (or of the sessions, by time) to test on")
    validation_fraction: float = option(0.1, "share of the training users (sessions) to tune on")
    split: Literal["user", "time"] = option("user", "test on other users, or on later sessions")
    train_until: str = option(
        "", "split=time: training sessions end before this ISO time (UTC); default by share"
    )
    test_from: str = option(
        "", "split=time: test sessions start at or after this ISO time (UTC); default by share"
    )
    seed: int = option(7, "seed of the user split")
    shards: int = option(4, "files of each split")

    def __post_init__(self):
        for name in ("min_steps", "max_steps", "history_length", "shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("max_items", "max_sessions_per_user"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        for name in ("test_fraction", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 <= share < 1")
        if not self.session_gap_minutes > 0:
            raise ValueError(
                f"session_gap_minutes is {self.session_gap_minutes}; expected more than 0"
            )
        if self.min_steps > self.max_steps:
            raise ValueError(
                f"min_steps is {self.min_steps}; expected at most max_steps = {self.max_steps}"
            )
        if self.split == "user" and (self.train_until or self.test_from):
            raise ValueError("train_until and test_from need split=time")


class Sessions(NamedTuple):
    """S sessions, ordered by user and time; positions are rows of the event table.

    Attributes:
      user: int32 [S], dense user id.
      first: int64 [S], the user's first event.
      start: int64 [S], the session's first event.
      length: int32 [S], steps.
      exited: bool [S], False where the session reached the cap.
      start_ms: int64 [S], time of the first step.
      end_ms: int64 [S], time of the last step that was logged, before any cut.
      split: int8 [S], index into SPLITS.
    """

    user: np.ndarray
    first: np.ndarray
    start: np.ndarray
    length: np.ndarray
    exited: np.ndarray
    start_ms: np.ndarray
    end_ms: np.ndarray
    split: np.ndarray

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
      dropped: what left the log and how much of it, for the manifest.
    """

    events: pl.DataFrame
    sessions: Sessions
    vocabulary: vocabulary_lib.Vocabulary
    spec: types.DataSpec
    dropped: dict[str, int]


def prepare(
    frame: pl.DataFrame, schema: schema_lib.Schema, config: PrepareConfig
) -> Prepared:
    """Cuts a validated log into sessions and splits them.

    Args:
      frame: the interaction table as `schema.validate` returns it. Its columns are
        let go one by one: drop your own reference to save memory.
      schema: its columns.
      config: how to cut and split.

    Raises:
      UserError: if nothing is left, or a split by time would leak.
    """
    time = frame["time_ms"].to_numpy()
    new_user = _changes(frame["user"])
    users = vocabulary_lib.Ids(vocabulary_lib.as_array(frame["user"].filter(new_user)))
    frame = frame.drop("user")
    starts_session = new_user.to_numpy().copy()
    gap_ms = config.session_gap_minutes * _MINUTE_MS
    starts_session[1:] |= np.diff(time) > gap_ms
    user_of = np.cumsum(new_user.to_numpy(), dtype=np.int32)  # dense user id of each row

    if config.split == "user":
        user_split = _split_users(len(users), config)  # [U]
        in_training = user_split[user_of - 1] == 0
        cuts = None
    else:
        cuts = _time_cuts(time, starts_session, config)
        in_training = time < cuts.train_until

    items, kept = _items(frame["item"], in_training, config.max_items)
    dense = items.encode(frame["item"])
    frame = frame.with_columns(pl.Series("item", dense)).drop("time_ms")
    dropped = {"rows_of_unknown_or_rare_items": 0}
    if not kept:
        keep = dense != types.PAD
        dropped["rows_of_unknown_or_rare_items"] = int(len(keep) - keep.sum())
        session_of = np.cumsum(starts_session, dtype=np.int32)[keep]
        starts_session = np.diff(session_of, prepend=-1) != 0
        frame = frame.filter(pl.Series(keep))
        time, user_of, in_training = time[keep], user_of[keep], in_training[keep]
        if frame.height == 0:
            raise UserError("no row is left: no item of the log occurs in its training part")

    sessions = _sessions(starts_session, user_of, time, config)
    if config.split == "user":
        sessions = sessions._replace(split=user_split[sessions.user - 1])
    else:
        sessions = sessions._replace(split=cuts.split(sessions))
        dropped["sessions_across_a_cut"] = int((sessions.split == _DROPPED).sum())
        sessions = sessions.take(sessions.split != _DROPPED)
    short = sessions.length < config.min_steps
    dropped["short_sessions"] = int(short.sum())
    sessions = sessions.take(~short)
    latest = _latest(sessions, config.max_sessions_per_user)
    dropped["sessions_beyond_the_latest"] = int((~latest).sum())
    sessions = sessions.take(latest)
    if not (sessions.split == 0).any():
        raise UserError(
            f"no training session is left of {len(users):,} users; lower min_steps "
            f"(now {config.min_steps}) or test_fraction (now {config.test_fraction})"
        )
    refuse_leak(sessions, config.split)

    categories = vocabulary_lib.Ids(np.zeros(0, np.int64))
    if schema.category:
        categories = vocabulary_lib.ids_of(frame["category"])
        frame = frame.with_columns(pl.Series("category", categories.encode(frame["category"])))
    feedback = _scaled(frame, schema, in_training)
    return Prepared(
        events=frame,
        sessions=sessions,
        vocabulary=vocabulary_lib.Vocabulary(items, users, categories),
        spec=types.DataSpec(
            feedback=feedback,
            num_items=len(items),
            num_users=len(users),
            history_length=config.history_length,
            max_steps=config.max_steps,
        ),
        dropped=dropped,
    )


def refuse_leak(sessions: Sessions, split: str) -> None:
    """Checks what a split promises, on the sessions themselves.

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
                    f"{_iso(one.end_ms.max())}, the second starts at "
                    f"{_iso(other.start_ms.min())}; expected it to end before"
                )


class _TimeCuts(NamedTuple):
    """Unix milliseconds: training ends before `train_until`, and so on."""

    train_until: int
    validation_until: int
    test_from: int

    def split(self, sessions: Sessions) -> np.ndarray:
        """int8 [S]: the split of each session, _DROPPED if it lies across a cut."""
        start, end = sessions.start_ms, sessions.end_ms
        which = np.full(len(start), _DROPPED, np.int8)
        which[end < self.train_until] = 0
        which[(start >= self.train_until) & (end < self.validation_until)] = 1
        which[start >= self.test_from] = 2
        return which


def _time_cuts(time: np.ndarray, starts_session: np.ndarray, config: PrepareConfig) -> _TimeCuts:
    starts = np.sort(time[starts_session])

    def after(share: float) -> int:
        """The time at which this share of the sessions has started."""
        place = round(share * len(starts))
        return int(starts[place]) if place < len(starts) else int(starts[-1]) + 1

    learn = 1 - config.test_fraction
    until = _milliseconds("train_until", config.train_until) or after(learn)
    test_from = _milliseconds("test_from", config.test_from) or max(until, after(learn))
    if test_from < until:
        raise UserError(
            f"the split leaks time: test_from is {_iso(test_from)}, train_until is "
            f"{_iso(until)}; expected test_from to be the same or later"
        )
    share = np.searchsorted(starts, until) / len(starts)
    return _TimeCuts(
        train_until=min(until, after(share * (1 - config.validation_fraction))),
        validation_until=until,
        test_from=test_from,
    )


def _split_users(num_users: int, config: PrepareConfig) -> np.ndarray:
    """int8 [U]: the split of each user, drawn by the seed."""
    order = np.random.default_rng(config.seed).permutation(num_users)
    num_test = round(config.test_fraction * num_users)
    num_validation = round(config.validation_fraction * (num_users - num_test))
    split = np.zeros(num_users, np.int8)
    split[order[:num_test]] = 2
    split[order[num_test : num_test + num_validation]] = 1
    return split


def _items(
    item: pl.Series, in_training: np.ndarray, max_items: int
) -> tuple[vocabulary_lib.Ids, bool]:
    """The items to keep, and whether those are all items of the log."""
    counts = item.filter(pl.Series(in_training)).value_counts(name="rows")
    if max_items:
        # Ties go to the smaller id, so that the choice does not depend on row order.
        counts = counts.sort(["rows", item.name], descending=[True, False]).head(max_items)
    ids = vocabulary_lib.ids_of(counts[item.name])
    return ids, len(ids) == item.n_unique()


def _sessions(
    starts_session: np.ndarray, user_of: np.ndarray, time: np.ndarray, config: PrepareConfig
) -> Sessions:
    """All sessions; those longer than the cap are cut. The split is yet to be filled in."""
    start = np.flatnonzero(starts_session)
    length = np.diff(start, append=len(starts_session))
    user = user_of[start]
    new_user = np.flatnonzero(np.diff(user, prepend=0))  # each user's first session
    first = np.repeat(start[new_user], np.diff(new_user, append=len(start)))
    return Sessions(
        user=user,
        first=first,
        start=start,
        length=np.minimum(length, config.max_steps).astype(np.int32),
        # A session that just reaches the cap may have been cut by whoever wrote the log.
        exited=length < config.max_steps,
        start_ms=time[start],
        end_ms=time[start + length - 1],
        split=np.zeros(len(start), np.int8),
    )


def _latest(sessions: Sessions, most: int) -> np.ndarray:
    """bool [S]: whether a session is among the latest `most` of its user and split."""
    if not most or not len(sessions.user):
        return np.ones(len(sessions.user), bool)
    # Within a user sessions are in order of time, so splits by time are contiguous too.
    group = np.stack([sessions.user, sessions.split])
    begins = np.flatnonzero(np.r_[True, (group[:, 1:] != group[:, :-1]).any(axis=0)])
    size = np.diff(begins, append=len(sessions.user))
    from_end = np.repeat(begins + size, size) - np.arange(len(sessions.user))  # 1 is the latest
    return from_end <= most


def _scaled(
    frame: pl.DataFrame, schema: schema_lib.Schema, in_training: np.ndarray
) -> tuple[types.FeedbackColumn, ...]:
    """The feedback columns with their scale, from training rows alone."""
    amounts = [column.name for column in schema.feedback if column.kind == "amount"]
    mask = pl.Series(in_training)
    scale = {name: frame[name].filter(mask).cast(pl.Float64).std(ddof=0) for name in amounts}
    return tuple(
        dataclasses.replace(column, scale=float(scale.get(column.name) or 1.0))
        for column in schema.feedback
    )


def _changes(column: pl.Series) -> pl.Series:
    """True where a value differs from the one before; true at the start."""
    return (column != column.shift(1)).fill_null(True)


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


def _iso(milliseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(int(milliseconds) / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")
