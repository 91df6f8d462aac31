"""GoalRec's losses. Pure functions of tensors: no state, no files, no flags."""

import tensorflow as tf


def per_measurement(squared: tf.Tensor, measurement_of: tf.Tensor) -> tf.Tensor:
    """Returns the mean over each measurement's columns: a vector measurement counts once.

    Args:
      squared: float [B, M].
      measurement_of: int [M], sorted, the measurement of each column.

    Returns:
      float [B, J].
    """
    member = tf.one_hot(measurement_of, measurement_of[-1] + 1, dtype=squared.dtype)  # [M, J]
    return tf.matmul(squared, member / tf.reduce_sum(member, axis=0))


def measurement_loss(
    prediction: tf.Tensor,
    target: tf.Tensor,
    log_variance: tf.Tensor,
    measurement_of: tf.Tensor,
) -> tf.Tensor:
    """Uncertainty-weighted measurement regression (GoalRec eq 9).

    Each measurement j has one learned variance sigma_j^2. The weight of a measurement falls
    with its variance, and the term log sigma_j^2 bounds the variance.

    Args:
      prediction: M_j(s, a, g), float [B, M], standardised units.
      target: m_j, float [B, M], standardised units.
      log_variance: log sigma_j^2, float [J].
      measurement_of: int [M], sorted, the measurement of each column.

    Returns:
      Scalar, the mean over the batch.
    """
    squared = per_measurement(tf.math.squared_difference(prediction, target), measurement_of)
    weighted = tf.exp(-log_variance) * squared + log_variance  # [B, J]
    return tf.reduce_mean(tf.reduce_sum(weighted, axis=-1))


def value_loss(
    value: tf.Tensor, target: tf.Tensor, log_variance: tf.Tensor, measurement_of: tf.Tensor
) -> tf.Tensor:
    """Returns the auxiliary loss of the value stream.

    V alone regresses on the measurement, so its optimum is the mean of m over the
    actions that the behaviour policy takes, and the mean of A over them is zero. The
    paper mentions such a loss without a formula; this is our reading.

    Args:
      value: V_j(s, g), float [B, M].
      target: m_j, float [B, M].
      log_variance: log sigma_j^2, float [J]; its gradient is stopped here.
      measurement_of: int [M].

    Returns:
      Scalar.
    """
    squared = per_measurement(tf.math.squared_difference(value, target), measurement_of)
    weighted = tf.exp(-tf.stop_gradient(log_variance)) * squared  # [B, J]
    return tf.reduce_mean(tf.reduce_sum(weighted, axis=-1))
