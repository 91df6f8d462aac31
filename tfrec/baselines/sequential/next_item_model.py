"""What sequential models share: the item table, the losses, and scores of the catalogue.

A model turns each token (event) of a history into a hidden vector. The score of an item is the
product of that vector and the item's embedding, which is also what the model reads.

A user's other training items are no negatives unless `own_negatives` says so: lists leave out
what the user has, so that it need not be ranked below what follows.
"""

from __future__ import annotations

import abc

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.baselines.sequential import batches
from tfrec.baselines.sequential.config import NextItemConfig
from tfrec.data import sequences
from tfrec.nn import item_embedding
from tfrec.ops import next_item

# Beyond this many items, the catalogue's scores of a batch cost more than the rest of it.
_FULL_SOFTMAX_ITEMS = 60_000


def loss_of(config: NextItemConfig, num_items: int) -> str:
    """The loss that trains on a catalogue of this size."""
    if config.loss != "auto":
        return config.loss
    return "softmax" if num_items <= _FULL_SOFTMAX_ITEMS else "sampled_softmax"


def normal(shape: list[int], seed: int, number: int, name: str) -> tf.Variable:
    """A variable that is drawn from a normal distribution of standard deviation 0.02.

    Args:
      shape: of the variable.
      seed: of the model.
      number: tells its variables apart.
      name: of the variable.
    """
    drawn = tf.random.stateless_normal(shape, types.seed_pair(seed, number), stddev=0.02)
    return tf.Variable(drawn, name=name)


def user_item_offsets(user_items: tf.Tensor, rows: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Offsets that exclude each user's training items from its negatives. Graph code.

    Args:
      user_items: int32 [M, 2], pairs (row, id).
      rows: B, int32 scalar.
      ids: int32 [K], ascending, with possible repetitions.

    Returns:
      float [B, K]: `next_item.EXCLUDED` if the row has the item, else 0.
    """
    # The positions of an id are first to end - 1: the running sum of +1 and -1 marks them.
    first = tf.searchsorted(ids, user_items[:, 1])
    end = tf.searchsorted(ids, user_items[:, 1], side="right")
    at = tf.stack([tf.tile(user_items[:, 0], [2]), tf.concat([first, end], axis=0)], axis=1)
    steps = tf.repeat(tf.constant([1, -1]), tf.size(first))
    has = tf.cumsum(tf.scatter_nd(at, steps, [rows, tf.size(ids) + 1]), axis=1)[:, :-1]
    return tf.where(has > 0, next_item.EXCLUDED, 0.0)


def is_user_item(user_items: tf.Tensor, row: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Whether rows have items, bool [M]. Graph code.

    Args:
      user_items: int32 [., 2], pairs (row, id), at least one.
      row: int32 [M].
      ids: int32 [M].
    """

    def keys(row: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        return tf.cast(row, tf.int64) * 2**32 + tf.cast(item, tf.int64)

    existing, queries = tf.sort(keys(user_items[:, 0], user_items[:, 1])), keys(row, ids)
    position = tf.minimum(tf.searchsorted(existing, queries), tf.size(existing) - 1)
    return tf.gather(existing, position) == queries


class CatalogueModel(tf.Module, abc.ABC):
    """A network that gives users vectors in the space of its item table.

    Args:
      config: sizes and loss.
      num_items: N.
      seed: of the item table.
      name: of the module.
    """

    config: NextItemConfig

    def __init__(self, config: NextItemConfig, num_items: int, seed: int, name: str):
        super().__init__(name=name)
        self.config, self.num_items = config, num_items
        # Dense id i stands at row i - 1.
        self.items = normal([num_items, config.width], seed, 0, "items")
        self.item_features = self._feature_embedding(None)

    def read_features(self, sizes: types.FeatureSpec) -> None:
        """Adds embeddings of the items' features to those of their ids.

        Args:
          sizes: of the features, which `item_embedding.set_features` gives to the model.
        """
        self.item_features = self._feature_embedding(sizes)

    def begin_epoch(self, number: int) -> None:
        """Called before each epoch of training, with the number of the finished ones."""

    @property
    def item_rows(self) -> list[tf.Variable]:
        """The variables with a row for each item and none for padding."""
        return [self.items]

    def catalogue(self) -> tf.Tensor:
        """Embeddings of all items, float [N, D], item i at row i - 1. Graph code."""
        if self.item_features.features is None:
            return self.items
        return self.item_features.embedded(tf.range(1, self.num_items + 1), self.items)

    def embedded(self, item: tf.Tensor) -> tf.Tensor:
        """Embeddings of items: int32 [...] -> float [..., D]. Graph code."""
        return tf.gather(self.catalogue(), item - 1)

    def _feature_embedding(
        self, sizes: types.FeatureSpec | None
    ) -> item_embedding.FeatureEmbedding:
        rows, width = self.num_items + 1, self.config.width
        return item_embedding.FeatureEmbedding(sizes, rows, width, "item_features")

    @abc.abstractmethod
    def users(self, inputs: batches.Inputs) -> tf.Tensor:
        """What each row says about the next item, float [B, D]. Graph code."""

    @abc.abstractmethod
    def loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        """Mean loss of a batch. Graph code.

        Args:
          batch: the rows.
          seed: int32 [2] of dropout and negatives.
        """

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the catalogue as the next item of each history, float32 [V, N].

        Args:
          history: V rows; the scores of a row without events are 0.
        """
        scores = np.zeros([len(history), self.num_items], np.float32)
        rows = np.flatnonzero(history.lengths > 0)
        if len(rows):
            inputs, order = batches.scoring_inputs(history.select(rows), self.config.length)
            scores[rows[order]] = self._compiled_scores(inputs).numpy()
        return scores

    @tf.function(input_signature=[batches.INPUTS_SPEC], autograph=False)
    def _compiled_scores(self, inputs: batches.Inputs) -> tf.Tensor:
        return self.scores_of(inputs)

    def scores_of(self, inputs: batches.Inputs) -> tf.Tensor:
        """Scores of the catalogue as the next item of each row, float [B, N]. Graph code."""
        return tf.matmul(self.users(inputs), self.catalogue(), transpose_b=True)

    def prediction_loss(
        self,
        hidden: tf.Tensor,
        target: tf.Tensor,
        row: tf.Tensor,
        batch: batches.Batch,
        seed: tf.Tensor,
    ) -> tf.Tensor:
        """Mean loss of predictions, of the kind that the configuration names.

        Args:
          hidden: float [M, D], a vector for each prediction.
          target: int32 [M], the item that follows.
          row: int32 [M], the prediction's row of the batch.
          batch: the rows.
          seed: int32 [2] of negatives.
        """
        config, kind = self.config, loss_of(self.config, self.num_items)
        items = self.catalogue()
        positive = tf.reduce_sum(hidden * tf.gather(items, target - 1), axis=1)
        if kind == "softmax" and config.own_negatives:
            return next_item.softmax(hidden, items, positive, row, None, True)
        rows = tf.size(batch.inputs.last)
        if kind == "softmax":
            catalogue = tf.range(self.num_items)
            offset = user_item_offsets(batch.user_items, rows, catalogue)  # [B, N]
            return next_item.softmax(hidden, items, positive, row, offset, False)
        if kind == "bce":
            ids = self._drawn(tf.shape(target), seed)  # [M]
            negative = tf.reduce_sum(hidden * tf.gather(items, ids), axis=1)
            excluded = is_user_item(batch.user_items, row, ids)
            negative += tf.where(excluded, next_item.EXCLUDED, 0.0)
            return next_item.binary_cross_entropy(positive, negative)
        ids = tf.sort(self._drawn([config.negatives], seed))  # [K]
        candidates = tf.gather(items, ids)
        offset = user_item_offsets(batch.user_items, rows, ids)
        if kind == "sampled_softmax":
            return next_item.softmax(hidden, candidates, positive, row, offset, False)
        negative = tf.matmul(hidden, candidates, transpose_b=True)  # [M, K]
        negative += tf.gather(offset, row)
        beta = next_item.calibration(config.negatives, self.num_items, config.trust)
        return next_item.generalised_binary_cross_entropy(positive, negative, beta)

    def _drawn(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """Uniform rows of the catalogue."""
        return tf.random.stateless_uniform(shape, seed, 0, self.num_items, tf.int32)


class NextItemModel(CatalogueModel):
    """A network that predicts what follows each token of a row."""

    @abc.abstractmethod
    def contextual(
        self, x: tf.Tensor, inputs: batches.Inputs, seed: tf.Tensor | None
    ) -> tf.Tensor:
        """Vectors that predict the item after each token, float [T, D]. Graph code.

        Args:
          x: float [T, D], the embedding of each token's item.
          inputs: the rows.
          seed: int32 [2] of dropout; None while predicting. The model adds less than
            `batches.DRAWS` to its second number.
        """

    def hidden(self, inputs: batches.Inputs, seed: tf.Tensor | None) -> tf.Tensor:
        """`contextual` of the items' embeddings, float [T, D]. Graph code."""
        return self.contextual(self.embedded(inputs.item), inputs, seed)

    def users(self, inputs: batches.Inputs) -> tf.Tensor:
        return tf.gather(self.hidden(inputs, None), inputs.last)  # [B, D]

    def loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        hidden = self.hidden(batch.inputs, seed)  # [T, D]
        draws = seed + [0, batches.DRAWS]
        return self.prediction_loss(hidden, batch.target, batch.row, batch, draws)
