"""Goals g: unit vectors that weigh the measurements of a session.

Q(s, a, g) = g . M(s, a, g) (GoalRec eqs 7-8), with M in standardised units. A user states
a goal as weights in raw units, e.g. 1 for a click and 0.01 for a second of watching.
Column j of the goal is then weight_j x std_j, because a raw unit is 1 / std_j standardised
units. The goal is scaled to length 1, which changes no ranking.
"""

import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfgoalrec.measurements import MeasurementVector
from tfrec import names

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TERM = re.compile(rf"(?P<sign>\+?-|\+|^)(?P<weight>{_NUMBER})\*(?P<name>[^+*-]+)")


def normalise(goal: tf.Tensor) -> tf.Tensor:
    """Scales goals to unit length, [..., M]; a zero goal stays zero."""
    return goal / tf.maximum(tf.norm(goal, axis=-1, keepdims=True), 1e-12)


def named(measurements: MeasurementVector, weights: Mapping[str, float]) -> np.ndarray:
    """Returns the unit goal of weights in raw units.

    Args:
      measurements: the columns and their standard deviations.
      weights: weight of one raw unit of each named measurement.

    Returns:
      float32 [M], unit length.

    Raises:
      ValueError: if a name is not a column, or if all weights are zero.
    """
    goal = raw(measurements, weights) * measurements.std.numpy()
    if not np.isfinite(goal).all():
        raise ValueError(f"goal {dict(weights)}: expected weights within the range of float32")
    largest = np.abs(goal).max()
    if not largest > 0:
        raise ValueError(f"goal {dict(weights)} weighs nothing: one weight must differ from 0")
    # Squares of weights in tiny or huge units leave the range of float32; a power of two
    # changes no digit.
    goal = np.ldexp(goal, -np.frexp(largest)[1])
    return goal / np.linalg.norm(goal)


def raw(measurements: MeasurementVector, weights: Mapping[str, float]) -> np.ndarray:
    """Returns the weight of one raw unit of each column, float32 [M].

    Raises:
      ValueError: if a name is not a column.
    """
    raw_weights = np.zeros(measurements.dim, np.float32)
    for name, weight in weights.items():
        if name not in measurements.columns:
            raise ValueError(
                f"goal names {name!r}; the measurements are {', '.join(measurements.names)}"
            )
        raw_weights[measurements.columns.index(name)] = weight
    return raw_weights


def parse(text: str) -> tuple[str, dict[str, float]]:
    """Reads `clicks = 1*click@0 + 0.5*click@1.. - 2e3*exit@0` as a name and weights.

    Raises:
      ValueError: if it is not of that form, or weighs a measurement twice.
      UserError: if the name cannot be used.
    """
    name, _, terms = text.partition("=")
    terms = terms.replace(" ", "")
    matches = list(_TERM.finditer(terms))
    if not name.strip() or not matches or "".join(term[0] for term in matches) != terms:
        raise ValueError(f"goal {text!r}; expected e.g. 'clicks = 1*click@0 + 0.5*click@1..'")
    names.check_label("goal", name.strip())
    weights: dict[str, float] = {}
    for term in matches:
        if term["name"] in weights:
            raise ValueError(f"goal {text!r} weighs {term['name']!r} twice")
        sign = -1.0 if "-" in term["sign"] else 1.0
        weights[term["name"]] = sign * float(term["weight"])
    return name.strip(), weights


def random(
    measurements: MeasurementVector, batch: int | tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Draws random unit goals for exploration, one for each session.

    With probability 1/2 a goal weighs amounts alone, with positive weights (negative for
    exits). Otherwise it weighs all columns with random signs. The paper does not say how
    goals are drawn.

    Args:
      measurements: the columns.
      batch: B, number of goals.
      seed: int32 [2].

    Returns:
      float [B, M].
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    z = tf.random.stateless_normal([batch, measurements.dim], seeds[0])
    kinds = np.repeat([part.kind for part in measurements.parts], measurements.size)
    columns = np.repeat([part.column for part in measurements.parts], measurements.size)
    sign = np.where(kinds == "embedding", 0.0, np.where(columns == "exit", -1.0, 1.0))
    amounts = tf.abs(z) * tf.constant(sign, tf.float32)
    coin = tf.random.stateless_uniform([batch, 1], seeds[1]) < 0.5
    return normalise(tf.where(coin, amounts, z))
