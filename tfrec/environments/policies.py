"""Policies of the controls: popularity, and greedy on a world's true responses.

The random control is `contract.random_policy`.
"""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, user_models
from tfrec.ops import selection


def clicks_of_items(episodes: types.Episodes, num_items: int) -> np.ndarray:
    """Counts the clicks of the items 1..num_items in a log, float [num_items]."""
    shown = np.asarray(episodes.item).ravel()
    clicks = np.asarray(episodes.feedback)[..., 0].ravel()
    return np.bincount(shown, weights=clicks, minlength=num_items + 1)[1 : num_items + 1]


def popularity(episodes: types.Episodes, num_items: int) -> contract.Policy:
    """Recommends the item with the most clicks in the log among those that may be shown.

    Args:
      episodes: the log, numpy arrays.
      num_items: items 1 to this number are candidates.
    """
    scores = tf.constant(clicks_of_items(episodes, num_items), tf.float32)[None, :]

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        batch = tf.shape(timestep.observation)[0]
        item = selection.best_item(tf.repeat(scores, batch, axis=0), timestep.blocked)
        return contract.action_of(item)

    return policy


def greedy(
    world: user_models.UserModel, reward: np.ndarray, exit_cost: float | tf.Variable = 0.0
) -> contract.Policy:
    """A privileged policy that is greedy on the world's true expected feedback.

    It requires a `users.UserEnvironment` of that world.

    With `exit_cost` 0 this is the best myopic policy. A positive cost makes it a simple
    long-term control: the cost approximates the value of the rest of a session.

    Args:
      world: the world whose true responses the policy reads.
      reward: float [F], weight of one unit of each feedback column.
      exit_cost: cost of an exit, in units of the reward.
    """
    candidates = tf.range(1, world.spec.num_candidates + 1)
    weights = tf.constant(reward, tf.float32)

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        expected = world.responses(timestep.state.world, candidates)
        scores = tf.linalg.matvec(expected.feedback, weights)  # [B, N]
        item = selection.best_item(scores - exit_cost * expected.exit, timestep.blocked)
        return contract.action_of(item)

    return policy
