"""Calibration of predicted advantages: how much of them comes true.

The advantage of a far window is learned from sums over whole sessions, whose noise is many
times an item's effect on them. What is learned is partly that noise, the more so the
farther the window, and a ranking that adds up several windows drowns in the noisiest. So
advantages are compared with what came of sessions of the log that were held out:

    m_j - V_j(s)  ~  slope_j (A_j(s, a) - mean over items of A_j(s, .))

A slope of 1 takes an advantage at its word, 0 leaves it out. It is a regression towards no
effect: with few sessions, a slope must be earned.

What a slope takes away from a window after this step, the advantage of the exit gives back
in part, because one thing is known without learning: who leaves gets nothing afterwards,

    A_j  =  slope_j A_j  -  (1 - slope_j) A_exit V_j / (1 - V_exit).

An exit is one event with little noise where a far window is a sum with much. Goals stay
linear and rankings stay inner products: only the weights of the goal move with the state.

The paper has nothing of the kind; `far_windows=learned` switches it off, and `exit` leaves
nothing of what was learned of far windows. Measurements that `exit` leaves without any
advantage, such as `click@0..` and `mean(click)`, cannot rank items: no goal may weigh them
(`check_goal`).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgoalrec.measurements import Measurement, Measurements
from tfgoalrec.world_model import WorldModel
from tfrec.replay.episodes import Rows

_OTHERS = 32  # random items that an item's advantage is measured against


class Moments(NamedTuple):
    """Second moments over B steps, each float [M].

    Attributes:
      covariance: of advantage and residual.
      advantage: variance of the advantage.
      residual: variance of the residual.
    """

    covariance: tf.Tensor
    advantage: tf.Tensor
    residual: tf.Tensor


def prepare(model: WorldModel, measurements: Measurements) -> None:
    """Tells a model which of its measurements are of the exit, and which come after it."""
    after, leaving = _after(measurements), _leaving(measurements)
    mean, std = measurements.mean.numpy(), measurements.std.numpy()
    model.after.assign(after.astype(np.float32))
    model.origin.assign(-mean / std)  # where a measurement of 0 lies
    model.exit.assign(np.where(leaving, std, 0.0).astype(np.float32))


def measure(model: WorldModel, rows: Rows, goal: tf.Tensor, seed: tf.Tensor) -> Moments:
    """Moments of predicted advantages and what came instead of V.

    Args:
      model: whose advantages.
      rows: B steps that it has not learned from.
      goal: float [B, M].
      seed: int32 [2], of the items an item is measured against.
    """
    code = model.encode(rows.observation, goal)
    others = tf.random.stateless_uniform(
        [_OTHERS], seed, 1, model.spec.num_candidates + 1, tf.int32
    )
    others = tf.repeat(others[None], tf.shape(rows.item)[0], axis=0)  # [B, K]
    items = tf.concat([rows.item[:, None], others], axis=1)  # [B, 1 + K]
    learned = model.learned_advantage(code, model.item_vectors(items))  # [B, 1 + K, M]
    usual = tf.reduce_mean(learned[:, 1:], axis=1)  # [B, M]
    return moments(learned[:, 0] - usual, rows.label - model.value(code) - usual)


def moments(advantage: tf.Tensor, residual: tf.Tensor) -> Moments:
    """Centred second moments of advantages and residuals, float [B, M] each."""
    a = advantage - tf.reduce_mean(advantage, axis=0)
    r = residual - tf.reduce_mean(residual, axis=0)
    return Moments(*(tf.reduce_mean(x, axis=0) for x in (a * r, a * a, r * r)))


def slope(
    found: Moments, measurements: Measurements, sessions: tf.Tensor, steps: int
) -> tf.Tensor:
    """The share of each advantage that comes true, float [M] in [0, 1].

    A ridge regression: the penalty is the noise of an estimate from as many independent
    observations as there were steps, or sessions for windows longer than this step, which
    overlap.

    Args:
      found: moments over the steps.
      measurements: of the model.
      sessions: int scalar, the sessions behind them.
      steps: how many steps there were.
    """
    observations = tf.where(
        _now(measurements), float(steps), tf.cast(sessions, tf.float32)
    )  # [M]
    noise = found.residual / tf.maximum(observations, 1.0)
    return tf.clip_by_value(
        tf.math.divide_no_nan(found.covariance, found.advantage + noise), 0.0, 1.0
    )


def exit_alone(measurements: Measurements) -> np.ndarray:
    """Slopes of 1 for what happens at this step and 0 for all that follows, float32 [M]."""
    return _now(measurements).astype(np.float32)


def discarded(far_windows: str, measurements: Measurements) -> dict[str, str]:
    """Columns that have the same advantage for every item, and the option that makes it so.

    With `far_windows=exit` these are the columns that are neither of this step alone nor a
    window after it whose loss at the exit is known.
    """
    if far_windows != "exit":
        return {}
    follows = _after(measurements) & _leaving(measurements).any()
    ranked = _now(measurements) | follows
    return {
        column: "far_windows=exit"
        for column, kept in zip(measurements.columns, ranked, strict=True)
        if not kept
    }


def check_goal(name: str, weighed: Mapping[str, float], unranked: Mapping[str, str]) -> None:
    """Rejects a goal that weighs a column by which items cannot be ranked.

    Args:
      name: of the goal.
      weighed: weight of each column.
      unranked: what `discarded` returned.

    Raises:
      ValueError: naming the goal, the columns and the option.
    """
    wrong = [column for column, weight in weighed.items() if weight and column in unranked]
    if wrong:
        names = dict.fromkeys(column.partition("[")[0] for column in wrong)
        raise ValueError(
            f"goal {name!r} weighs {', '.join(names)}: {unranked[wrong[0]]} gives every item "
            "the same advantage there. It ranks by this step (e.g. click@0) and, where exit@0 "
            "is measured, by windows after it (e.g. click@1..); weigh those, or choose "
            "far_windows=calibrated"
        )


def _after(measurements: Measurements) -> np.ndarray:
    """Which columns are sums over steps after this one alone, bool [M]."""
    return _columns(measurements, lambda part: part.kind == "sum" and part.first > 0)


def _leaving(measurements: Measurements) -> np.ndarray:
    """Which columns say that the user leaves after this step, bool [M]."""
    return _columns(measurements, lambda p: (p.kind, p.column, p.last) == ("sum", "exit", 0))


def _now(measurements: Measurements) -> np.ndarray:
    """Which columns are of this step alone, bool [M]."""
    return _columns(measurements, lambda part: part.kind == "sum" and part.last == 0)


def _columns(measurements: Measurements, of: Callable[[Measurement], bool]) -> np.ndarray:
    """Which columns belong to measurements of a kind, bool [M]."""
    return np.repeat([of(part) for part in measurements.parts], measurements.size)
