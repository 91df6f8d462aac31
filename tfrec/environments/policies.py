"""Controls beside the methods: what chance, popularity and foresight reach."""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import session
from tfrec.ops import selection


def random(num_items: int) -> session.Policy:
    """Any of the items 1..num_items that may be shown, with equal probability."""

    def policy(timestep: session.SessionTimestep) -> tf.Tensor:
        batch = tf.shape(timestep.observation.step)[0]
        scores = tf.random.stateless_uniform([batch, num_items], timestep.seed)
        return selection.best_item(scores, timestep.blocked)

    return policy


def popularity(episodes: types.Episodes, num_items: int) -> session.Policy:
    """Of items 1..num_items the one with the most clicks in the log, if it may be shown."""
    shown = np.asarray(episodes.item).ravel()
    clicks = np.asarray(episodes.feedback)[..., 0].ravel()
    count = np.bincount(shown, weights=clicks, minlength=num_items + 1)[1 : num_items + 1]
    scores = tf.constant(count, tf.float32)[None, :]

    def policy(timestep: session.SessionTimestep) -> tf.Tensor:
        batch = tf.shape(timestep.observation.step)[0]
        return selection.best_item(tf.repeat(scores, batch, axis=0), timestep.blocked)

    return policy


def greedy(
    world: session.World, reward: np.ndarray, exit_cost: float | tf.Variable = 0.0
) -> session.Policy:
    """Greedy on the world's own expected feedback, which no honest policy knows.

    With `exit_cost` 0 this is the best myopic policy. A positive cost makes it a
    simple long-term control: the cost stands for what the rest of a session is worth.

    Args:
      world: the world it looks into.
      reward: float [F], worth of one unit of each feedback column.
      exit_cost: worth of keeping the user, in units of the reward.
    """
    candidates = tf.range(1, world.spec.num_candidates + 1)
    weights = tf.constant(reward, tf.float32)

    def policy(timestep: session.SessionTimestep) -> tf.Tensor:
        expected = world.responses(timestep.world, candidates)
        scores = tf.linalg.matvec(expected.feedback, weights)  # [B, N]
        return selection.best_item(scores - exit_cost * expected.exit, timestep.blocked)

    return policy
