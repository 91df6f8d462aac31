"""Selection of items by their scores."""

import tensorflow as tf


def best_item(scores: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
    """The item with the highest score among those not blocked.

    Args:
      scores: float [B, A], column i for item i + 1.
      blocked: bool [B, A] or None.

    Returns:
      int32 [B], dense item ids.
    """
    if blocked is not None:
        scores = tf.where(blocked, scores.dtype.min, scores)
    return tf.argmax(scores, axis=-1, output_type=tf.int32) + 1
