"""REINFORCE with a learned baseline.

Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement
learning", Machine Learning 1992; with V(s) as the baseline (Sutton and Barto, 13.4).

    loss = -E[(G_t - V(s_t)) log pi(a_t|s_t)]

Filled in by us: advantages are standardised; a rollout that cuts a session goes on with V;
continuous actions are a tanh of a Gaussian; of items, pi is a softmax over the candidates,
and a slate is drawn from it without replacement (Plackett-Luce), its log probability that of
its items in their order. Tests play the mean, or the k most likely items.
"""

import tensorflow as tf

from tfrec.baselines.online import base, items, on_policy
from tfrec.baselines.online.config import ReinforceConfig
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.methods.online import PolicyStep
from tfrec.nn import networks
from tfrec.ops import selection

# A policy gradient with a vanishing spread has no bound.
_LOG_STDS = (-3.0, 1.0)
_LOG_2PI_E = 2.8378770664093453


class Reinforce(on_policy.OnPolicy):
    """REINFORCE; arguments as in `base.Baseline`."""

    config: ReinforceConfig

    def __init__(self, config: ReinforceConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        # Of a continuous action, the note is what it was before the tanh.
        self.info_size = 0 if self.slate_size else simulator.action_size
        self.build(simulator, seed)
        self.keep_stretches(simulator, seed)

    def build(self, simulator: contract.Simulator, seed: int) -> None:
        """Makes the networks and names the parts."""
        hidden = self.config.hidden
        self.policy = self.head(simulator, self.observation_size, hidden)
        self.critic = networks.Perceptron(
            self.observation_size, hidden, 1, self.weight_seeds(), "critic"
        )
        self.set_parts(
            policy=self.policy.trainable_variables, value=self.critic.trainable_variables
        )

    def head(
        self, simulator: contract.Simulator, inputs: int, hidden: tuple[int, ...]
    ) -> tf.Module:
        """The policy: scores of items, or a Gaussian."""
        seeds, size = self.weight_seeds(), simulator.action_size
        if self.slate_size:
            return items.Scores(inputs, size, hidden, self.config.width, seeds, "policy")
        return networks.Gaussian(inputs, hidden, size, seeds, "policy", _LOG_STDS)

    def scores(
        self, observation: tf.Tensor, features: tf.Tensor, blocked: tf.Tensor | None
    ) -> tf.Tensor:
        """Logits of the candidates, float [B, m], very low where blocked.

        Args:
          observation: float [B, O].
          features: float [B, m, D] or [m, D].
          blocked: bool [B, m], candidates that may not be shown; None if all may.
        """
        return selection.available(self.policy(self.encoded(observation), features), blocked)

    def explore(self, timestep: Timestep) -> PolicyStep:
        if self.slate_size:
            features = items.offered(timestep, self.catalogue)
            scores = self.scores(timestep.observation, features, timestep.blocked)
            slate = items.drawn(scores, self.slate_size, timestep.seed)
            return PolicyStep(slate, base.no_note(tf.shape(slate)[0]))
        mean, log_std = self.policy(self.encoded(timestep.observation))
        noise = tf.random.stateless_normal(tf.shape(mean), timestep.seed)
        raw = mean + tf.exp(log_std) * noise
        return PolicyStep(tf.tanh(raw), raw)

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        if self.slate_size:
            features = items.offered(timestep, self.catalogue)
            scores = self.scores(timestep.observation, features, timestep.blocked)
            return selection.best_slate(scores, self.slate_size)
        return tf.tanh(self.policy(self.encoded(timestep.observation))[0])

    def log_prob(self, piece: on_policy.Piece) -> tuple[tf.Tensor, tf.Tensor]:
        if self.slate_size:
            blocked = self.adapter.blocked(piece.observation)
            scores = self.scores(piece.observation, piece.features, blocked)
            return items.slate_log_prob(scores, piece.action), items.entropy(scores)
        # The tanh's slope does not depend on the weights, and its entropy is left out.
        mean, log_std = self.policy(self.encoded(piece.observation))
        entropy = tf.reduce_sum(log_std + 0.5 * _LOG_2PI_E, axis=1)
        return networks.gaussian_log_prob(mean, log_std, piece.info), entropy
