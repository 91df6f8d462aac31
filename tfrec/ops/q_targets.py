"""Targets of Q-learning, as pure functions.

Inputs are the values of all candidates after a step, and the mask of those that may not be
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
    target_values: tf.Tensor,
    selection_values: tf.Tensor,
    blocked: tf.Tensor | None,
) -> tf.Tensor:
    """Reward + discount * Q'(s', argmax_a Q(s', a)) over the items that may be shown next.

    Args:
      reward: float [B], reward of the n steps before s'.
      discount: float [B], discount^n; 0 if the user left.
      target_values: float [B, A], Q': the target network's values of the next items.
      selection_values: float [B, A], Q: Q' in DQN, the online network's values in double DQN
        (van Hasselt et al., AAAI 2016).
      blocked: bool [B, A] or None.

    Returns:
      float [B], without a gradient; the reward alone if no item may be shown next.
    """
    item = selection.best_item(selection_values, blocked)
    value = tf.gather(target_values, item - 1, axis=1, batch_dims=1)  # [B]
    return tf.stop_gradient(reward + bootstrap_discount(discount, blocked) * value)


def bootstrap_discount(discount: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
    """The discount, or 0 if every candidate was shown and no item may follow; float [B]."""
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

    Each atom is shifted to r + discount * z, and its probability is divided between the two
    neighbouring atoms of the support, or assigned to an end of the support. Within the support
    the mean does not change.

    Args:
      reward: float [B].
      discount: float [B], 0 if the user left.
      probability: float [B, K], probabilities of Z.
      support: float [K], equally spaced.

    Returns:
      float [B, K], without a gradient.
    """
    shifted = reward[:, None] + discount[:, None] * support  # [B, K]
    target = categorical_dqn_agent.project_distribution(shifted, probability, support)
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
