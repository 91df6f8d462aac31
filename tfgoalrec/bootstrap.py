"""Targets in which V predicts the far part of windows without an end.

A window such as `click@4..` sums a session to its end. The noise of that sum is many times an
item's effect on it. After n steps the rest of the window is again a sum of measurements, those
of the state n steps later:

    m_j(t)  =  sum over steps before t + n  +  sum_k C_jk m_k(t + n)

For example, what `click@4..` counts is `click@0` + `click@1..3` + `click@4..` of four steps
later. The target replaces these measurements by the prediction of V, which has less noise:

    y_j(t)  =  m_j(t)  +  sum_k C_jk (V_k(s_{t+n}, g) - m_k(t + n))

This is the n-step return of temporal-difference learning (Sutton and Barto, 2018, section 7.1)
for a vector of measurements. It estimates the same mean under the behaviour policy if V is
right, and is biased otherwise. The paper regresses on m(t) alone.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfgoalrec.measurements import Measurement


def carried(parts: Sequence[Measurement], steps: int) -> np.ndarray:
    """Returns C: which measurements, n steps later, are the rest of each measurement.

    Args:
      parts: the measurements, J of them, with M columns.
      steps: n, at least 1.

    Returns:
      float32 [M, M] of 0 and 1; rows of windows with an end, of means and of embeddings are 0.

    Raises:
      ValueError: if a window without an end starts more than n steps ahead, or if its column
        has no windows that add up to the rest of a session.
    """
    columns = [part for part in parts for _ in range(part.size)]  # [M]
    c = np.zeros([len(columns), len(columns)], np.float32)
    for row, part in enumerate(columns):
        if part.kind != "sum" or part.last is not None:
            continue
        if part.first > steps:
            raise ValueError(
                f"bootstrap_steps is {steps}, but {part.name} starts {part.first} steps ahead; "
                f"expected 0 or at least {part.first}"
            )
        c[row, _rest(columns, part.column)] = 1.0
    return c


def _rest(columns: Sequence[Measurement], column: str) -> list[int]:
    """Indices of adjacent windows that add up to the sum of `column` from now to the end."""
    windows = sorted(
        (part.first, part.last is not None, index)
        for index, part in enumerate(columns)
        if (part.kind, part.column) == ("sum", column)
    )
    # The step itself is certain while a session goes on, so steps may count from the next one.
    starts, found = ({0, 1} if column == "step" else {0}), []
    for first, _, index in windows:
        if first in starts:
            found.append(index)
            last = columns[index].last
            if last is None:
                return found
            starts = {last + 1}
    raise ValueError(
        f"bootstrap_steps: no windows of {column} add up to the rest of a session; expected "
        f"e.g. {column}@0 and {column}@1.., or {column}@0.."
    )


def target(
    label: tf.Tensor,
    later: tf.Tensor,
    value: tf.Tensor,
    goes_on: tf.Tensor,
    c: np.ndarray,
    std: tf.Tensor,
) -> tf.Tensor:
    """Returns y(t) in standardised units; C holds for raw units.

    Args:
      label: m(t), standardised, float [B, M].
      later: m(t + n), standardised, float [B, M].
      value: V(s_{t+n}, g), standardised, float [B, M].
      goes_on: whether the session has a step t + n, bool [B].
      c: C, float32 [M, M].
      std: standard deviations of the measurements, float [M].

    Returns:
      float [B, M].
    """
    # Means cancel in differences.
    change = tf.where(goes_on[:, None], (value - later) * std, 0.0)
    return label + tf.matmul(change, c, transpose_b=True) / std
