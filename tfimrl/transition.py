"""What is a transition of a continuous-action simulator? The rows that IMRL learns from."""

from typing import NamedTuple

import tensorflow as tf


class Transition(NamedTuple):
    """B steps (s, a, r, s') of single users.

    Attributes:
      observation: s, float32 [B, O].
      action: a, float32 [B, D] in [-1, 1]; what was executed.
      reward: r, float32 [B], the simulator's own.
      next_observation: s', float32 [B, O].
      discount: float32 [B], 1, or 0 where the session ended with this step. The agent's
        own gamma is not in it.
      next_valid: bool [B]. False where s' is not this user's (a simulator that puts the
        next user in the place of one that left): such an s' is never looked at.
      synthetic: bool [B], made by counterfactual augmentation and not seen.
    """

    observation: tf.Tensor
    action: tf.Tensor
    reward: tf.Tensor
    next_observation: tf.Tensor
    discount: tf.Tensor
    next_valid: tf.Tensor
    synthetic: tf.Tensor


def spec(observation_size: int, action_size: int) -> Transition:
    """Shapes and dtypes of one row.

    Args:
      observation_size: O.
      action_size: D.
    """
    return Transition(
        tf.TensorSpec([observation_size], tf.float32, "observation"),
        tf.TensorSpec([action_size], tf.float32, "action"),
        tf.TensorSpec([], tf.float32, "reward"),
        tf.TensorSpec([observation_size], tf.float32, "next_observation"),
        tf.TensorSpec([], tf.float32, "discount"),
        tf.TensorSpec([], tf.bool, "next_valid"),
        tf.TensorSpec([], tf.bool, "synthetic"),
    )
