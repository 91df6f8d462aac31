"""The adaptive threshold, eq 16: which transitions are augmented."""

import tensorflow as tf


def decay(
    episode: tf.Tensor | float, episodes: int, start: float, maximum: float, ramp: float
) -> tf.Tensor:
    """lambda_d of eq 16, float32 in (0, 1]: 1 at first, never rising.

    The paper says that it decreases with the number of episodes, and not how. Here it falls
    geometrically to start / maximum, which makes the threshold rise geometrically to its most.

    Args:
      episode: how many episodes have been played.
      episodes: how many there will be.
      start: sigma, the threshold of the first episode, in reward.
      maximum: T_max, in reward.
      ramp: share of the episodes after which lambda_d stays.
    """
    lowest = min(start / maximum, 1.0)
    over = max(ramp * episodes, 1e-6)
    way = tf.minimum(tf.cast(episode, tf.float32) / over, 1.0)
    return tf.pow(lowest, way)


def threshold(
    episode: tf.Tensor | float, episodes: int, start: float, maximum: float, ramp: float
) -> tf.Tensor:
    """T = min(sigma / lambda_d, T_max) (eq 16), float32, never falling.

    With binary rewards sigma = T_max = 1, T is 1 throughout and the schedule does nothing:
    every click is informative. Arguments as in `decay`.
    """
    return tf.minimum(start / decay(episode, episodes, start, maximum, ramp), maximum)


def informative(reward: tf.Tensor, limit: tf.Tensor | float) -> tf.Tensor:
    """Whether a transition may be augmented: r >= T, and never without reward; bool [B].

    Args:
      reward: float [B], the simulator's own, not scaled for learning.
      limit: T, in the same unit.
    """
    return (reward >= limit) & (reward > 0)
