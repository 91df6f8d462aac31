"""Targets of Q-learning, as pure functions.

Inputs are the values of all candidates after a step, and which of them may not be
shown again in the session.
"""

import numpy as np
import tensorflow as tf
from tf_agents.agents.categorical_dqn import categorical_dqn_agent

from tfrec import types
from tfrec.ops import selection


def td_target(
    reward: tf.Tensor,
    discount: tf.Tensor,
    following: tf.Tensor,
    choosing: tf.Tensor,
    blocked: tf.Tensor | None,
) -> tf.Tensor:
    """Reward + discount * Q'(s', argmax_a Q(s', a)) over the items that may follow.

    Args:
      reward: float [B], of the n steps before s'.
      discount: float [B], discount^n; 0 where the user left.
      following: float [B, A], Q': the target's values of the next items.
      choosing: float [B, A], Q: the same as Q' in DQN, the learning network's values in
        double DQN (van Hasselt et al., AAAI 2016).
      blocked: bool [B, A] or None.

    Returns:
      float [B], without a gradient; just the reward where no item may follow.
    """
    item = selection.best_item(choosing, blocked)
    value = tf.gather(following, item - 1, axis=1, batch_dims=1)  # [B]
    return tf.stop_gradient(reward + going_on(discount, blocked) * value)


def going_on(discount: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
    """The discount, 0 where every candidate was shown: nothing can follow; float [B]."""
    if blocked is None:
        return discount
    return tf.where(tf.reduce_all(blocked, axis=1), 0.0, discount)


def expected(logits: tf.Tensor, support: tf.Tensor) -> tf.Tensor:
    """The mean of distributions over the support, float [...]; logits are [..., K]."""
    return tf.linalg.matvec(tf.nn.softmax(logits, axis=-1), support)


def projected(
    reward: tf.Tensor, discount: tf.Tensor, probability: tf.Tensor, support: tf.Tensor
) -> tf.Tensor:
    """The distribution of r + discount * Z on the support of Z (Bellemare et al. 2017, eq 7).

    Each atom moves to r + discount * z and is shared by the two atoms of the support
    around it; what falls outside goes to the ends. Within the support the mean is kept.

    Args:
      reward: float [B].
      discount: float [B], 0 where the user left.
      probability: float [B, K], of Z.
      support: float [K], equally spaced.

    Returns:
      float [B, K], without a gradient.
    """
    moved = reward[:, None] + discount[:, None] * support  # [B, K]
    target = categorical_dqn_agent.project_distribution(moved, probability, support)
    return tf.stop_gradient(target)


def divergence(target: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """KL(target || softmax(logits)), float [B]; both are [B, K]. Its gradient is C51's."""
    entropy = -tf.reduce_sum(tf.math.xlogy(target, target), axis=-1)
    return tf.nn.softmax_cross_entropy_with_logits(target, logits) - entropy


def highest_return(log: types.Episodes, discount: float) -> float:
    """The largest discounted sum of clicks from any step of any session to its end.

    Args:
      log: sessions, numpy arrays.
      discount: per step.
    """
    clicks = np.asarray(log.feedback)[..., 0]  # [B, T], 0 where padded
    value = np.zeros(len(clicks))
    highest = 0.0
    for step in reversed(range(clicks.shape[1])):
        value = clicks[:, step] + discount * value
        highest = max(highest, float(value.max(initial=0.0)))
    return highest
