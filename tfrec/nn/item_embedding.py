"""Embeddings of items: of their ids, and of the values of their features.

    e(i) = keep_i id_i + sum_k value[v_ik] / sqrt(number of values) + W x_i

where v_ik are the numbers of the item's feature values and x_i its given vector, see
`tfrec.data.feature_encoding`. During training the id is dropped for a share of the items of
each update (keep_i = 0), so that features learn to stand alone, as they must for an item
that training never showed (DropoutNet, Volkovs et al., NeurIPS 2017). Without features e(i)
is the id's row.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.ops import autodiff

_SPREAD = 0.05  # standard deviation of the start of the values' embeddings
_MULTIPLIER = np.int64(-7046029254386353131)  # 2^64 / golden ratio: multiplicative hashing
_DROPPED_SEED = 61


class FeatureEmbedding(tf.Module):
    """sum_k value[v_ik] / sqrt(number of values) + W x_i of all items.

    Args:
      features: sizes of the features; None if no features are read.
      rows: N + 1.
      width: D.
      name: of the module.
    """

    def __init__(self, features: types.FeatureSpec | None, rows: int, width: int, name: str):
        super().__init__(name=name)
        self.features, self.width, self._rows = features, width, rows
        # A function, so that checkpoints leave the step out.
        self._keeps: Callable[[tf.Tensor], tf.Tensor] | None = None
        if features is None:
            return
        if features.slots:
            shape = [features.values + 1, width]
            self.value_embedding = tf.Variable(
                tf.random.normal(shape, stddev=_SPREAD), name="value_embedding"
            )
            self.values = tf.Variable(
                tf.zeros([rows, features.slots], tf.int32),
                trainable=False,
                name="feature_values",
            )
        if features.width:
            self.projection = tf.Variable(
                tf.random.normal([features.width, width], stddev=_SPREAD), name="projection"
            )
            self.vectors = tf.Variable(
                tf.zeros([rows, features.width]), trainable=False, name="feature_vectors"
            )

    @property
    def item_tables(self) -> list[tf.Variable]:
        """The variables with a row for each item."""
        tables = []
        if self.features is not None and self.features.slots:
            tables.append(self.values)
        if self.features is not None and self.features.width:
            tables.append(self.vectors)
        return tables

    @property
    def feature_value_tables(self) -> list[tf.Variable]:
        """The variables with a row for each feature value."""
        if self.features is None or not self.features.slots:
            return []
        return [self.value_embedding]

    @property
    def encoded(self) -> types.Features:
        """The features that were set; empty columns where there are none."""
        rows = self._rows
        values, vectors = np.zeros((rows, 0), np.int32), np.zeros((rows, 0), np.float32)
        if self.features is not None and self.features.slots:
            values = self.values.numpy()
        if self.features is not None and self.features.width:
            vectors = self.vectors.numpy()
        return types.Features(values, vectors)

    def set_features(self, features: types.Features) -> None:
        """Sets what the items have; until then no item has a feature.

        Args:
          features: of N items; the sizes are those of the spec.
        """
        if self.features is None:
            raise ValueError("the spec has no item features")
        if self.features.slots:
            self.values.assign(features.values)
        if self.features.width:
            self.vectors.assign(features.vectors)

    @contextlib.contextmanager
    def dropping(self, share: float, step: tf.Tensor) -> Iterator[None]:
        """Drops the ids of a share of the items within the context.

        Args:
          share: of the items.
          step: int64 scalar; another step drops other items.
        """
        step = tf.convert_to_tensor(step)
        self._keeps = lambda item: tf.cast(uniform(item, step) >= share, tf.float32)
        try:
            yield
        finally:
            self._keeps = None

    def embedded(self, item: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Sums of the rows of ids, unless they are dropped, and of the features.

        Args:
          item: int32 [n].
          ids: float [n, D], the rows of their ids.

        Returns:
          float [n, D].
        """
        assert self.features is not None
        embedded = tf.zeros_like(ids)
        if self.features.slots:
            values = tf.gather(self.values, item)  # [n, K]
            embedded += bag(self.value_embedding, values)
        if self.features.width:
            embedded += tf.matmul(tf.gather(self.vectors, item), self.projection)
        if self._keeps is not None:
            ids = ids * self._keeps(item)[:, None]
        return ids + embedded


class ItemEmbedding(FeatureEmbedding):
    """e(i) of all items.

    Args:
      spec: the log's spec; its `item_features` decide whether features are read.
      start: float [N + 1, D], where the rows of the ids start.

    Attributes:
      ids: Variable [N + 1, D], rows of the ids.
    """

    def __init__(self, spec: types.DataSpec, start: tf.Tensor | np.ndarray):
        rows, width = start.shape
        super().__init__(spec.item_features, int(rows), int(width), "item_embedding")
        self.ids = tf.Variable(start, dtype=tf.float32, name="item_embedding")

    @property
    def item_tables(self) -> list[tf.Variable]:
        return [self.ids, *super().item_tables]

    def __call__(self, item: tf.Tensor) -> tf.Tensor:
        """Embeddings of items: int32 [...] -> float [..., D]."""
        if self.features is None:
            return tf.gather(self.ids, item)
        # Each distinct item is embedded once: a batch repeats items many times.
        distinct, place = tf.unique(tf.reshape(item, [-1]))
        embedded = self.embedded(distinct, tf.gather(self.ids, distinct))
        shape = tf.concat([tf.shape(item), [self.width]], axis=0)
        embedded = tf.reshape(tf.gather(embedded, place), shape)
        return tf.ensure_shape(embedded, [*item.shape, self.width])

    def rows(self, first: int, end: int) -> tf.Tensor:
        """Embeddings of the items first..end - 1, float [end - first, D]."""
        if self.features is None:
            return self.ids[first:end]
        return self.embedded(tf.range(first, end), self.ids[first:end])


@autodiff.custom_gradient
def bag(table: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Sums of rows of a table, divided by the root of their number.

    Args:
      table: float [V + 1, D].
      values: int32 [n, K], numbers of rows; 0 for none.

    Returns:
      float [n, D]; 0 where an item has no value.
    """
    table = tf.convert_to_tensor(table)
    present = tf.cast(values > 0, table.dtype)  # [n, K]
    count = tf.reduce_sum(present, axis=1, keepdims=True)
    weight = present / tf.sqrt(tf.maximum(count, 1.0))  # [n, K]
    rows = tf.gather(table, values)  # [n, K, D]
    summed = tf.matmul(weight[:, None], rows)[:, 0]

    def gradient(upstream: tf.Tensor | tf.IndexedSlices) -> tuple[tf.Tensor, None]:
        upstream = tf.convert_to_tensor(upstream)  # of a gather
        # Sums of n K small rows: much less work than slices that the optimiser would sort.
        spread = weight[..., None] * upstream[:, None]  # [n, K, D]
        flat = tf.reshape(spread, [-1, table.shape[1]])
        size = table.shape[0]
        return tf.math.unsorted_segment_sum(flat, tf.reshape(values, [-1]), size), None

    return summed, gradient


def uniform(item: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Pseudo-random numbers in [0, 1), float32 [n], a function of each item and the step.

    Two rounds of multiplicative hashing with a xor-shift between them; no state and no table
    over all items is needed.
    """
    mixed = tf.cast(item, tf.int64) * 1_000_003 + step * 998_244_353 + _DROPPED_SEED
    for _ in range(2):
        mixed *= _MULTIPLIER
        upper = tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, 32), 2**32 - 1)
        mixed = tf.bitwise.bitwise_xor(mixed, upper)
    upper = tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, 40), 2**24 - 1)
    return tf.cast(upper, tf.float32) / 2.0**24


@contextlib.contextmanager
def dropping(module: tf.Module, share: float, step: tf.Tensor) -> Iterator[None]:
    """`ItemEmbedding.dropping` in every item embedding of a learner that reads features."""
    with contextlib.ExitStack() as stack:
        if share:
            for part in module.submodules:
                if isinstance(part, FeatureEmbedding) and part.features is not None:
                    stack.enter_context(part.dropping(share, step))
        yield


def set_features(module: tf.Module, features: types.Features) -> None:
    """`ItemEmbedding.set_features` in every item embedding of a learner."""
    for part in module.submodules:
        if isinstance(part, FeatureEmbedding) and part.features is not None:
            part.set_features(features)
