"""Updates of target and averaged networks."""

from collections.abc import Sequence

import tensorflow as tf


def soft_update(
    target: Sequence[tf.Variable], source: Sequence[tf.Variable], tau: float | tf.Tensor
) -> None:
    """Moves each target variable by tau of the way to its source: t <- t + tau (s - t).

    An average with decay d is the update with tau = 1 - d.

    Args:
      target: variables that move.
      source: variables in the same order.
      tau: share of the way, 0 to 1.

    Raises:
      ValueError: if the numbers of variables differ.
    """
    for behind, ahead in zip(target, source, strict=True):
        behind.assign(behind + tau * (ahead - behind))
