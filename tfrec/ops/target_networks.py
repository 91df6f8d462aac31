"""Updates of target and averaged networks."""

from collections.abc import Sequence

import tensorflow as tf


def soft_update(
    target: Sequence[tf.Variable], source: Sequence[tf.Variable], tau: float | tf.Tensor
) -> None:
    """Soft update of target variables towards their sources: t <- t + tau (s - t).

    An average with decay d is the update with tau = 1 - d.

    Args:
      target: variables that are updated.
      source: variables in the same order.
      tau: rate of the update, 0 to 1.

    Raises:
      ValueError: if the numbers of variables differ.
    """
    for target_variable, source_variable in zip(target, source, strict=True):
        target_variable.assign(target_variable + tau * (source_variable - target_variable))


def average_update(
    average: Sequence[tf.Variable],
    source: Sequence[tf.Variable],
    decay: float,
    count: tf.Tensor,
) -> None:
    """Update of an exponential average of weights, which forgets its start quickly.

    The decay is at most (1 + count) / (10 + count), so that early averages are short.

    Args:
      average: variables that are updated.
      source: variables in the same order.
      decay: decay of the average, 0 to 1.
      count: float scalar, number of updates so far.

    Raises:
      ValueError: if the numbers of variables differ.
    """
    decay = tf.minimum(decay, (1.0 + count) / (10.0 + count))
    soft_update(average, source, 1.0 - decay)
