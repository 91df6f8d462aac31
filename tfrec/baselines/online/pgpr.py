"""PGPR online: its actor-critic, without the knowledge graph that it walks.

Xian et al., "Reinforcement Knowledge Graph Reasoning for Explainable Recommendation", SIGIR
2019. There an action is an edge of a knowledge graph and a recommendation is the end of a
path. Without side information, which IMRL's authors removed so that all methods have the same
state, there are no graph, embeddings, paths or soft rewards. The learner remains: one network
with an actor's and a critic's head, REINFORCE with the critic as a baseline, an entropy bonus
of .001, and action dropout: exploration drops each candidate from the softmax with this
probability (here at least k candidates remain). Continuous actions cannot be dropped, and
`action_dropout` must be 0. Our choice: ReLU layers without dropout of units, see also
`reinforce`.
"""

import tensorflow as tf

from tfrec.baselines.online import items, on_policy, reinforce
from tfrec.baselines.online.config import PgprConfig
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.methods.online import PolicyStep
from tfrec.nn import networks
from tfrec.ops import selection

_LEFT_OUT = -1e9


class Pgpr(reinforce.Reinforce):
    """PGPR; arguments as in `base.Baseline`.

    Raises:
      ValueError: if actions are to be left out and the action is continuous.
    """

    config: PgprConfig

    def build(self, simulator: contract.Simulator, seed: int) -> None:
        config, seeds = self.config, self.weight_seeds()
        if config.action_dropout and not self.slate_size:
            raise ValueError(
                f"action_dropout is {config.action_dropout}; expected 0, as the continuous "
                f"actions of {type(simulator).__name__} have no candidates to leave out"
            )
        *hidden, width = config.hidden
        self.trunk = networks.Perceptron(self.observation_size, hidden, width, seeds, "trunk")
        self.policy = self.head(simulator, width, ())
        self.critic = networks.Perceptron(width, (), 1, seeds, "critic")
        if self.slate_size:  # `info` is the mask of remaining candidates
            self.info_size = items.sampled(simulator, 1, seed).shape[1]
        networks_of_it = (self.trunk, self.policy, self.critic)
        self.set_parts(actor_critic=[v for n in networks_of_it for v in n.trainable_variables])

    def encoded(self, observation: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(self.trunk(super().encoded(observation)))

    def explore(self, timestep: Timestep) -> PolicyStep:
        if not self.slate_size:
            return super().explore(timestep)
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        features = items.offered(timestep, self.catalogue)
        scores = self.scores(timestep.observation, features, timestep.blocked)
        mask = self.dropout_mask(tf.shape(scores), seeds[0], timestep.blocked)
        slate = items.drawn(tf.where(mask, scores, _LEFT_OUT), self.slate_size, seeds[1])
        return PolicyStep(slate, tf.cast(mask, tf.float32))

    def dropout_mask(
        self, shape: tf.Tensor, seed: tf.Tensor, blocked: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Mask of the candidates that action dropout retains, at least k per row, bool [B, m].

        Blocked candidates, bool [B, m], are never retained.
        """
        chance = selection.available(tf.random.stateless_uniform(shape, seed), blocked)
        luckiest = tf.math.top_k(chance, self.slate_size).values[:, -1:]  # [B, 1]
        return chance >= tf.minimum(self.config.action_dropout, luckiest)

    def log_prob(self, piece: on_policy.Piece) -> tuple[tf.Tensor, tf.Tensor]:
        if not self.slate_size:
            return super().log_prob(piece)
        scores = self.scores(piece.observation, piece.features, None)  # the note has all
        scores = tf.where(piece.info > 0, scores, _LEFT_OUT)
        return items.slate_log_prob(scores, piece.action), items.entropy(scores)

    def combined(self, policy_loss: tf.Tensor, value_loss: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"actor_critic": policy_loss + self.config.value_weight * value_loss}
