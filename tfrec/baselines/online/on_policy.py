"""What REINFORCE, PGPR and TPGR have in common: the last rollout, its returns, one pass.

What a rollout teaches is learned once and forgotten with the next one. The sessions of a
rollout are dealt into `pieces`, and each makes one update, so that a rollout moves the policy
more than once and yet no step is used twice.
"""

import abc
from typing import NamedTuple

import tensorflow as tf

from tfrec.baselines.online import base, items
from tfrec.baselines.online.config import OnPolicyConfig
from tfrec.environments import contract
from tfrec.methods.online import Rollout
from tfrec.nn import networks


class Piece(NamedTuple):
    """R steps of sessions with their returns and values.

    Attributes:
      observation: float32 [R, O].
      features: features of the candidates, float32 [R, m, D] or [m, D]; None if continuous.
      action: int32 [R, k] or float32 [R, D].
      info: float32 [R, N].
      returns: float32 [R], scaled reward from this step on.
      value: float32 [R], V(s) before the update.
    """

    observation: tf.Tensor
    features: tf.Tensor | None
    action: tf.Tensor
    info: tf.Tensor
    returns: tf.Tensor
    value: tf.Tensor


def discounted(
    reward: tf.Tensor, done: tf.Tensor, following: tf.Tensor, discount: float
) -> tf.Tensor:
    """G_t = r_t + discount * G_{t+1} within a session, float [T, B].

    Args:
      reward: float [T, B].
      done: bool [T, B]; nothing follows a session's last step.
      following: float [B], V of the state after the rollout, for sessions that continue.
      discount: gamma.
    """
    discounts = discount * tf.cast(tf.logical_not(done), tf.float32)  # [T, B]

    def before(later: tf.Tensor, now: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return now[0] + now[1] * later

    return tf.scan(before, (reward, discounts), following, reverse=True)


def standardised(x: tf.Tensor) -> tf.Tensor:
    """Values with mean 0 and standard deviation 1, float [R]."""
    centred = x - tf.reduce_mean(x)
    return centred / (tf.math.reduce_std(x) + 1e-6)


class OnPolicy(base.Baseline):
    """Learns from its last rollout; arguments as in `base.Baseline`.

    A subclass builds `critic`, calls `set_parts` and `keep_stretches`.
    """

    config: OnPolicyConfig
    extras = ("entropy",)
    critic: networks.Perceptron

    def keep_stretches(self, simulator: contract.Simulator, seed: int) -> None:
        """Makes room for a rollout, of any length, in variables."""
        observed = [simulator.observation_size]
        wide = [self.slate_size or simulator.action_size]
        shapes: dict[str, tuple[list[int], tf.DType]] = {
            "observation": (observed, tf.float32),
            "next_observation": (observed, tf.float32),
            "action": (wide, tf.int32 if self.slate_size else tf.float32),
            "info": ([self.info_size], tf.float32),
            "reward": ([], tf.float32),
            "done": ([], tf.bool),
        }
        if self.slate_size and self.catalogue is None:
            shapes["candidates"] = (
                list(items.sampled(simulator, 1, seed).shape[1:]),
                tf.float32,
            )
        self.rollout = {
            name: tf.Variable(
                tf.zeros([0, 0, *shape], dtype),
                trainable=False,
                name=name,
                shape=[None, None, *shape],
            )
            for name, (shape, dtype) in shapes.items()
        }

    @abc.abstractmethod
    def log_prob(self, piece: Piece) -> tuple[tf.Tensor, tf.Tensor]:
        """Log probability of the actions, and the policy's entropy, each float [R]."""

    def encoded(self, observation: tf.Tensor) -> tf.Tensor:
        """Input of policy and critic, float [R, S], with a gradient."""
        return self.adapter.encode(observation)

    def advantage(self, piece: Piece) -> tf.Tensor:
        """What log probabilities are weighed with, float [R]."""
        return standardised(piece.returns - piece.value)

    def value(self, observation: tf.Tensor) -> tf.Tensor:
        """V(s), float [R]."""
        return self.critic(self.encoded(observation))[:, 0]

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        for name, variable in self.rollout.items():
            variable.assign(getattr(rollout, name))

    def planned(self, updates: tf.Tensor) -> tf.Tensor:
        sessions = tf.shape(self.rollout["reward"])[1]
        return tf.where(updates > 0, tf.minimum(self.config.pieces, sessions), 0)

    def sample(self, number: tf.Tensor) -> Piece:
        """Every `pieces`-th session of the rollout, from this one on."""
        config = self.config
        some = {n: x.read_value()[:, number :: config.pieces] for n, x in self.rollout.items()}
        following = self.value(some["next_observation"][-1])
        returns = discounted(
            config.reward_scale * some["reward"], some["done"], following, config.discount
        )
        observation = base.flat(some["observation"])
        candidates = some.get("candidates")
        return Piece(
            observation,
            self.catalogue if candidates is None else base.flat(candidates),
            base.flat(some["action"]),
            base.flat(some["info"]),
            base.flat(returns),
            self.value(observation),
        )

    def gradients(
        self, piece: Piece
    ) -> tuple[dict[str, base.LossGradients], dict[str, tf.Tensor]]:
        parts = self._parts()
        advantage = tf.stop_gradient(self.advantage(piece))
        with tf.GradientTape(persistent=True) as tape:
            log_prob, entropy = self.log_prob(piece)
            bonus = self.config.entropy * tf.reduce_mean(entropy)
            policy_loss = -tf.reduce_mean(log_prob * advantage) - bonus
            wrong = tf.math.squared_difference(self.value(piece.observation), piece.returns)
            losses = self.combined(policy_loss, tf.reduce_mean(wrong))
        gradients = {
            part: base.loss_gradients(tape, loss, parts[part]) for part, loss in losses.items()
        }
        return gradients, {"entropy": tf.reduce_mean(entropy)}

    def combined(self, policy_loss: tf.Tensor, value_loss: tf.Tensor) -> dict[str, tf.Tensor]:
        """The loss of each part."""
        return {"policy": policy_loss, "value": value_loss}
