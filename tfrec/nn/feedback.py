"""Feedback as input of networks."""

import tensorflow as tf

from tfrec import types


def compressed(raw: tf.Tensor, spec: types.DataSpec) -> tf.Tensor:
    """Feedback with its amounts as log(1 + amount / scale), float [..., F].

    Args:
      raw: feedback in the units of its columns, float [..., F].
      spec: kinds and scales of the columns.
    """
    scale = tf.constant([column.scale for column in spec.feedback], tf.float32)
    is_amount = tf.constant([column.kind == "amount" for column in spec.feedback])
    return tf.where(is_amount, tf.math.log1p(tf.maximum(raw, 0.0) / scale), raw)
