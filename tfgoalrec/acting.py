"""The choice of an item, GoalRec eq 5: a' = argmax_a g . M(s, a, g)."""

import tensorflow as tf

from tfgoalrec.world_model import WorldModel
from tfrec.environments import contract
from tfrec.ops import selection


def greedy(model: WorldModel, goal: tf.Tensor) -> contract.Policy:
    """The best item for a goal among all that may be shown.

    Args:
      model: the world model.
      goal: float [M], or [B, M] with a goal for each session; unit length.
    """

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        item = selection.best_item(_scores(model, goal, timestep), timestep.blocked)
        return contract.action_of(item)

    return policy


def explore(model: WorldModel, goal: tf.Tensor, epsilon: float, pool: float) -> contract.Policy:
    """Greedy, but for a share of the steps a random one of the best items.

    Algorithm 1 explores by random goals. Near its end, and between items of almost
    equal score, only a try of another good item tells which is better.

    Args:
      model: the world model.
      goal: float [M] or [B, M].
      epsilon: probability of such a try.
      pool: share of the catalogue, best first, that is tried.
    """
    tried = max(1, round(pool * model.spec.num_candidates))

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        scores = _scores(model, goal, timestep)  # [B, A]
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        coin = tf.random.stateless_uniform([tf.shape(scores)[0]], seeds[1]) < epsilon
        # Finding the pool costs as much as the scores: only for those who try one, [b].
        rows = tf.where(coin)[:, 0]
        own = tf.gather(scores, rows)  # [b, A]
        blocked = None if timestep.blocked is None else tf.gather(timestep.blocked, rows)
        noise = tf.random.stateless_uniform(tf.shape(own), seeds[0])
        drawn = tf.where(own >= pool_edge(own, blocked, tried), noise, -1.0)
        item = tf.tensor_scatter_nd_update(
            selection.best_item(scores, timestep.blocked),
            rows[:, None],
            selection.best_item(drawn, blocked),
        )
        return contract.action_of(item)

    return policy


def pool_edge(
    scores: tf.Tensor, blocked: tf.Tensor | None, size: float | tf.Tensor
) -> tf.Tensor:
    """A score that `size` of the items that are not blocked reach, float [B, 1].

    Found by halving the range of the scores, which is several times as fast as to sort out the
    best ones. Items within a millionth of the range of each other may come in together.

    Args:
      scores: float [B, A].
      blocked: bool [B, A] or None.
      size: how many; of fewer that are not blocked, all.
    """
    free = scores if blocked is None else tf.where(blocked, scores.dtype.max, scores)
    low = tf.reduce_min(free, axis=1, keepdims=True)  # [B, 1], all of them reach it
    # Blocked items can be in no pool: they are as low as the lowest.
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
    # Read here, not when the policy is made: a goal in a variable may change.
    wanted = tf.cast(goal, tf.float32)
    if wanted.shape.rank == 2:
        wanted = timestep.per_session(wanted)
    wanted = tf.broadcast_to(wanted, [tf.shape(history.step)[0], model.dim])
    return model.scores(model.encode(history, wanted), wanted)
