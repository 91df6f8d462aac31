"""Sequential models and reinforcement learning compared on the held-out events of one log.

Both learn from the same training events. A sequential model reads them as sequences. A method
that learns step by step plays with users of the training events, with logged clicks (`lookup`)
or fitted on the log, and then lists the items that it would show in sequence. All lists rank
the whole catalogue without items of the history.

Axes: V test users, K items of a list, E events, F feedback columns.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrec.data import episodes, feature_schema, preparing, protocols, sequences, storage
from tfrec.data import schema as schema_lib
from tfrec.errors import UserError
from tfrec.evaluation import next_items
from tfrec.methods import all_users
from tfrec.metrics import intervals

_BATCH = 512  # users in a batch of lists
_TEST_SHARE = 0.01  # share of users who only test policies during training
_FEWEST_USERS = 10  # of a log of which any are held out for that


def training_data(
    data: storage.PreparedData,
    in_training: Callable[[sequences.Events], np.ndarray],
    out: str | pathlib.Path,
    max_steps: int,
    history_length: int,
    *,
    about: str = "training events of",
    with_features: bool = False,
) -> storage.PreparedData:
    """Prepares the training events of a log, or opens them if `out` has them.

    Sessions of the log that are longer than `max_steps` are split, so that no event is lost.
    Two percent of the users, but at least two, are for tests during training; none of fewer
    than ten.

    Args:
      data: the whole log.
      in_training: function of the log's events: which of them are training events, bool [E].
      out: output folder.
      max_steps: the longest session, steps.
      history_length: events in a policy's history.
      about: which events they are, before the source of the log in the manifest.
      with_features: whether the features of the items are prepared, too.

    Raises:
      UserError: if the folder cannot be written or holds other events, or no session remains.
    """
    out = pathlib.Path(out)
    source = f"{about} {data.manifest['source']}"
    if (out / storage.MANIFEST).exists():
        opened = storage.PreparedData.open(out)
        if opened.manifest["source"] != source:
            raise UserError(
                f"{out}: holds {opened.manifest['source']}; expected {source}. Choose another "
                "folder"
            )
        return opened
    spec = data.spec
    schema = schema_lib.Schema(feedback=spec.feedback, order=data.order)
    few = spec.num_users < _FEWEST_USERS
    share = 0.0 if few else max(_TEST_SHARE, 1.0 / spec.num_users)
    config = episodes.PrepareConfig(
        max_steps=max_steps,
        history_length=history_length,
        max_sessions_per_user=0,
        test_fraction=share,
        validation_fraction=share,
    )

    def read(bad_rows: schema_lib.BadRows) -> tuple[pl.DataFrame, schema_lib.Schema]:
        del bad_rows  # every row has been checked
        events = sequences.events_of(data)
        times = session_times(events, max_steps, config.session_gap_minutes)
        chosen = in_training(events)
        columns = {
            "user": data.vocabulary.users[events.row[chosen]],
            "item": data.vocabulary.items[events.item[chosen] - 1],
            "time_ms": times[chosen],
        }
        for number, column in enumerate(spec.feedback):
            columns[column.name] = events.feedback[chosen, number]
        return pl.DataFrame(columns), schema

    encoders = {
        "item": data.vocabulary.item_features,
        "user": data.vocabulary.user_features,
    }
    columns_of = {
        owner: tuple(code.column for code in encoder.codes)
        for owner, encoder in encoders.items()
        if with_features and encoder is not None
    }
    return preparing.prepare(
        read,
        out,
        config,
        source=source,
        features_of={
            owner: str(data.directory / f"{owner}_features.parquet") for owner in columns_of
        },
        feature_columns=feature_schema.Declaration(**columns_of),
    ).data


def first_events(
    train: sequences.Sequences,
) -> Callable[[sequences.Events], np.ndarray]:
    """The training events of a split, for `training_data`.

    Args:
      train: the first events of each row of the log.
    """
    return lambda events: events.place < train.lengths[events.row]


def session_times(events: sequences.Events, max_steps: int, gap_minutes: float) -> np.ndarray:
    """Times that separate the events of each user into sessions of at most `max_steps`.

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
    agent: all_users.Lister,
    data: storage.PreparedData,
    held_out: protocols.HeldOut,
    k: int,
) -> np.ndarray:
    """The lists of an agent for the test users, without items of their histories.

    Args:
      agent: agent trained on training events of the data, or a user model fitted on them.
      data: the whole log with the feedback of histories.
      held_out: histories of the V users: the first events of rows of the log.
      k: length of a list.

    Returns:
      Dense ids of the data, int32 [V, k], padded with 0.
    """
    lengths = np.zeros(data.spec.num_users, np.int64)
    lengths[held_out.users] = held_out.history.lengths
    histories = all_users.of_prepared(data, agent, lengths)
    items = np.zeros([len(held_out.users), k], np.int32)
    for first in range(0, len(items), _BATCH):
        rows = held_out.users[first : first + _BATCH]
        observation = histories.observation(rows, agent.spec.history_length)
        blocked = histories.seen(rows, agent.spec.num_candidates)
        item, _ = agent.lists_of_users(histories.users[rows], observation, blocked, k)
        is_item = item > 0
        dense = np.zeros(item.shape, np.int32)
        dense[is_item] = data.vocabulary.encode(agent.vocabulary.decode(item[is_item]))
        items[first : first + _BATCH, : item.shape[1]] = dense
    return items


def estimates(
    evaluations: Sequence[next_items.Evaluation],
) -> dict[str, next_items.Estimate]:
    """Means of each metric over users and seeds, with 95% intervals over both.

    Args:
      evaluations: evaluations of one method from S seeds, on the same users.

    Returns:
      Metric -> estimate. Coverage, a number for each seed, has the interval over seeds; with
      one seed its bounds equal its value.
    """
    by_metric = {}
    for metric in evaluations[0].by_user:
        interval = _interval(_by_seed(evaluations, metric))
        by_metric[metric] = next_items.Estimate.of(interval)
    for k in evaluations[0].coverage:
        interval = intervals.of_mean(np.array([x.coverage[k] for x in evaluations]))
        by_metric[f"coverage@{k}"] = next_items.Estimate.of(interval)
    return by_metric


def mean(evaluations: Sequence[next_items.Evaluation], metric: str) -> float:
    """Mean of a metric over users and seeds."""
    return float(np.mean(_by_seed(evaluations, metric)))


def spread(evaluations: Sequence[next_items.Evaluation], metric: str) -> float | None:
    """Standard deviation of a metric over seeds; None for one seed."""
    means = [float(np.mean(evaluation.by_user[metric])) for evaluation in evaluations]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def difference(
    one: Sequence[next_items.Evaluation], other: Sequence[next_items.Evaluation], metric: str
) -> intervals.Interval:
    """The difference of two methods on the same users, with its interval over users and seeds.

    Args:
      one: evaluations of a method from its seeds. One evaluation, such as that of a control
        without weights, is compared with every seed of the other method.
      other: evaluations of the method that is subtracted, from the same seeds in the same
        order. Where one method has fewer seeds, the first ones are compared.
      metric: such as `ndcg@20`.
    """
    left, right = _by_seed(one, metric), _by_seed(other, metric)
    if min(left.shape[1], right.shape[1]) > 1:
        shared = min(left.shape[1], right.shape[1])
        left, right = left[:, :shared], right[:, :shared]
    return _interval(left - right)


def gains(
    evaluations: Mapping[str, Sequence[next_items.Evaluation]],
    anchors: Mapping[str, Sequence[str]],
    metric: str,
) -> dict[tuple[str, str], intervals.Interval]:
    """What methods gain over the methods that lack one of their parts.

    Args:
      evaluations: method -> its evaluation from each seed, all on the same users.
      anchors: method -> the methods without one of its parts.
      metric: such as `ndcg@20`.

    Returns:
      (method, anchor) -> the paired difference, for those that were both evaluated.
    """
    return {
        (method, anchor): difference(evaluations[method], evaluations[anchor], metric)
        for method, names in anchors.items()
        for anchor in names
        if evaluations.get(method) and evaluations.get(anchor)
    }


def _interval(values: np.ndarray) -> intervals.Interval:
    """Over users and seeds, float [V, S]; of a single user over seeds alone."""
    return intervals.of_table(values) if len(values) > 1 else intervals.of_mean(values[0])


def _by_seed(evaluations: Sequence[next_items.Evaluation], metric: str) -> np.ndarray:
    """A metric of V users from S seeds, float [V, S]."""
    return np.stack([evaluation.by_user[metric] for evaluation in evaluations], axis=1)


def saved(evaluation: next_items.Evaluation) -> dict[str, np.ndarray]:
    """An evaluation as arrays, for `numpy.savez`."""
    arrays = {f"by_user/{name}": values for name, values in evaluation.by_user.items()}
    cutoffs = np.array(list(evaluation.coverage))
    shares = np.array(list(evaluation.coverage.values()))
    return arrays | {"items": evaluation.items, "cutoffs": cutoffs, "coverage": shares}


def restored(arrays: Mapping[str, Any]) -> next_items.Evaluation:
    """The evaluation of arrays from `saved`."""
    prefix = "by_user/"
    by_user = {
        name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)
    }
    coverage = dict(zip(arrays["cutoffs"].tolist(), arrays["coverage"].tolist(), strict=True))
    return next_items.Evaluation(arrays["items"], by_user, coverage)
