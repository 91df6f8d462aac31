"""Public simulators with observations for networks, where these differ from the port's.

All methods have the same observations, which hold only what a recommender could have recorded.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.environments import contract
from tfrec.environments.ports import recsim, virtualtb

# Factors of VirtualTB's columns: feedback reaches 10, pages 100.
TAOBAO_SCALE = np.array([1.0] * virtualtb.USER_SIZE + [0.1, 0.1, 0.1], np.float32)
_COUNT_SCALE = 0.1


class ScaledTaobao(virtualtb.VirtualTaobao):
    """VirtualTB with feedback and page divided by 10 in the observation."""

    def observation(self, state: virtualtb.State) -> tf.Tensor:
        return super().observation(state) * TAOBAO_SCALE

    def expected_reward(self, observation: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
        return super().expected_reward(observation / TAOBAO_SCALE, shown)


class RememberedState(NamedTuple):
    """The fields of `recsim.InterestEvolutionState`, and counts of the session.

    Attributes:
      interests: float32 [B, 20].
      budget: float32 [B]; hidden.
      cluster: int32 [B, m].
      watched: float32 [B, 20], watched documents of each cluster.
      ignored: float32 [B], slates without a click.
    """

    interests: tf.Tensor
    budget: tf.Tensor
    cluster: tf.Tensor
    watched: tf.Tensor
    ignored: tf.Tensor


class RememberedEvolution(recsim.InterestEvolution):
    """Interest evolution with counts of watched documents in the observation.

    A session ends when a hidden budget is used up by watched documents. A policy that observes
    the interests alone can learn the cost of a document only from the ends of sessions, one
    step in eighty.
    """

    def __init__(
        self,
        config: recsim.InterestEvolutionConfig = recsim.InterestEvolutionConfig(),  # noqa: B008  frozen
    ):
        super().__init__(config)
        self.observation_size = 2 * recsim.CLUSTERS + 1
        # Interest and watched documents of each cluster; ignored slates are of no cluster.
        self.feature_columns = np.arange(2 * recsim.CLUSTERS).reshape(2, recsim.CLUSTERS)

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> RememberedState:  # type: ignore[override]
        watched = tf.zeros([batch, recsim.CLUSTERS])
        return RememberedState(*super().reset(batch, seed), watched, tf.zeros([batch]))

    def observation(self, state: RememberedState) -> tf.Tensor:  # type: ignore[override]
        """Interests, then watched documents of each cluster / 10 and ignored slates / 10."""
        counts = tf.concat([state.watched, state.ignored[:, None]], axis=1)
        return tf.concat([state.interests, _COUNT_SCALE * counts], axis=1)  # [B, 41]

    def structure(self) -> contract.Structure:
        """As the port's; interest and watched documents of a cluster are one factor.

        With remembered counts the graph is a heuristic, although `true` names it as well: the
        session ends when the hidden time budget is used up, which depends on the counts of all
        clusters, so an exchange of counts also changes the remaining time. Whether a slate was
        ignored depends on all of its documents.
        """
        clusters = recsim.CLUSTERS
        parts = [(c, clusters + c) for c in range(clusters)]
        return self._structure([*parts, (2 * clusters,)], also=(clusters,))

    def transition(  # type: ignore[override]
        self,
        state: RememberedState,
        action: tf.Tensor,
        choice: tf.Tensor,
        flip: tf.Tensor,
        noise: tf.Tensor,
    ) -> contract.Outcome:
        """The port's transition, which also updates the counts."""
        outcome = super().transition(state, action, choice, flip, noise)  # type: ignore[arg-type]
        cluster = tf.gather(state.cluster, action, batch_dims=1)  # [B, k]
        clicked = tf.one_hot(choice, self.slate_size)[..., None]  # [B, k, 1], 0 for none
        topic = tf.reduce_sum(tf.one_hot(cluster, recsim.CLUSTERS) * clicked, axis=1)
        after = outcome.state._replace(
            watched=state.watched + topic, ignored=state.ignored + 1.0 - outcome.clicks
        )
        return outcome._replace(state=after)
