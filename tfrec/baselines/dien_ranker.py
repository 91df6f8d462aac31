"""DIEN as a click ranker (Zhou et al., AAAI 2019), with its auxiliary loss.

    L = L_click + alpha L_aux                                                    (eq 7)

There are two forms. `candidate` is that of the paper: the query of the attention over a user's
interests is the candidate, so that each pair of a user and a candidate has a separate AUGRU,
which suits a few given candidates. In `latest` the query is the interest after the latest
event. The state is then the same for all candidates, their scores are one matrix product, and
sessions of thousands of users with thousands of candidates can be played.

In both forms the click's logit is an inner product of a projection of the state with a vector
of the item; the paper uses dense layers of both.
"""

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines.click_ranker import (
    ClickNetwork,
    ClickRanker,
    Halves,
    log_loss,
)
from tfrec.baselines.config import DienConfig
from tfrec.environments import user_models
from tfrec.nn.dien import History

_PAIRS = 4096  # states times candidates that are encoded at once


class DienNetwork(ClickNetwork):
    """The state tower and the head, in either form.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
    """

    def __init__(self, config: DienConfig, spec: types.DataSpec, item_vectors: np.ndarray):
        super().__init__(name="network")
        self.spec, self.auxiliary_weight = spec, config.auxiliary_weight
        self.towers = Halves(
            spec,
            item_vectors,
            embedding=config.embedding,
            units=config.units,
            state=config.state,
            hidden=config.hidden,
            crossed=config.crossed,
            noise=config.embedding_noise,
            name="towers",
        )
        self.query = None
        if config.query == "candidate":
            self.query = tf_keras.layers.Dense(config.units, name="query")
            self.query.build([None, config.embedding])

    def _encode(self, observation: types.Observation, item: tf.Tensor) -> History:
        if self.query is None:
            return self.towers.encode(observation)
        embedding = self.towers.items(item)  # [B, D]
        return self.towers.encode(observation, self.query(embedding))

    def logit(self, observation: types.Observation, item: tf.Tensor) -> tf.Tensor:
        return self.towers.logit(self._encode(observation, item).state, item)

    def all_logits(self, observation: types.Observation) -> tf.Tensor:
        if self.query is None:
            return self.towers.all_logits(self.towers.encode(observation).state)
        # A block of states times one candidate at a time would leave small batches idle:
        # each pass encodes as many candidates as keep it near `_PAIRS` pairs.
        states = tf.shape(observation.step)[0]
        candidates = self.spec.num_candidates
        block = tf.clip_by_value(_PAIRS // tf.maximum(states, 1), 1, candidates)
        passes = (candidates + block - 1) // block

        def score(index: tf.Tensor) -> tf.Tensor:
            item = tf.minimum(index * block + tf.range(block) + 1, candidates)  # [C]
            repeated = tf.nest.map_structure(lambda x: tf.repeat(x, block, axis=0), observation)
            logit = self.logit(repeated, tf.tile(item, [states]))  # [B * C]
            return tf.reshape(logit, [states, block])

        scores = tf.map_fn(
            score,
            tf.range(passes),
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([None, None], tf.float32),
        )  # [passes, B, C]
        flat = tf.reshape(tf.transpose(scores, [1, 0, 2]), [states, passes * block])
        return tf.ensure_shape(flat[:, :candidates], [None, candidates])

    def loss(
        self,
        observation: types.Observation,
        item: tf.Tensor,
        clicked: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        history = self._encode(observation, item)
        logit = self.towers.logit(history.state, item)
        auxiliary = self.towers.tower.auxiliary_loss(observation, history, seed)
        return {
            "click_loss": log_loss(logit, clicked),
            "weighted_auxiliary_loss": self.auxiliary_weight * auxiliary,
        }


class DienLearner(ClickRanker):
    """DIEN on the common schedule; arguments as those of a ClickRanker."""

    config: DienConfig

    def __init__(
        self,
        config: DienConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(config, spec, log, world, item_vectors, seed, name="dien")

    def build_network(self, item_vectors: np.ndarray) -> DienNetwork:
        return DienNetwork(self.config, self.spec, item_vectors)
