"""The target and the loss of TD3's twin critics, as pure functions.

Fujimoto et al., "Addressing Function Approximation Error in Actor-Critic Methods", ICML 2018
(arXiv:1802.09477), algorithm 1.
"""

import tensorflow as tf


def smoothing_noise(
    shape: tf.Tensor | list, stddev: float, limit: float, seed: tf.Tensor
) -> tf.Tensor:
    """Clipped Gaussian noise of TD3's target action, float [*shape].

    Args:
      shape: shape of the noise.
      stddev: standard deviation of each number before clipping, in units of the action.
      limit: largest absolute value, in the same units.
      seed: int32 [2].
    """
    noise = stddev * tf.random.stateless_normal(shape, seed)
    return tf.clip_by_value(noise, -limit, limit)


def clipped_double_q_target(
    reward: tf.Tensor, discount: tf.Tensor, first: tf.Tensor, second: tf.Tensor
) -> tf.Tensor:
    """TD3's target y = r + discount * min(Q'_1, Q'_2).

    Args:
      reward: float [B], reward of the steps before s'.
      discount: float [B]; 0 if the session ended.
      first: float [B], Q'_1(s', a').
      second: float [B], Q'_2(s', a').

    Returns:
      float [B], without a gradient.
    """
    return tf.stop_gradient(reward + discount * tf.minimum(first, second))


def twin_critic_loss(
    target: tf.Tensor, first: tf.Tensor, second: tf.Tensor, weight: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean over the batch of (y - Q_1)^2 + (y - Q_2)^2, float scalar.

    Args:
      target: y, float [B].
      first: float [B], Q_1(s, a).
      second: float [B], Q_2(s, a).
      weight: importance weights, float [B]; None for weights of 1.
    """
    loss = tf.math.squared_difference(target, first)
    loss += tf.math.squared_difference(target, second)
    return tf.reduce_mean(loss if weight is None else loss * weight)
