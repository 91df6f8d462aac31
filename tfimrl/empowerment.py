"""Empowerment, eqs 6-8 and 12: the information of an action about the next state.

E(s) = max_pi I[a; s'|s] (eq 6) with one step (k = 1). For a policy pi and any inverse
dynamics p_xi, E[log p_xi(a|s',s) - log pi(a|s)] is at most I[a; s'|s], and equal to it where
p_xi is the true posterior (eq 8): training p_xi by eq 14 raises this lower bound.

Eq 12 needs s' of an action just drawn from the policy, which the replay does not have. There
are two readings:

replay    log p_xi at the stored a and s'; only -log pi, at the fresh action, has a gradient
forward   s' of the fresh action from a learned Gaussian model, as in Leibfried et al. (2019);
          the gradient then favours actions that s' reveals
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfrec.nn import networks

# Below the noise of all tested simulators; above the range of actions before squashing.
_LOG_STDS = (-5.0, 2.0)


class InverseDynamics(tf.Module):
    """p_xi(a|s', s): a squashed diagonal Gaussian over actions.

    Args:
      observation_size: O.
      action_size: D.
      hidden: widths of the hidden layers.
      seeds: seeds of the initial weights.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden: Sequence[int],
        seeds: Iterator[int],
    ):
        super().__init__(name="inverse_dynamics")
        self.gaussian = networks.Gaussian(
            2 * observation_size, hidden, action_size, seeds, "inverse", _LOG_STDS
        )

    def log_prob(
        self, observation: tf.Tensor, next_observation: tf.Tensor, u: tf.Tensor
    ) -> tf.Tensor:
        """Returns log p_xi(a|s', s), float [B], nats.

        Args:
          observation: s, float [B, O].
          next_observation: s', float [B, O].
          u: the action before squashing, float [B, D].
        """
        # The input is the change of the state, because most of s' is s.
        mean, log_std = self.gaussian(observation, next_observation - observation)
        return networks.squashed_log_prob(mean, log_std, u)


class ForwardModel(tf.Module):
    """P_eta(s'|s, a): a diagonal Gaussian over s' around s, for the `forward` reading.

    Args:
      observation_size: O.
      action_size: D.
      hidden: widths of the hidden layers.
      seeds: seeds of the initial weights.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden: Sequence[int],
        seeds: Iterator[int],
    ):
        super().__init__(name="forward_model")
        self.gaussian = networks.Gaussian(
            observation_size + action_size,
            hidden,
            observation_size,
            seeds,
            "forward",
            _LOG_STDS,
        )

    def log_prob(
        self, observation: tf.Tensor, action: tf.Tensor, next_observation: tf.Tensor
    ) -> tf.Tensor:
        """Returns log P_eta(s'|s, a), float [B], nats; s and s' are [B, O], a is [B, D]."""
        mean, log_std = self.gaussian(observation, action)
        return networks.gaussian_log_prob(mean, log_std, next_observation - observation)

    def sample(self, observation: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Samples s' of any action, with its gradient; noise is standard normal [B, O]."""
        mean, log_std = self.gaussian(observation, action)
        return observation + mean + tf.exp(log_std) * noise


def replay_log_inverse(log_inverse: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Returns log p_xi of eq 12 at the stored (a, s'), without gradient, float [B].

    Args:
      log_inverse: log p_xi(a|s', s) of the stored actions, float [B].
      valid: bool [B], whether s' is the next state of the row's user. Other rows get the
        mean of the valid rows, so that they do not change the value of their state; 0 if
        no row is valid.
    """
    is_valid = tf.cast(valid, tf.float32)
    total = tf.reduce_sum(tf.where(valid, log_inverse, 0.0))
    mean = tf.math.divide_no_nan(total, tf.reduce_sum(is_valid))
    return tf.stop_gradient(tf.where(valid, log_inverse, mean))


def forward_log_inverse(
    inverse: InverseDynamics,
    forward: ForwardModel,
    observation: tf.Tensor,
    u: tf.Tensor,
    noise: tf.Tensor,
) -> tf.Tensor:
    """Returns log p_xi of eq 12 at a fresh action and modelled s', with gradients, float [B].

    Args:
      inverse: p_xi.
      forward: P_eta.
      observation: s, float [B, O].
      u: an action just drawn from the policy, before squashing, float [B, D].
      noise: standard normal, float [B, O].
    """
    next_observation = forward.sample(observation, tf.tanh(u), noise)
    return inverse.log_prob(observation, next_observation, u)


def mutual_information(channel: np.ndarray, source: np.ndarray) -> float:
    """Returns I[a; s'|s] of one state s, in nats (inside eq 6), by eqs 7 and 8.

    Args:
      channel: P(s'|s, a), float [A, S], rows sum to 1.
      source: pi(a|s), float [A].
    """
    joint = source[:, None] * channel  # [A, S]
    product = source[:, None] * joint.sum(axis=0)  # [A, S]
    possible = joint > 0
    return float(np.sum(joint[possible] * np.log(joint[possible] / product[possible])))


def capacity(
    channel: np.ndarray, tolerance: float = 1e-9, most_steps: int = 100_000
) -> tuple[float, np.ndarray]:
    """Computes E(s) = max_pi I[a; s'|s] (eq 6) by Blahut-Arimoto (1972).

    Args:
      channel: P(s'|s, a) of one state, float [A, S], rows sum to 1.
      tolerance: largest distance from the maximum, in nats.
      most_steps: largest number of iterations.

    Returns:
      The capacity in nats, and its policy, float [A].

    Raises:
      ValueError: if the rows are not probabilities, or the iterations do not converge.
    """
    channel = np.asarray(channel, np.float64)
    if channel.ndim != 2 or (channel < 0).any() or not np.allclose(channel.sum(axis=1), 1):
        raise ValueError(
            f"channel has shape {channel.shape} and rows that sum to {channel.sum(axis=-1)}; "
            "expected probabilities [A, S], each row adding up to 1"
        )
    source = np.full(len(channel), 1 / len(channel))
    log_channel = np.log(np.where(channel > 0, channel, 1.0))
    for _ in range(most_steps):
        mixture = source @ channel  # [S]
        log_mixture = np.log(np.where(mixture > 0, mixture, 1.0))
        divergence = np.sum(channel * (log_channel - log_mixture), axis=1)  # [A], nats
        weights = source * np.exp(divergence)
        low, high = np.log(weights.sum()), divergence.max()  # bounds of the capacity
        if high - low < tolerance:
            return float(max(low, 0.0)), source
        source = weights / weights.sum()
    raise ValueError(f"no convergence to {tolerance} nats after {most_steps} iterations")
