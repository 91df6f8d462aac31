"""The mathematics of the adversarial user model of Chen et al. 2019.

Chen et al., Generative Adversarial User Model for Reinforcement Learning Based Recommendation
System, ICML 2019. A user in state s chooses one of the displayed items, or nothing, which has
reward 0. The choice distribution phi maximises the expected reward plus entropy / eta.

Axes: L choices, D displayed items, M latest clicks (oldest first), N position weightings,
E dimensions of an item embedding.
"""

from __future__ import annotations

import tensorflow as tf


def log_probabilities(reward: tf.Tensor, eta: float) -> tf.Tensor:
    """Log-probabilities of the user's choice with Shannon entropy.

        phi(a | s, A) = exp(eta r(s, a)) / (1 + sum_{a' in A} exp(eta r(s, a')))

    Source: Chen et al. 2019, lemma 1. The 1 is the weight of choosing nothing.

    Args:
      reward: r(s, a), float [..., D].
      eta: weight of the reward against the entropy.

    Returns:
      float [..., 1 + D], the log-probability of nothing first.
    """
    return tf.nn.log_softmax(with_nothing(eta * reward))


def with_nothing(reward: tf.Tensor) -> tf.Tensor:
    """Prepends the reward 0 of choosing nothing: [..., D] -> [..., 1 + D]."""
    return tf.concat([tf.zeros_like(reward[..., :1]), reward], axis=-1)


def of_choice(values: tf.Tensor, clicked: tf.Tensor) -> tf.Tensor:
    """The value of each observed choice.

    Args:
      values: float [L, 1 + D], of nothing and of the displayed items, the logged one first.
      clicked: bool [L], True if the user chose the logged item, False for nothing.

    Returns:
      float [L].
    """
    return tf.where(clicked, values[:, 1], values[:, 0])


def behaviour_value(log_probability: tf.Tensor, reward: tf.Tensor, eta: float) -> tf.Tensor:
    """Expected reward of a behaviour plus its entropy / eta.

        sum_a phi(a) r(s, a) - (1 / eta) sum_a phi(a) log phi(a)

    Source: Chen et al. 2019, the inner objective of the mini-max problem. Its maximum over
    all behaviours is that of `log_probabilities`: log(1 + sum_a exp(eta r(s, a))) / eta.

    Args:
      log_probability: log phi(a), float [L, 1 + D].
      reward: r(s, a), float [L, 1 + D], that of nothing first.
      eta: weight of the reward against the entropy.

    Returns:
      float [L].
    """
    phi = tf.exp(log_probability)
    return tf.reduce_sum(phi * (reward - log_probability / eta), axis=-1)


def minimax_losses(
    log_probability: tf.Tensor, reward: tf.Tensor, clicked: tf.Tensor, eta: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Losses of the generated behaviour and of the user's reward.

        min_theta max_alpha  E[ sum_a phi_alpha(a) r_theta(s, a) + H(phi_alpha) / eta ]
                             - E[ r_theta(s, a_true) ]

    Source: Chen et al. 2019, the mini-max problem, with states of logged sessions. The
    behaviour maximises its value; the reward minimises it and maximises that of the observed
    choices.

    Args:
      log_probability: log phi_alpha(a), float [L, 1 + D].
      reward: r_theta(s, a), float [L, 1 + D], that of nothing first.
      clicked: bool [L]; see `of_choice`.
      eta: weight of the reward against the entropy.

    Returns:
      The loss of the behaviour, whose gradient keeps r_theta fixed, and that of the reward,
      whose gradient keeps phi_alpha fixed; float [] both, means over choices.
    """
    behaviour = -behaviour_value(log_probability, tf.stop_gradient(reward), eta)
    value = behaviour_value(tf.stop_gradient(log_probability), reward, eta)
    return tf.reduce_mean(behaviour), tf.reduce_mean(value - of_choice(reward, clicked))


def position_weighted(clicked: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """The state of position weights: s = vec[sigma(F W + B)], with ELU for sigma.

    Source: Chen et al. 2019, "position weight"; ELU is the activation of the authors' networks.

    Args:
      clicked: embeddings of the latest clicks, float [..., M, E]; 0 for unused positions.
      weights: W, float [M, N].
      bias: B, float [N, E].

    Returns:
      float [..., N E].
    """
    weighted = tf.einsum("...me,mn->...ne", clicked, weights) + bias  # [..., N, E]
    shape = tf.concat([tf.shape(weighted)[:-2], [bias.shape[0] * bias.shape[1]]], 0)
    return tf.reshape(tf.nn.elu(weighted), shape)  # [..., N E]


def similarity_query(clicked: tf.Tensor, is_item: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """The part of a query that rewards items like the latest clicks.

        q = w sum_m f_m / sqrt(1 + n)

    Source: the user of FISM (Kabbur, Ning and Karypis, KDD 2013), whose exponent of the number
    of items is 1/2 here. Users with more clicks are more certain, by the root of their number.

    Args:
      clicked: f_m, embeddings of the latest clicks, float [L, M, E]; 0 for unused positions.
      is_item: bool [L, M], positions that are used, n of them.
      weight: w, float [].

    Returns:
      float [L, E].
    """
    number = tf.reduce_sum(tf.cast(is_item, tf.float32), axis=1, keepdims=True)  # [L, 1]
    return weight * tf.reduce_sum(clicked, axis=1) / tf.sqrt(1.0 + number)


def latest_clicks(
    item: tf.Tensor, clicked: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Packs the clicked items of sequences.

    Args:
      item: int32 [B, S], oldest first.
      clicked: bool [B, S].
      count: M.

    Returns:
      int32 [B, M + S]: M zeros, then the clicked items, then zeros; and int32 [B, S + 1], the
      number of clicks before each event and after the last one. The M latest clicks of an
      event after c clicks are columns c to c + M - 1.
    """
    shape = tf.shape(item)
    number = tf.cumsum(tf.cast(clicked, tf.int32), axis=1)  # [B, S]
    place = tf.cast(tf.where(clicked), tf.int32)  # [clicks, 2]
    column = count + tf.gather_nd(number, place) - 1
    cell = tf.stack([place[:, 0], column], axis=1)  # [clicks, 2]
    packed = tf.scatter_nd(cell, tf.gather_nd(item, place), [shape[0], count + shape[1]])
    return packed, tf.pad(number, [[0, 0], [1, 0]])


def window(packed: tf.Tensor, row: tf.Tensor, before: tf.Tensor, count: int) -> tf.Tensor:
    """The M latest clicks at some events; arguments as `latest_clicks` returns them.

    Args:
      packed: int32 [B, M + S].
      row: int32 [L], the sequence of each event.
      before: int32 [L], clicks before each event.
      count: M.

    Returns:
      int32 [L, M], oldest first, left-padded with 0.
    """
    column = before[:, None] + tf.range(count)  # [L, M]
    return tf.gather_nd(
        packed, tf.stack([tf.broadcast_to(row[:, None], tf.shape(column)), column], -1)
    )
