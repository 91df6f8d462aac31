"""Is every number finite? The check of losses and gradients, and what it raises."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf


class NonFiniteError(Exception):
    """NaN or infinity in a loss or a gradient: training has gone wrong.

    Attributes:
      name: the tensor, e.g. `gradient of world_model/kernel`.
      batch: the batch that led to it, for replay.
    """

    def __init__(self, name: str, batch: Mapping[str, np.ndarray]):
        super().__init__(f"{name} is not finite")
        self.name = name
        self.batch = dict(batch)


def first_non_finite(named: Mapping[str, tf.Tensor | tf.IndexedSlices]) -> tf.Tensor:
    """The first tensor that holds a NaN or an infinity; graph code.

    Name losses before gradients, in the order of computation: the first is the cause.
    Apply the update only where this is -1, and the weights stay good.

    Args:
      named: tensors of any shape, or the sparse gradients of embeddings.

    Returns:
      int32 scalar: its index in `named`, or -1 if all are finite.
    """
    if not named:
        return tf.constant(-1)
    dense = [t.values if isinstance(t, tf.IndexedSlices) else t for t in named.values()]
    bad = tf.stack([tf.logical_not(tf.reduce_all(tf.math.is_finite(t))) for t in dense])
    return tf.where(tf.reduce_any(bad), tf.argmax(bad, output_type=tf.int32), -1)
