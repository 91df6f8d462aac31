"""Controls of the label leak: whether the model reads the outcome from the goal.

A hindsight goal g' = m_0 / |m_0| is a function of the very measurements that the model
is to predict (GoalRec, "Hindsight Experience Replay"). A model that reads them from the
goal needs no item to explain them, and ranks items badly under a goal that is no copy of
the outcome. Here is what shows it: how well V does when it sees such a goal, how well
the items of one state are ranked, and whether the advantages are centred.

Axes: L held-out steps, B states among them, A candidates, M measurement columns,
J measurements.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
import tensorflow as tf

from tfgoalrec import goals, relabel
from tfgoalrec.measurements import Measurements
from tfgoalrec.world_model import WorldModel
from tfrec import types
from tfrec.data import windows
from tfrec.metrics import session as metrics

_PAIRS_AT_ONCE = 4_000_000  # bounds the memory of a block of comparisons
_STEPS_AT_ONCE = 8192
_STATES_AT_ONCE = 2048


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover 0..total: they bound what is in memory at once."""
    return (slice(start, start + size) for start in range(0, total, size))


class HeldOut(NamedTuple):
    """Steps of sessions that the model was not trained on; numpy arrays.

    Attributes:
      session: int [L], which session.
      user: int [L].
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
      measurements: fitted on the training sessions.
      count: L, or all steps where there are fewer.
      seed: of the draw.
    """
    length = np.asarray(episodes.length)
    session = np.repeat(np.arange(len(length)), length)
    step = np.arange(len(session)) - np.repeat(np.cumsum(length) - length, length)
    drawn = np.random.default_rng(seed).permutation(len(session))[:count]
    session, step = session[drawn], step[drawn]
    label = measurements.standardised(types.Episodes(*map(tf.constant, episodes))).numpy()
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
    """What the model says of held-out steps.

    Args:
      model: the world model.
      held: L steps.
      goal: float [L, M], unit length.
    """
    found = []
    # Not a tf.function: each model is asked a few times only, less than a trace costs.
    for block in blocks(len(held.item), _STEPS_AT_ONCE):
        code = model.encode(_observation(held, block), tf.constant(goal[block]))
        shown = tf.constant(held.item[block])[:, None]
        found.append((model.value(code), model.advantage(code, shown)[:, 0]))
    value, advantage = (
        np.concatenate([x.numpy() for x in y]) for y in zip(*found, strict=True)
    )
    return Predictions(value, advantage)


def mixed_goals(
    held: HeldOut, measurements: Measurements, hindsight_share: float, seed: int
) -> np.ndarray:
    """Goals as log training draws them: hindsight for a share, random for the rest, [L, M].

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
    """Each step's part in the variance explained; the mean over steps is R^2.

    R^2_j = 1 - mean_l (m_lj - p_lj)^2 / var_j is a mean over steps of
    1 - (m_lj - p_lj)^2 / var_j, so that intervals over users can be had from its parts.

    Args:
      prediction: float [L, M].
      target: m, float [L, M].
      size: int [J], columns of each measurement. The columns of a vector measurement
        are averaged; one that is constant in `target` is left out (NaN where it is all
        there is).

    Returns:
      float [L, J].
    """
    variance = target.astype(np.float64).var(axis=0)  # [M]
    moves = variance > 1e-9
    part = 1.0 - (target - prediction) ** 2 / np.where(moves, variance, np.nan)  # [L, M]
    member = np.repeat(np.eye(len(size)), size, axis=0) * moves[:, None]  # [M, J]
    with np.errstate(invalid="ignore"):
        return np.where(moves, part, 0.0) @ (member / member.sum(axis=0))


def advantage_bias(advantage: np.ndarray, target: np.ndarray) -> np.ndarray:
    """|mean A| / std(m) of each column, [M]: zero if V is the mean over the shown items.

    Args:
      advantage: A of the items shown, float [L, M].
      target: m, float [L, M]; a constant column gives 0.
    """
    spread = target.astype(np.float64).std(axis=0)
    bias = np.abs(advantage.astype(np.float64).mean(axis=0))
    return np.divide(bias, spread, out=np.zeros_like(bias), where=spread > 1e-6)


def concordance(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of pairs of items of one state that the scores order as the truth does.

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
    found = []
    for block in blocks(states, max(1, _PAIRS_AT_ONCE // max(1, len(first)))):
        wanted = np.sign(truth[block][:, first] - truth[block][:, second])  # [b, P]
        got = np.sign(scores[block][:, first] - scores[block][:, second])
        counted = (wanted != 0).sum(axis=1)
        agreement = (wanted * got).sum(axis=1)  # agreeing less opposed pairs
        with np.errstate(invalid="ignore"):
            found.append(0.5 + 0.5 * agreement / np.where(counted, counted, np.nan))
    return np.concatenate(found)


def scores_of(
    model: WorldModel, held: HeldOut, goal: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """Q(s, a, g) of candidates under one goal.

    Args:
      model: the world model.
      held: B states.
      goal: float [M], unit length.
      candidates: int32 [B, A].

    Returns:
      float [B, A].
    """
    found = []
    for block in blocks(len(candidates), _STATES_AT_ONCE):
        chosen = tf.constant(candidates[block])
        wanted = tf.repeat(tf.constant(goal, tf.float32)[None], len(chosen), axis=0)
        scores = model.scores(model.encode(_observation(held, block), wanted), wanted)  # [B, N]
        found.append(tf.gather(scores, chosen - 1, batch_dims=1).numpy())
    return np.concatenate(found)


def first_states(held: HeldOut, count: int) -> HeldOut:
    """The first `count` of the drawn steps, which are in random order."""
    observation = types.Observation(*(part[:count] for part in held.observation))
    cut = {
        name: getattr(held, name)[:count] for name in HeldOut._fields if name != "observation"
    }
    return HeldOut(observation=observation, **cut)


def intervals(
    user: np.ndarray, by_seed: Sequence[dict[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Means over rows, with 95% intervals over users and seeds.

    Args:
      user: int [B], whose row each is.
      by_seed: for each seed, the values of the same rows by name, float [B].

    Returns:
      For each name: mean, low and high.
    """
    summary = metrics.summarise(_as_sessions(user, by_seed))
    return {name: summary[name] for name in by_seed[0]}


def differences(
    user: np.ndarray, a: Sequence[dict[str, np.ndarray]], b: Sequence[dict[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """By how much `a` exceeds `b` on the same rows and seeds; arguments as in `intervals`.

    Returns:
      For each name: mean, low, high and p_value.
    """
    found = metrics.paired_difference(_as_sessions(user, a), _as_sessions(user, b))
    return {name: found[name] for name in a[0]}


def _as_sessions(
    user: np.ndarray, by_seed: Sequence[dict[str, np.ndarray]]
) -> list[metrics.Sessions]:
    """Rows as sessions of one step, so that `metrics.session` makes their intervals."""
    ones = np.ones(len(user))
    return [{"user": user, "reward": ones, "depth": ones} | values for values in by_seed]


def seed_interval(by_seed: Sequence[float]) -> dict[str, float]:
    """Mean over seeds of a number that is never negative, and its Student-t interval."""
    values = np.asarray(by_seed, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": mean, "high": mean}
    quantile = scipy.stats.t.ppf(0.975, len(values) - 1)
    half = float(quantile * scipy.stats.sem(values))
    return {"mean": mean, "low": max(0.0, mean - half), "high": mean + half}


def _observation(held: HeldOut, block: slice) -> types.Observation:
    return types.Observation(*(tf.constant(part[block]) for part in held.observation))
