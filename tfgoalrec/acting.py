"""Policies over a catalogue: a' = argmax_a g . M(s, a, g) (GoalRec eq 5), and exploration."""

import tensorflow as tf

from tfgoalrec.world_model import WorldModel
from tfrec.environments import contract
from tfrec.ops import selection


def greedy(model: WorldModel, goal: tf.Tensor) -> contract.Policy:
    """Returns the policy that shows the best allowed item for a goal.

    Args:
      model: the world model.
      goal: float [M], or [B, M] with a goal for each session; unit length.
    """

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        item = selection.best_item(_scores(model, goal, timestep), timestep.blocked)
        return contract.action_of(item)

    return policy


def explore(model: WorldModel, goal: tf.Tensor, epsilon: float, pool: float) -> contract.Policy:
    """Returns a greedy policy that shows a random good item at a share of the steps.

    Algorithm 1 explores by random goals. Their share falls to 0, and they do not compare
    items of almost equal score, so this policy also explores among the best items.

    Args:
      model: the world model.
      goal: float [M] or [B, M].
      epsilon: probability of a random item at a step.
      pool: share of the catalogue, best first, that the random item is sampled from.
    """
    pool_size = selection.pool_size(pool, model.spec.num_candidates)

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        scores = _scores(model, goal, timestep)  # [B, A]
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        coin = tf.random.stateless_uniform([tf.shape(scores)[0]], seeds[1]) < epsilon
        # Finding the pool costs as much as the scores, so only exploring sessions, [b], pay it.
        rows = tf.where(coin)[:, 0]
        blocked = None if timestep.blocked is None else tf.gather(timestep.blocked, rows)
        item = tf.tensor_scatter_nd_update(
            selection.best_item(scores, timestep.blocked),
            rows[:, None],
            selection.random_good_item(tf.gather(scores, rows), blocked, pool_size, seeds[0]),
        )
        return contract.action_of(item)

    return policy


def _scores(model: WorldModel, goal: tf.Tensor, timestep: contract.Timestep) -> tf.Tensor:
    history = contract.history_of(timestep)
    # Cast here, not when the policy is made, because a goal in a variable may change.
    goals = tf.cast(goal, tf.float32)
    if goals.shape.rank == 2:
        goals = timestep.per_session(goals)
    goals = tf.broadcast_to(goals, [tf.shape(history.step)[0], model.dim])
    return model.scores(model.encode(history, goals), goals)
