"""Calibration of predicted advantages on held-out sessions.

The advantage of a far window is learned from sums over whole sessions, whose noise is many
times an item's effect on them. Part of a learned advantage is that noise. Its share grows
with the distance of the window, so the noisiest window dominates a ranking that adds up
several. Learned advantages are therefore regressed on held-out sessions of the log:

    m_j - V_j(s)  ~  slope_j (A_j(s, a) - mean over items of A_j(s, .))

A slope of 1 keeps an advantage as it was learned, and a slope of 0 removes it. The slope is
shrunk by its own standard error (the positive-part estimator of James and Stein), so that few
sessions give small slopes. The error is taken from blocks of sessions, because later feedback
of the steps of one session overlaps. Advantages of this step keep a slope of at least
`_LEAST`: where the held-out sessions show nothing, items are ranked by them and do not tie.

Where a slope reduces the advantage of a window after this step, the advantage of the exit
replaces part of it. A user who leaves gets nothing afterwards, which is known without learning:

    A_j  =  slope_j A_j  -  (1 - slope_j) A_exit V_j / (1 - V_exit).

An exit is one event with little noise, and a far window is a sum with much noise. Goals stay
linear and rankings stay inner products: only the weights of the goal depend on the state.

The paper has no such calibration; `far_windows=learned` switches it off, and `exit` replaces
all learned advantages of far windows. Measurements that `exit` leaves without any advantage,
such as `click@0..` and `mean(click)`, cannot rank items: no goal may weigh them
(`check_goal`).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgoalrec.measurements import Measurement, Measurements
from tfgoalrec.world_model import WorldModel
from tfrec.replay.episodes import Rows

_LEAST = 0.01  # slope of an advantage of this step
_OTHERS = 32  # random items whose mean advantage is the baseline of an item's


class Moments(NamedTuple):
    """Second moments over B steps, each float [M], or [K, M] of K blocks of sessions.

    Attributes:
      covariance: of advantage and residual.
      advantage: variance of the advantage.
    """

    covariance: tf.Tensor
    advantage: tf.Tensor


def prepare(model: WorldModel, measurements: Measurements) -> None:
    """Sets which of a model's measurements are of the exit, and which come after it."""
    after, leaving = _after(measurements), _leaving(measurements)
    mean, std = measurements.mean.numpy(), measurements.std.numpy()
    model.after.assign(after.astype(np.float32))
    model.origin.assign(-mean / std)  # a raw measurement of 0, standardised
    model.exit.assign(np.where(leaving, std, 0.0).astype(np.float32))


def measure(model: WorldModel, rows: Rows, goal: tf.Tensor, seed: tf.Tensor) -> Moments:
    """Returns the moments of predicted advantages and of the residuals of V.

    Args:
      model: the model that predicts the advantages.
      rows: B steps that the model was not trained on.
      goal: float [B, M].
      seed: int32 [2], seed of the items in the baseline.
    """
    code = model.encode(rows.observation, goal)
    others = tf.random.stateless_uniform(
        [_OTHERS], seed, 1, model.spec.num_candidates + 1, tf.int32
    )
    others = tf.repeat(others[None], tf.shape(rows.item)[0], axis=0)  # [B, K]
    items = tf.concat([rows.item[:, None], others], axis=1)  # [B, 1 + K]
    learned = model.learned_advantage(code, model.item_vectors(items))  # [B, 1 + K, M]
    baseline = tf.reduce_mean(learned[:, 1:], axis=1)  # [B, M]
    return moments(learned[:, 0] - baseline, rows.label - model.value(code) - baseline)


def moments(advantage: tf.Tensor, residual: tf.Tensor) -> Moments:
    """Returns centred second moments of advantages and residuals, float [B, M] each."""
    a = advantage - tf.reduce_mean(advantage, axis=0)
    r = residual - tf.reduce_mean(residual, axis=0)
    return Moments(tf.reduce_mean(a * r, axis=0), tf.reduce_mean(a * a, axis=0))


def slope(blocks: Moments, measurements: Measurements) -> tf.Tensor:
    """Returns the regression slope of each advantage, float [M] in [0, 1].

    b = sum_k cov_k / sum_k var_k, shrunk to b max(0, 1 - se^2 / b^2), with the standard error
    of a ratio of means over K blocks.

    Args:
      blocks: moments of K >= 2 blocks of sessions, each float [K, M].
      measurements: the model's measurements.
    """
    count = tf.cast(tf.shape(blocks.covariance)[0], tf.float32)
    variance = tf.reduce_mean(blocks.advantage, axis=0)  # [M]
    ratio = tf.math.divide_no_nan(tf.reduce_mean(blocks.covariance, axis=0), variance)
    rest = blocks.covariance - ratio * blocks.advantage  # [K, M]
    error = tf.math.divide_no_nan(
        tf.reduce_sum(rest * rest, axis=0) / (count * (count - 1.0)), variance * variance
    )
    shrunk = ratio - tf.math.divide_no_nan(error, ratio)
    slopes = tf.where(ratio > 0.0, tf.clip_by_value(shrunk, 0.0, 1.0), 0.0)
    return tf.maximum(slopes, _LEAST * tf.cast(_now(measurements), tf.float32))


def exit_alone(measurements: Measurements) -> np.ndarray:
    """Returns slopes of 1 for columns of this step alone and 0 for others, float32 [M]."""
    return _now(measurements).astype(np.float32)


def discarded(far_windows: str, measurements: Measurements) -> dict[str, str]:
    """Returns columns with the same advantage for every item, each with the responsible option.

    With `far_windows=exit` these are the columns that are neither of this step alone nor,
    where exit@0 is measured, a window after it.
    """
    if far_windows != "exit":
        return {}
    follows = _after(measurements) & _leaving(measurements).any()
    ranked = _now(measurements) | follows
    return {
        column: "far_windows=exit"
        for column, ranks in zip(measurements.columns, ranked, strict=True)
        if not ranks
    }


def check_goal(name: str, weighed: Mapping[str, float], unranked: Mapping[str, str]) -> None:
    """Rejects a goal that weighs a column by which items cannot be ranked.

    Args:
      name: name of the goal.
      weighed: weight of each column.
      unranked: result of `discarded`.

    Raises:
      ValueError: naming the goal, the columns and the option.
    """
    columns = [column for column, weight in weighed.items() if weight and column in unranked]
    if columns:
        names = dict.fromkeys(column.partition("[")[0] for column in columns)
        raise ValueError(
            f"goal {name!r} weighs {', '.join(names)}: {unranked[columns[0]]} gives every item "
            "the same advantage there. It ranks by this step (e.g. click@0) and, where exit@0 "
            "is measured, by windows after it (e.g. click@1..); weigh those, or choose "
            "far_windows=calibrated"
        )


def _after(measurements: Measurements) -> np.ndarray:
    """Marks the columns that are sums over steps after this one alone, bool [M]."""
    return _columns(measurements, lambda part: part.kind == "sum" and part.first > 0)


def _leaving(measurements: Measurements) -> np.ndarray:
    """Marks the columns of the user's exit after this step, bool [M]."""
    return _columns(measurements, lambda p: (p.kind, p.column, p.last) == ("sum", "exit", 0))


def _now(measurements: Measurements) -> np.ndarray:
    """Marks the columns of this step alone, bool [M]."""
    return _columns(measurements, lambda part: part.kind == "sum" and part.last == 0)


def _columns(
    measurements: Measurements, condition: Callable[[Measurement], bool]
) -> np.ndarray:
    """Marks the columns of the measurements that satisfy a condition, bool [M]."""
    return np.repeat([condition(part) for part in measurements.parts], measurements.size)
