"""Which item does the world model choose? GoalRec eq 5: a' = argmax_a g . M(s, a, g)."""

import tensorflow as tf

from tfgoalrec.world_model import WorldModel
from tfrec.simulators import session


def greedy(model: WorldModel, goal: tf.Tensor) -> session.Policy:
    """The best item for a goal among all that may be shown.

    Args:
      model: the world model.
      goal: float [M], or [B, M] with a goal for each session; unit length.
    """

    def policy(turn: session.Turn) -> tf.Tensor:
        return session.best(_scores(model, goal, turn), turn.blocked)

    return policy


def explore(model: WorldModel, goal: tf.Tensor, epsilon: float, pool: float) -> session.Policy:
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

    def policy(turn: session.Turn) -> tf.Tensor:
        scores = _scores(model, goal, turn)  # [B, A]
        if turn.blocked is not None:
            scores = tf.where(turn.blocked, scores.dtype.min, scores)
        seeds = tf.random.experimental.stateless_split(turn.seed, 2)
        coin = tf.random.stateless_uniform([tf.shape(scores)[0]], seeds[1]) < epsilon
        # Finding the pool costs more than the scores: only for those who try one, [b].
        rows = tf.where(coin)[:, 0]
        own = tf.gather(scores, rows)  # [b, A]
        worst = tf.math.top_k(own, tried, sorted=False).values  # [b, tried]
        worst = tf.reduce_min(worst, axis=1, keepdims=True)
        noise = tf.random.stateless_uniform(tf.shape(own), seeds[0])
        drawn = tf.where(own >= worst, noise, -1.0)
        blocked = None if turn.blocked is None else tf.gather(turn.blocked, rows)
        return tf.tensor_scatter_nd_update(
            session.best(scores, None), rows[:, None], session.best(drawn, blocked)
        )

    return policy


def _scores(model: WorldModel, goal: tf.Tensor, turn: session.Turn) -> tf.Tensor:
    batch = tf.shape(turn.observation.step)[0]
    # Read here, not when the policy is made: a goal in a variable may change.
    wanted = tf.cast(goal, tf.float32)
    if wanted.shape.rank == 2:
        wanted = turn.own(wanted)
    wanted = tf.broadcast_to(wanted, [batch, model.dim])
    return model.scores(model.encode(turn.observation, wanted), wanted)
