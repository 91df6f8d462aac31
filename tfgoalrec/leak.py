"""Controls of the label leak: whether the model reads the outcome from the goal.

A hindsight goal g' = m_0 / |m_0| is a function of the very measurements that the model
is to predict (GoalRec, "Hindsight Experience Replay"). A model that reads them from the
goal does not need the item to explain them, and ranks items badly under a goal that is not
a copy of the outcome. This module measures the variance that V explains under such goals,
the ranking of the items of one state, and whether the advantages are centred.

Axes: L held-out steps, B states among them, A candidates, M measurement columns,
J measurements.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgoalrec import goals, relabel
from tfgoalrec.measurements import Measurements
from tfgoalrec.world_model import WorldModel
from tfrec import types
from tfrec.data import windows
from tfrec.metrics import intervals as student
from tfrec.metrics import session as metrics

_PAIRS_AT_ONCE = 4_000_000  # bounds the memory of a block of comparisons
_STEPS_AT_ONCE = 8192
_STATES_AT_ONCE = 2048


def blocks(total: int, size: int) -> Iterator[slice]:
    """Yields slices of at most `size` that cover 0..total, to bound memory."""
    return (slice(start, start + size) for start in range(0, total, size))


class HeldOut(NamedTuple):
    """Steps of sessions that the model was not trained on; numpy arrays.

    Attributes:
      session: int [L], position of the session.
      user: int [L], user of the session.
      observation: s_t, [L, ...].
      item: a_t, int32 [L].
      measurement: m_t, standardised, float [L, M].
      outcome: m_0 of the step's session, standardised, float [L, M].
    """

    session: np.ndarray
    user: np.ndarray
    observation: types.Observation
    item: np.ndarray
    measurement: np.ndarray
    outcome: np.ndarray


def held_out(
    episodes: types.Episodes, measurements: Measurements, count: int, seed: int
) -> HeldOut:
    """Draws steps without replacement, each with the same probability.

    Args:
      episodes: sessions as numpy arrays.
      measurements: measurements with statistics of the training sessions.
      count: L; all steps if there are fewer.
      seed: seed of the draw.
    """
    length = np.asarray(episodes.length)
    session = np.repeat(np.arange(len(length)), length)
    step = np.arange(len(session)) - np.repeat(np.cumsum(length) - length, length)
    drawn = np.random.default_rng(seed).permutation(len(session))[:count]
    session, step = session[drawn], step[drawn]
    label = measurements.standardised(types.constants(episodes)).numpy()
    return HeldOut(
        session=session,
        user=np.asarray(episodes.user)[session],
        observation=windows.observations(episodes, session, step),
        item=episodes.item[session, step],
        measurement=label[session, step],
        outcome=label[session, 0],
    )


class Predictions(NamedTuple):
    """V and A of the items shown, standardised units, float [L, M] each."""

    value: np.ndarray
    advantage: np.ndarray


def predict(model: WorldModel, held: HeldOut, goal: np.ndarray) -> Predictions:
    """Predicts V and A of held-out steps.

    Args:
      model: the world model.
      held: L steps.
      goal: float [L, M], unit length.
    """
    predictions = []
    # Not a tf.function: tracing costs more than the few calls of each model.
    for block in blocks(len(held.item), _STEPS_AT_ONCE):
        code = model.encode(_observation(held, block), tf.constant(goal[block]))
        shown = tf.constant(held.item[block])[:, None]
        predictions.append((model.value(code), model.advantage(code, shown)[:, 0]))
    value, advantage = (
        np.concatenate([x.numpy() for x in y]) for y in zip(*predictions, strict=True)
    )
    return Predictions(value, advantage)


def mixed_goals(
    held: HeldOut, measurements: Measurements, hindsight_share: float, seed: int
) -> np.ndarray:
    """Draws goals as training on a log does: a share hindsight, the rest random, [L, M].

    A share of 1 gives hindsight goals alone, 0 random goals alone.
    """
    seeds = tf.random.experimental.stateless_split([seed, 0], 2)
    rows = relabel.Transition(
        observation=held.observation,
        item=tf.constant(held.item),
        measurement=tf.constant(held.measurement),
        outcome=tf.constant(held.outcome),
        goal=goals.random(measurements, len(held.item), seeds[0]),
    )
    return relabel.relabel(rows, hindsight_share, seeds[1]).goal.numpy()


def explained(
    prediction: np.ndarray, target: np.ndarray, size: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Returns each step's term of the explained variance; the mean over steps is R^2.

    R^2_j = 1 - mean_l (m_lj - p_lj)^2 / var_j is a mean over steps of
    1 - (m_lj - p_lj)^2 / var_j, so that its terms give intervals over users.

    Args:
      prediction: float [L, M].
      target: m, float [L, M].
      size: int [J], columns of each measurement. The columns of a vector measurement
        are averaged. Columns that are constant in `target` are left out; a measurement of
        such columns alone gives NaN.

    Returns:
      float [L, J].
    """
    variance = target.astype(np.float64).var(axis=0)  # [M]
    varies = variance > 1e-9
    term = 1.0 - (target - prediction) ** 2 / np.where(varies, variance, np.nan)  # [L, M]
    member = np.repeat(np.eye(len(size)), size, axis=0) * varies[:, None]  # [M, J]
    with np.errstate(invalid="ignore"):
        return np.where(varies, term, 0.0) @ (member / member.sum(axis=0))


def advantage_bias(advantage: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns |mean A| / std(m) of each column, [M]: 0 if V is the mean over shown items.

    Args:
      advantage: A of the items shown, float [L, M].
      target: m, float [L, M]; a constant column gives 0.
    """
    spread = target.astype(np.float64).std(axis=0)
    bias = np.abs(advantage.astype(np.float64).mean(axis=0))
    return np.divide(bias, spread, out=np.zeros_like(bias), where=spread > 1e-6)


def concordance(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns the share of pairs of items of one state that scores order as the truth does.

    The AUC of a ranking against graded truth: 1 is perfect, 0.5 is chance. Pairs that
    are equal in truth do not count; pairs that are equal in score count one half.

    Args:
      scores: float [B, A].
      truth: float [B, A].

    Returns:
      float [B]; NaN where the truth orders no pair.
    """
    states, candidates = scores.shape
    first, second = np.triu_indices(candidates, 1)  # every pair once, [P]
    shares = []
    for block in blocks(states, max(1, _PAIRS_AT_ONCE // max(1, len(first)))):
        true_order = np.sign(truth[block][:, first] - truth[block][:, second])  # [b, P]
        score_order = np.sign(scores[block][:, first] - scores[block][:, second])
        ordered = (true_order != 0).sum(axis=1)
        agreement = (true_order * score_order).sum(axis=1)  # agreeing minus opposing pairs
        with np.errstate(invalid="ignore"):
            shares.append(0.5 + 0.5 * agreement / np.where(ordered, ordered, np.nan))
    return np.concatenate(shares)


def scores_of(
    model: WorldModel, held: HeldOut, goal: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """Returns Q(s, a, g) of candidates under one goal.

    Args:
      model: the world model.
      held: B states.
      goal: float [M], unit length.
      candidates: int32 [B, A].

    Returns:
      float [B, A].
    """
    scores_of_blocks = []
    for block in blocks(len(candidates), _STATES_AT_ONCE):
        items = tf.constant(candidates[block])
        goals_of_rows = tf.repeat(tf.constant(goal, tf.float32)[None], len(items), axis=0)
        scores = model.scores(
            model.encode(_observation(held, block), goals_of_rows), goals_of_rows
        )  # [B, N]
        scores_of_blocks.append(tf.gather(scores, items - 1, batch_dims=1).numpy())
    return np.concatenate(scores_of_blocks)


def first_states(held: HeldOut, count: int) -> HeldOut:
    """Returns the first `count` of the drawn steps, which are in random order."""
    observation = types.rows(held.observation, slice(count))
    cut = {
        name: getattr(held, name)[:count] for name in HeldOut._fields if name != "observation"
    }
    return HeldOut(observation=observation, **cut)


def intervals(
    user: np.ndarray, by_seed: Sequence[dict[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Returns means over rows, with 95% intervals over users and seeds.

    Args:
      user: int [B], user of each row.
      by_seed: for each seed, the values of the same rows by name, float [B].

    Returns:
      For each name: mean, low and high.
    """
    summary = metrics.summarise(_as_sessions(user, by_seed))
    return {name: summary[name] for name in by_seed[0]}


def differences(
    user: np.ndarray, a: Sequence[dict[str, np.ndarray]], b: Sequence[dict[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Returns the paired differences a - b; rows and seeds as in `intervals`.

    Returns:
      For each name: mean, low, high and p_value.
    """
    summary = metrics.paired_difference(_as_sessions(user, a), _as_sessions(user, b))
    return {name: summary[name] for name in a[0]}


def _as_sessions(
    user: np.ndarray, by_seed: Sequence[dict[str, np.ndarray]]
) -> list[metrics.Sessions]:
    """Represents rows as sessions of one step, for the intervals of `metrics.session`."""
    ones = np.ones(len(user))
    return [{"user": user, "reward": ones, "depth": ones} | values for values in by_seed]


def seed_interval(by_seed: Sequence[float]) -> dict[str, float]:
    """Returns the mean over seeds of a non-negative number, with its Student-t interval."""
    interval = student.of_mean(np.asarray(by_seed))
    return {"mean": interval.mean, "low": max(0.0, interval.low), "high": interval.high}


def _observation(held: HeldOut, block: slice) -> types.Observation:
    return types.constants(types.rows(held.observation, block))
