"""IMRL's losses, eqs 10-15. Pure functions of tensors: no state, no I/O, no flags.

Every loss is minimised, with the sign of the paper's J. All take `weight`, float [B], e.g. 0
for rows without effect; the mean is over all B rows.
"""

import tensorflow as tf


def weighted_mean(value: tf.Tensor, weight: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the mean over the batch of weight * value, or of value without a weight."""
    return tf.reduce_mean(value if weight is None else weight * value)


def q_target(reward: tf.Tensor, discount: tf.Tensor, next_value: tf.Tensor) -> tf.Tensor:
    """Returns the target of Q(s, a): r + gamma V_psi'(s') (inside eq 10), float [B].

    Args:
      reward: r, float [B].
      discount: gamma, or 0 at the end of a session, float [B].
      next_value: V_psi'(s') of the target network, float [B].
    """
    return tf.stop_gradient(reward + discount * next_value)


def q_loss(q: tf.Tensor, target: tf.Tensor, weight: tf.Tensor | None = None) -> tf.Tensor:
    """Returns J_Q (eq 10): E[(Q(s, a) - target)^2]; the paper prints the square inside.

    Args:
      q: Q_theta(s, a) of one of the critics, float [B].
      target: see `q_target`, float [B].
      weight: float [B].
    """
    return weighted_mean(tf.math.squared_difference(q, tf.stop_gradient(target)), weight)


def gain(
    log_inverse: tf.Tensor | float,
    log_policy: tf.Tensor,
    inverse_weight: tf.Tensor | float,
    entropy_weight: tf.Tensor | float,
) -> tf.Tensor:
    """Returns beta g(s, a) of eqs 11-13 for one draw of s' and a, float [B].

    With equal weights this is beta * (log p_xi(a|s',s) - log pi(a|s)), eq 12 as printed. With
    `inverse_weight` 0 it is SAC's entropy bonus, for any finite log p_xi.

    Args:
      log_inverse: log p_xi(a|s', s), float [B], nats.
      log_policy: log pi_phi(a|s), float [B], nats.
      inverse_weight: weight of log p_xi, beta.
      entropy_weight: weight of -log pi: beta, or the learned temperature.
    """
    return inverse_weight * log_inverse - entropy_weight * log_policy


def bonus_weight(share: float, reward: tf.Tensor, log_inverse: tf.Tensor) -> tf.Tensor:
    """Returns the weight of log p_xi that makes the intrinsic reward a share of the reward.

    The share is that of mean absolute values in the batch (ours). 0 if all log p_xi are 0. The
    weight has no gradient.

    Args:
      share: size of the intrinsic reward, in parts of the reward.
      reward: scaled rewards, float [B].
      log_inverse: log p_xi(a|s', s), float [B], nats.
    """
    size = tf.reduce_mean(tf.abs(log_inverse))
    weight = share * tf.math.divide_no_nan(tf.reduce_mean(tf.abs(reward)), size)
    return tf.stop_gradient(weight)


def value_loss(
    value: tf.Tensor, q: tf.Tensor, bonus: tf.Tensor, weight: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns J_V (eq 11): E[(V(s) - (Q(s, a) + beta g(s, a)))^2], a drawn from the policy.

    Args:
      value: V_psi(s), float [B].
      q: Q of the critics at the drawn action, float [B]; no gradient.
      bonus: see `gain`, float [B]; no gradient.
      weight: float [B].
    """
    target = tf.stop_gradient(q + bonus)
    return weighted_mean(tf.math.squared_difference(value, target), weight)


def policy_loss(q: tf.Tensor, bonus: tf.Tensor, weight: tf.Tensor | None = None) -> tf.Tensor:
    """Returns J_pi (eq 13): -E[beta g(s, a) + Q(s, a)], with gradients through the action.

    Args:
      q: Q of the critics at an action drawn from the policy, float [B].
      bonus: see `gain`, float [B].
      weight: float [B].
    """
    return -weighted_mean(q + bonus, weight)


def inverse_loss(log_inverse: tf.Tensor, weight: tf.Tensor | None = None) -> tf.Tensor:
    """Returns J_p (eq 14): -E[log p_xi(a|s', s)].

    Args:
      log_inverse: float [B], nats.
      weight: float [B]; 0 where s' is another user's.
    """
    return -weighted_mean(log_inverse, weight)


def temperature_loss(
    temperature: tf.Tensor,
    log_policy: tf.Tensor,
    target_entropy: float,
    weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns J(alpha) (eq 15): -E[alpha log pi(a|s) + alpha H].

    The temperature rises while the policy's entropy is below H.

    Args:
      temperature: alpha, positive scalar.
      log_policy: log pi_phi(a|s) of drawn actions, float [B], nats; no gradient.
      target_entropy: H in nats.
      weight: float [B].
    """
    surplus = tf.stop_gradient(log_policy + target_entropy)
    return -weighted_mean(temperature * surplus, weight)


def kl_bonus(features: tf.Tensor, next_features: tf.Tensor) -> tf.Tensor:
    """Returns -KL(N(mu(s), I) || N(mu(s'), I)) = -|mu(s) - mu(s')|^2 / 2, nats, float [B].

    IMRL-KL is described in words ("transferring state and its subsequent states'
    representations into KL divergence and minimizing it") without a formula: unit variances
    and the order of the arguments are our reading.

    Args:
      features: mu(s), float [B, F].
      next_features: mu(s'), float [B, F].
    """
    squared = tf.math.squared_difference(features, next_features)  # [B, F]
    return tf.stop_gradient(-0.5 * tf.reduce_sum(squared, axis=-1))
