"""Sequential models and reinforcement learning compared on the held-out events of one log.

Both learn from the same training events. A sequential model reads them as sequences. A method
that learns step by step plays with users of the training events, who click what the log says
that they clicked (`lookup`) or are fitted on it, and then lists the items that it would show
one after the other. All are ranked by the same lists: whole catalogue, items of the history
left out.

Axes: V test users, K items of a list, E events, F feedback columns.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tfrec.data import episodes, preparing, protocols, sequences, storage
from tfrec.data import schema as schema_lib
from tfrec.evaluation import next_items
from tfrec.methods import all_users
from tfrec.metrics import intervals

if TYPE_CHECKING:
    from tfrec.methods import trained

_BATCH = 512  # users that an agent lists items for together
_TEST_SHARE = 0.01  # of the users, whom no policy plays with; they test its play


class Difference(NamedTuple):
    """A paired difference between two methods.

    Attributes:
      mean: over users, of means over seeds.
      low: of the 95% interval over users (Student's t).
      high: likewise.
      p_value: of a paired t-test over users.
    """

    mean: float
    low: float
    high: float
    p_value: float


def training_data(
    data: storage.PreparedData,
    train: sequences.Sequences,
    out: str | pathlib.Path,
    max_steps: int,
    history_length: int,
) -> storage.PreparedData:
    """The training events of a split as prepared data, or those that `out` holds already.

    A session of the log that is longer than `max_steps` becomes several: no event is left out.
    Policies play with all users but two in a hundred, who test their play.

    Args:
      data: the whole log.
      train: its training events: the first ones of each row of `sequences.of_prepared(data)`.
      out: folder to write.
      max_steps: the longest session, steps.
      history_length: events that a policy sees.

    Raises:
      UserError: if the folder cannot be written, or nothing is left.
    """
    out = pathlib.Path(out)
    if (out / storage.MANIFEST).exists():
        return storage.PreparedData.open(out)
    spec = data.spec
    schema = schema_lib.Schema(feedback=spec.feedback, order=data.order)
    config = episodes.PrepareConfig(
        max_steps=max_steps,
        history_length=history_length,
        max_sessions_per_user=0,
        test_fraction=_TEST_SHARE,
        validation_fraction=_TEST_SHARE,
    )

    def read(bad_rows: schema_lib.BadRows) -> tuple[pl.DataFrame, schema_lib.Schema]:
        del bad_rows  # every row has been checked
        events = sequences.events_of(data)
        kept = events.place < train.lengths[events.row]
        columns = {
            "user": data.vocabulary.users[events.row[kept]],
            "item": data.vocabulary.items[events.item[kept] - 1],
            "time_ms": session_times(events, max_steps, config.session_gap_minutes)[kept],
        }
        for number, column in enumerate(spec.feedback):
            columns[column.name] = events.feedback[kept, number]
        return pl.DataFrame(columns), schema

    source = f"training events of {data.manifest['source']}"
    return preparing.prepare(read, out, config, source=source).data


def session_times(events: sequences.Events, max_steps: int, gap_minutes: float) -> np.ndarray:
    """Times that part the events of each user into sessions of at most `max_steps`.

    Args:
      events: E events, ordered by user and time.
      max_steps: steps of a session at most.
      gap_minutes: pause after which a new session starts, minutes.

    Returns:
      int64 [E], milliseconds, from 0 for each user. Each session of the log, and each further
      part of a long one, starts two pauses after the one before it; a step takes a millisecond.
    """
    part, step = np.divmod(events.step, max_steps)
    parts = np.stack([events.row, events.start_ms, part])
    starts = np.append(True, (np.diff(parts, axis=1) != 0).any(axis=0))
    session = np.cumsum(starts)
    first_of_user = session[np.searchsorted(events.row, events.row)]
    return (session - first_of_user) * int(2 * gap_minutes * 60_000) + step


def lists(
    agent: trained.SavedAgent,
    data: storage.PreparedData,
    held_out: protocols.HeldOut,
    k: int,
) -> np.ndarray:
    """What an agent lists for the test users, items of their histories left out.

    Args:
      agent: trained on training events of the data.
      data: the whole log, whose feedback the agent reads.
      held_out: histories of the V users: the first events of rows of the log.
      k: items of a list.

    Returns:
      Dense ids of the data, int32 [V, k]; 0 where no item is left.
    """
    lengths = np.zeros(data.spec.num_users, np.int64)
    lengths[held_out.users] = held_out.history.lengths
    seen = all_users.of_prepared(data, agent, lengths)
    found = np.zeros([len(held_out.users), k], np.int32)
    for first in range(0, len(found), _BATCH):
        rows = held_out.users[first : first + _BATCH]
        observation = seen.observation(rows, agent.spec.history_length)
        blocked = seen.seen(rows, agent.spec.num_candidates)
        item, _ = agent.lists_of_users(seen.users[rows], observation, blocked, k)
        some = item > 0
        dense = np.zeros(item.shape, np.int32)
        dense[some] = data.vocabulary.encode(agent.vocabulary.decode(item[some]))
        found[first : first + _BATCH, : item.shape[1]] = dense
    return found


def over_seeds(evaluations: Sequence[next_items.Evaluation]) -> next_items.Evaluation:
    """Evaluations of several seeds as one, whose numbers of each user are means over seeds.

    Args:
      evaluations: of one method, on the same users.
    """
    first = evaluations[0]
    by_user = {
        name: np.mean([found.by_user[name] for found in evaluations], axis=0)
        for name in first.by_user
    }
    coverage = {k: float(np.mean([x.coverage[k] for x in evaluations])) for k in first.coverage}
    return next_items.Evaluation(first.items, by_user, coverage)


def spread(evaluations: Sequence[next_items.Evaluation], metric: str) -> float | None:
    """Standard deviation of a metric over seeds; None for one seed."""
    means = [float(np.mean(found.by_user[metric])) for found in evaluations]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def difference(
    one: next_items.Evaluation, other: next_items.Evaluation, metric: str
) -> Difference:
    """The difference of two methods on the same users.

    Args:
      one: see `over_seeds`.
      other: the method that is subtracted.
      metric: such as `ndcg@20`.
    """
    by_user = one.by_user[metric] - other.by_user[metric]
    found = intervals.of_mean(by_user)
    return Difference(found.mean, found.low, found.high, found.p_value)


def saved(evaluation: next_items.Evaluation) -> dict[str, np.ndarray]:
    """An evaluation as arrays, for `numpy.savez`."""
    arrays = {f"by_user/{name}": values for name, values in evaluation.by_user.items()}
    cutoffs = np.array(list(evaluation.coverage))
    shares = np.array(list(evaluation.coverage.values()))
    return arrays | {"items": evaluation.items, "cutoffs": cutoffs, "coverage": shares}


def restored(arrays: Mapping[str, Any]) -> next_items.Evaluation:
    """The evaluation of what `saved` gave."""
    prefix = "by_user/"
    by_user = {
        name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)
    }
    coverage = dict(zip(arrays["cutoffs"].tolist(), arrays["coverage"].tolist(), strict=True))
    return next_items.Evaluation(arrays["items"], by_user, coverage)
