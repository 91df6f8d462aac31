"""Common parts of the supervised rankers: a click logit for a state and an item, and its loss.

The rankers learn only the next click, neither later rewards nor exits. They recommend the
candidate with the highest click probability.
"""

import abc
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines.config import ClickRankerConfig
from tfrec.baselines.learning import BaselineLearner
from tfrec.baselines.network import StateItemNetwork
from tfrec.environments import user_models
from tfrec.ops import autodiff
from tfrec.replay.episodes import EpisodeReplay, Rows
from tfrec.training import finite


class Halves(StateItemNetwork):
    """A state half and an item half whose inner product is the logit, and a bias per item.

    An item's bias is a linear function of its vector. Without it, popularity must be learned by
    the product, which is slow while both of its factors are small.
    """

    def __init__(self, spec: types.DataSpec, item_vectors: np.ndarray, **widths: Any):
        super().__init__(spec, item_vectors, **widths)
        self.item_bias = tf_keras.layers.Dense(1, use_bias=False, name="item_bias")
        self.item_bias.build([None, self.items.width + 1])

    def logit(self, state: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """Of one item for each state, float [B]; state is that of `encode`, item int32 [B]."""
        vector = self.item_vectors(item)  # [B, D + 1 + C]
        query = self.queries(state)[:, 0]  # [B, D + 1 + C]
        return tf.reduce_sum(query * vector, axis=-1) + self._bias(vector)

    def all_logits(self, state: tf.Tensor) -> tf.Tensor:
        """Of all candidates, float [B, A]; state is that of `encode`."""
        vector = self.item_vectors()  # [A, D + 1 + C]
        product = tf.matmul(self.queries(state)[:, 0], vector, transpose_b=True)
        return product + self._bias(vector)

    def _bias(self, vector: tf.Tensor) -> tf.Tensor:
        """Biases of item vectors, float [n]."""
        return self.item_bias(vector[:, : self.items.width + 1])[:, 0]


class ClickNetwork(tf.Module, abc.ABC):
    """Scores items by the chance of a click."""

    @abc.abstractmethod
    def logit(self, observation: types.Observation, item: tf.Tensor) -> tf.Tensor:
        """Click logit of one item for each state, float [B]; item is int32 [B]."""

    @abc.abstractmethod
    def all_logits(self, observation: types.Observation) -> tf.Tensor:
        """Click logits of all candidates, float [B, A]; column i for item i + 1."""

    @abc.abstractmethod
    def loss(
        self,
        observation: types.Observation,
        item: tf.Tensor,
        clicked: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Losses by name, scalars; their sum is minimised, and the first is that of the clicks.

        Args:
          observation: B states.
          item: int32 [B], what was shown.
          clicked: float [B], 0 or 1.
          seed: int32 [2].
        """


class Batch(NamedTuple):
    """What an update learns from: B steps, and the seed of the loss, int32 [2]."""

    rows: Rows
    seed: tf.Tensor


class ClickRanker(BaselineLearner):
    """Learns a ClickNetwork from the steps of the replay.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      log: training sessions, numpy arrays.
      world: the simulated users, or None to learn from the log alone.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
      seed: of the weights and of all later draws.
      name: the module's name.
    """

    config: ClickRankerConfig

    def __init__(
        self,
        config: ClickRankerConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        item_vectors: np.ndarray,
        seed: int,
        name: str,
    ):
        super().__init__(config, spec, log, world, seed, name)
        self.network = self.build_network(item_vectors)
        names = (v.name.removesuffix(":0") for v in self.network.trainable_variables)
        self.checked = ("loss", *(f"gradient of {name}" for name in names))
        self.optimizer = tf_keras.optimizers.Adam(
            config.learning_rate, weight_decay=config.weight_decay or None, global_clipnorm=10.0
        )
        self.optimizer.build(self.learned_by_adam)
        self.replay = EpisodeReplay(spec, config.replay_sessions, 1)
        self.drawn = tf.Variable(0, dtype=tf.int64, trainable=False, name="drawn")
        self.order = tf.Variable(tf.zeros([2], tf.int64), trainable=False, name="order")
        self.average_weights()
        self.fill(log, config.replay_sessions)

    @abc.abstractmethod
    def build_network(self, item_vectors: np.ndarray) -> ClickNetwork:
        """The network, with all its variables."""

    @property
    def learned_by_adam(self) -> list[tf.Variable]:
        return list(self.network.trainable_variables)

    @property
    def run_state(self) -> list[Any]:
        return [*super().run_state, self.replay, self.drawn, self.order]

    @property
    def acting(self) -> tf.Module:
        """What `policy` reads."""
        return self.network

    def store(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        # Clicks that are reported together, late, are one click of the step they come with.
        clicked = tf.clip_by_value(reward, 0.0, 1.0)[..., None]  # [B, T, 1]
        self.replay.add(episodes, clicked, tf.zeros([tf.shape(reward)[0], 1]))

    def clear(self) -> None:
        self.replay.clear()

    def predict(self, observation: types.Observation, item: tf.Tensor) -> tf.Tensor:
        """Click logit of one item for each state, float [B]; item is int32 [B]."""
        return self.network.logit(observation, item)

    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """Click logits."""
        return self.network.all_logits(observation)

    def sample(self) -> Batch:
        seed = tf.cast(self.generator.make_seeds(1)[:, 0], tf.int32)  # [2]
        return Batch(self._next_rows(), seed)

    def _update_on(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        rows, variables = batch.rows, self.network.trainable_variables
        with tf.GradientTape() as tape:
            losses = self.network.loss(
                rows.observation, rows.item, rows.label[:, 0], batch.seed
            )
            loss = tf.add_n(list(losses.values()))
        gradients = tape.gradient(loss, variables)
        named = dict(zip(self.checked, [loss, *gradients], strict=True))
        of = dict(zip((v.ref() for v in variables), gradients, strict=True))
        return losses, finite.guarded(named, lambda: self.apply(of))

    def _next_rows(self) -> Rows:
        """The next batch of a shuffled pass over the replay, then of another.

        Not drawn with replacement: a click model with a vector for each item learns rows by
        heart from the second time that it sees them, and with replacement that begins while
        a third of the log is still unseen.
        """
        size, batch = self.replay.size, self.config.batch
        passed = self.drawn + batch > size
        self.drawn.assign(tf.where(passed, tf.zeros([], tf.int64), self.drawn))

        def shuffle():
            return tf.cast(self.generator.make_seeds(1)[:, 0], tf.int64)

        self.order.assign(tf.cond(self.drawn == 0, shuffle, self.order.read_value))
        place = self.drawn + tf.range(batch, dtype=tf.int64)
        self.drawn.assign_add(batch)
        number = tf.random.experimental.index_shuffle(
            tf.math.floormod(place, size), tf.cast(self.order, tf.uint32), size - 1
        )
        return self.replay.rows(number)

    def apply(self, gradients: dict) -> None:
        """Moves the weights; gradients are keyed by `variable.ref()`."""
        variables = self.learned_by_adam
        mine = [gradients[v.ref()] for v in variables]
        autodiff.apply_gradients(self.optimizer, mine, variables)


def log_loss(logit: tf.Tensor, clicked: tf.Tensor) -> tf.Tensor:
    """Mean logistic loss, scalar; both are float [B]."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=clicked, logits=logit))
