"""The adaptive threshold of augmented transitions, eq 16."""

import tensorflow as tf


def decay(
    episode: tf.Tensor | float, episodes: int, start: float, maximum: float, ramp: float
) -> tf.Tensor:
    """Returns lambda_d of eq 16, float32 in (0, 1]: 1 at first, never rising.

    The paper says that lambda_d decreases with the number of episodes, without a formula. Here
    it falls geometrically to start / maximum, so that the threshold rises geometrically to
    its maximum.

    Args:
      episode: number of episodes played so far.
      episodes: number of episodes of the run.
      start: sigma, the threshold of the first episode, in reward.
      maximum: T_max, in reward.
      ramp: share of the episodes over which lambda_d falls.
    """
    lowest = min(start / maximum, 1.0)
    ramp_episodes = max(ramp * episodes, 1e-6)
    progress = tf.minimum(tf.cast(episode, tf.float32) / ramp_episodes, 1.0)
    return tf.pow(lowest, progress)


def threshold(
    episode: tf.Tensor | float, episodes: int, start: float, maximum: float, ramp: float
) -> tf.Tensor:
    """Returns T = min(sigma / lambda_d, T_max) (eq 16), float32, never falling.

    With binary rewards sigma = T_max = 1, so T is always 1 and every click is informative.
    Arguments as in `decay`.
    """
    return tf.minimum(start / decay(episode, episodes, start, maximum, ramp), maximum)


def informative(reward: tf.Tensor, limit: tf.Tensor | float) -> tf.Tensor:
    """Returns whether a transition may be augmented: r >= T and r > 0, bool [B].

    Args:
      reward: float [B], the simulator's reward, not scaled for learning.
      limit: T, in the same unit.
    """
    return (reward >= limit) & (reward > 0)
