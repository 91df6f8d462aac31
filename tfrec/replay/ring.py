"""A replay of rows with named columns: the latest ones, in variables."""

from collections.abc import Mapping

import tensorflow as tf


class Ring(tf.Module):
    """Keeps the latest rows; `tfrec.replay.steps` keeps vectors alone, this also slates.

    Args:
      capacity: rows it holds.
      columns: name of a column -> shape and dtype of one row of it.
    """

    def __init__(self, capacity: int, columns: Mapping[str, tf.TensorSpec]):
        super().__init__(name="ring")
        self.capacity = capacity
        self.columns = {
            name: tf.Variable(
                tf.zeros([capacity, *spec.shape], spec.dtype), trainable=False, name=name
            )
            for name, spec in columns.items()
        }
        self.added = tf.Variable(0, dtype=tf.int64, trainable=False, name="added")

    def add(self, rows: Mapping[str, tf.Tensor]) -> None:
        """Stores B rows over the oldest ones. Graph code.

        Raises:
          tf.errors.InvalidArgumentError: if B is more than the capacity.
        """
        batch = tf.shape(next(iter(rows.values())), tf.int64)[0]
        tf.debugging.assert_less_equal(
            batch, tf.constant(self.capacity, tf.int64), "more rows than the replay holds"
        )
        slot = tf.math.floormod(self.added + tf.range(batch), self.capacity)
        for name, column in self.columns.items():
            column.scatter_update(tf.IndexedSlices(rows[name], slot))
        self.added.assign_add(batch)

    def sample(self, batch: int, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Draws B rows, each as likely as any other; seed is int32 [2]. Graph code."""
        size = tf.minimum(self.added, self.capacity)
        slot = tf.random.stateless_uniform([batch], seed, 0, size, tf.int64)
        return {name: tf.gather(column, slot) for name, column in self.columns.items()}
