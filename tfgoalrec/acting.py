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
    pool_size = max(1, round(pool * model.spec.num_candidates))

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        scores = _scores(model, goal, timestep)  # [B, A]
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        coin = tf.random.stateless_uniform([tf.shape(scores)[0]], seeds[1]) < epsilon
        # Finding the pool costs as much as the scores, so only exploring sessions, [b], pay it.
        rows = tf.where(coin)[:, 0]
        row_scores = tf.gather(scores, rows)  # [b, A]
        blocked = None if timestep.blocked is None else tf.gather(timestep.blocked, rows)
        noise = tf.random.stateless_uniform(tf.shape(row_scores), seeds[0])
        sampled = tf.where(row_scores >= pool_edge(row_scores, blocked, pool_size), noise, -1.0)
        item = tf.tensor_scatter_nd_update(
            selection.best_item(scores, timestep.blocked),
            rows[:, None],
            selection.best_item(sampled, blocked),
        )
        return contract.action_of(item)

    return policy


def pool_edge(
    scores: tf.Tensor, blocked: tf.Tensor | None, size: float | tf.Tensor
) -> tf.Tensor:
    """Returns the score that the best `size` allowed items reach, float [B, 1].

    The range of the scores is bisected, which is several times faster than a top-k. Items
    whose scores differ by less than a millionth of the range may be included together.

    Args:
      scores: float [B, A].
      blocked: bool [B, A] or None.
      size: number of items; where fewer are allowed, all of them are included.
    """
    free = scores if blocked is None else tf.where(blocked, scores.dtype.max, scores)
    low = tf.reduce_min(free, axis=1, keepdims=True)  # [B, 1], reached by every allowed item
    # Blocked items are never in the pool, so they get the lowest score.
    scores = scores if blocked is None else tf.where(blocked, scores.dtype.min, scores)
    high = tf.reduce_max(scores, axis=1, keepdims=True)
    for _ in range(20):
        middle = (low + high) / 2.0
        reached = tf.reduce_sum(tf.cast(scores >= middle, tf.float32), axis=1, keepdims=True)
        enough = reached >= size
        low = tf.where(enough, middle, low)
        high = tf.where(enough, high, middle)
    return low


def _scores(model: WorldModel, goal: tf.Tensor, timestep: contract.Timestep) -> tf.Tensor:
    history = contract.history_of(timestep)
    # Cast here, not when the policy is made, because a goal in a variable may change.
    goals = tf.cast(goal, tf.float32)
    if goals.shape.rank == 2:
        goals = timestep.per_session(goals)
    goals = tf.broadcast_to(goals, [tf.shape(history.step)[0], model.dim])
    return model.scores(model.encode(history, goals), goals)
