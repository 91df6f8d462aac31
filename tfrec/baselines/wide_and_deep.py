"""Wide&Deep (Cheng et al., DLRS 2016): a click ranker with crosses and a deep network.

    p(click | s, a) = sigmoid(wide(s, a) + deep(s, a))                          (eq 3)
    wide(s, a) = w_a + the sum over recent events e of w_{hash(e, a)}
    deep(s, a) = <query(s), vector(a)>, from pooled embeddings through dense layers

The wide half is learned by FTRL with L1, which leaves most crosses at zero; the deep half
by Adam (AdaGrad in the paper), on one logistic loss.

Two differences from the paper make it possible to score all candidates of thousands of users at
every step of play. The deep half has separate layers for the state and the candidate and an
inner product of both, so that all scores are one matrix product. And a cross is hashed so that
the buckets of one event with all candidates lie side by side (see `Crosses`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
from tfrec.baselines.config import CACHE_LINE, WideAndDeepConfig
from tfrec.environments import user_models
from tfrec.nn import feedback as feedback_lib
from tfrec.nn import networks, state_features
from tfrec.nn.crossed import CrossedFeatures
from tfrec.nn.item_embedding import ItemEmbedding


class Crosses(tf.Module):
    """Hashed crosses of recent events with the candidate, and the candidate alone.

    An event is an item and whether it was clicked. Its hash names a line of the table, and
    the cross with item a is the bucket a places after the start of that line, around the
    table's end: buckets are shared between events as in any hashed cross, but an event's
    crosses with all candidates are one slice, and nothing is hashed A times.

    Args:
      spec: the log's spec.
      buckets: size of the table.
      events: latest events that are crossed.
    """

    def __init__(self, spec: types.DataSpec, buckets: int, events: int):
        super().__init__(name="crosses")
        self.spec = spec
        self.events = min(events, spec.history_length)
        self.lines = buckets // CACHE_LINE
        self.weight = tf.Variable(tf.zeros([buckets]), name="weight")
        self.item_weight = tf.Variable(tf.zeros([spec.num_items + 1]), name="item_weight")

    @property
    def item_tables(self) -> list[tf.Variable]:
        """The variables with a row for each item."""
        return [self.item_weight]

    @property
    def hashed_id_tables(self) -> list[tf.Variable]:
        """The variables whose rows are hashes of dense ids."""
        return [self.weight]

    def line(self, item: tf.Tensor, clicked: tf.Tensor) -> tf.Tensor:
        """The line of each event, int32 of item's shape.

        Args:
          item: int32.
          clicked: bool.
        """
        key = 2 * tf.cast(item, tf.int64) + tf.cast(clicked, tf.int64)
        # Multiply-shift: an odd constant spreads the keys, the upper bits choose the line.
        mixed = tf.bitwise.right_shift(key * 0x9E3779B97F4A7C1 & 0x7FFFFFFFFFFFFFFF, 24)
        return tf.cast(tf.math.floormod(mixed, self.lines), tf.int32)

    def _recent(self, observation: types.Observation) -> tuple[tf.Tensor, tf.Tensor]:
        """Lines of the latest events and their weights, 0 where padded; [B, E] each."""
        first = self.spec.history_length - self.events
        item = observation.history_item[:, first:]
        clicked = observation.history_feedback[:, first:, 0] > 0.0
        return self.line(item, clicked), tf.cast(item != types.PAD, tf.float32)

    def buckets(self, observation: types.Observation, item: tf.Tensor) -> tf.Tensor:
        """The bucket of each recent event with one item, int32 [B, E]; item is int32 [B]."""
        line, _ = self._recent(observation)
        return tf.math.floormod(line * CACHE_LINE + item[:, None], self.lines * CACHE_LINE)

    def __call__(self, observation: types.Observation, item: tf.Tensor) -> tf.Tensor:
        """The wide logit of one item for each state, float [B]; item is int32 [B]."""
        _, is_event = self._recent(observation)
        crossed = tf.gather(self.weight, self.buckets(observation, item))  # [B, E]
        return tf.reduce_sum(crossed * is_event, axis=1) + tf.gather(self.item_weight, item)

    def all(self, observation: types.Observation) -> tf.Tensor:
        """The wide logits of all candidates, float [B, A]; no tensor is larger than that."""
        candidates = self.spec.num_candidates
        table = tf.reshape(self.weight, [self.lines, CACHE_LINE])
        width = candidates // CACHE_LINE + 1  # lines that hold items 0..A
        line, is_event = self._recent(observation)
        total = tf.zeros([tf.shape(line)[0], width * CACHE_LINE]) + tf.pad(
            self.item_weight[: candidates + 1], [[0, width * CACHE_LINE - candidates - 1]]
        )

        def add(event: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            here = tf.math.floormod(line[:, event, None] + tf.range(width), self.lines)
            slices = tf.reshape(tf.gather(table, here), [-1, width * CACHE_LINE])  # [B, W]
            return event + 1, total + slices * is_event[:, event, None]

        _, total = tf.while_loop(
            lambda event, _: event < self.events,
            add,
            (0, total),
            parallel_iterations=1,
            maximum_iterations=self.events,
        )
        return total[:, 1 : candidates + 1]


class Encoded(NamedTuple):
    """Pooled states.

    Attributes:
      state: float [B, S].
    """

    state: tf.Tensor


class PooledTower(tf.Module):
    """The deep half's view of a state: means of embeddings, then a dense layer.

    Args:
      spec: the log's spec.
      items: e(i).
      units: width of the first layer; that of a DienTower's recurrences.
      output: S, width of the state vector.
      crossed: buckets of hashed feature crosses in the state; 0 leaves them out.
    """

    def __init__(
        self,
        spec: types.DataSpec,
        items: ItemEmbedding,
        units: int,
        output: int,
        crossed: int = 0,
    ):
        super().__init__(name="pooled")
        self.spec = spec
        self.items, self.item_embedding = items, items.ids
        embedding, columns = items.width, len(spec.feedback)
        self.crossed = CrossedFeatures(spec, crossed, embedding) if crossed else None
        self.features = state_features.of_spec(spec, embedding)
        bag = self.crossed.width if self.crossed else 0
        bag += self.features.width if self.features else 0
        dense = tf_keras.layers.Dense
        self.layers = networks.stack(
            4 * embedding + 2 * columns + 2 + bag,
            [
                dense(4 * units, activation=tf.nn.leaky_relu),
                dense(output, activation=tf.nn.leaky_relu),
            ],
        )

    def __call__(self, observation: types.Observation) -> Encoded:
        """Encodes B observations."""
        item, length = observation.history_item, self.spec.history_length
        is_event = tf.cast(item != types.PAD, tf.float32)  # [B, H]
        embedding = self.items(item)  # [B, H, D]
        raw = observation.history_feedback
        feedback = feedback_lib.compressed(raw, self.spec)  # [B, H, F]
        liked = is_event * tf.cast(raw[..., 0] > 0.0, tf.float32)  # [B, H]
        recent = is_event * tf.cast(
            tf.range(length) >= length - observation.step[:, None], tf.float32
        )
        last_is_event, last_is_liked = is_event[:, -1:], liked[:, -1:]  # [B, 1]
        step = tf.cast(observation.step, tf.float32)[:, None]
        pooled = [
            _mean(embedding, is_event),
            _mean(embedding, liked),
            embedding[:, -1] * last_is_event,
            embedding[:, -1] * last_is_liked,
            _mean(feedback, is_event),
            _mean(feedback, recent),
            step / self.spec.max_steps,
            tf.reduce_mean(is_event, axis=1, keepdims=True),
        ]
        if self.crossed:
            pooled.append(self.crossed(observation))
        if self.features:
            pooled.append(self.features(observation))
        return Encoded(networks.apply(self.layers, tf.concat(pooled, axis=-1)))


class WideAndDeepNetwork(ClickNetwork):
    """Both halves.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
    """

    def __init__(
        self, config: WideAndDeepConfig, spec: types.DataSpec, item_vectors: np.ndarray
    ):
        super().__init__(name="network")
        self.wide = Crosses(spec, config.buckets, config.wide_events)
        self.deep = Halves(
            spec,
            item_vectors,
            embedding=config.embedding,
            units=config.units,
            state=config.state,
            hidden=config.hidden,
            crossed=config.crossed,
            noise=config.embedding_noise,
            tower=PooledTower,
            name="deep",
        )

    def logit(self, observation: types.Observation, item: tf.Tensor) -> tf.Tensor:
        deep = self.deep.logit(self.deep.encode(observation).state, item)
        return self.wide(observation, item) + deep

    def all_logits(self, observation: types.Observation) -> tf.Tensor:
        deep = self.deep.all_logits(self.deep.encode(observation).state)  # [B, A]
        return self.wide.all(observation) + deep

    def loss(
        self,
        observation: types.Observation,
        item: tf.Tensor,
        clicked: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        del seed  # nothing is drawn
        return {"click_loss": log_loss(self.logit(observation, item), clicked)}


class WideAndDeepLearner(ClickRanker):
    """Wide&Deep on the common schedule; arguments as those of a ClickRanker."""

    fixed_items = "its wide half crosses the ids of items"

    config: WideAndDeepConfig
    network: WideAndDeepNetwork

    def __init__(
        self,
        config: WideAndDeepConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(config, spec, log, world, item_vectors, seed, name="wide_and_deep")
        # The loss is a mean over the batch. FTRL, used on its sum, does the same on the mean
        # with these two constants scaled.
        self.wide_optimizer = tf_keras.optimizers.legacy.Ftrl(
            config.wide_learning_rate,
            initial_accumulator_value=0.1 / config.batch**2,
            l1_regularization_strength=config.wide_l1 / config.batch,
        )
        # Its slots must exist before the first checkpoint.
        self.wide_optimizer.iterations  # noqa: B018  a variable made on first use
        self.wide_optimizer._create_all_weights(self._wide)

    def build_network(self, item_vectors: np.ndarray) -> WideAndDeepNetwork:
        return WideAndDeepNetwork(self.config, self.spec, item_vectors)

    @property
    def _wide(self) -> list[tf.Variable]:
        return [self.network.wide.weight, self.network.wide.item_weight]

    @property
    def optimizers(self) -> Sequence[Any]:
        return [self.optimizer, self.wide_optimizer]

    @property
    def learned_by_adam(self) -> list[tf.Variable]:
        return list(self.network.deep.trainable_variables)

    def apply(self, gradients: dict) -> None:
        super().apply(gradients)
        self.wide_optimizer.apply_gradients([(gradients[v.ref()], v) for v in self._wide])


def _mean(value: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Mean of [B, H, X] over the events with weight [B, H] 1, 0 if there is none: [B, X]."""
    total = tf.einsum("bhx,bh->bx", value, weight)
    return total / tf.maximum(tf.reduce_sum(weight, axis=1, keepdims=True), 1.0)
