"""A ring buffer of rows with named columns in variables, and common functions of buffers."""

from collections.abc import Mapping, Sequence

import tensorflow as tf


def storage(shape: Sequence[int], dtype: tf.DType, name: str) -> tf.Variable:
    """A variable of zeros that is not trained."""
    return tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)


def next_slots(added: tf.Tensor, rows: tf.Tensor, capacity: int) -> tf.Tensor:
    """Slots of the next rows of a ring buffer, those of the oldest rows, int64 [B].

    Graph code.

    Args:
      added: number of rows added so far, int64.
      rows: B, number of new rows, int64.
      capacity: capacity in rows, at least 1.
    """
    return tf.math.floormod(added + tf.range(rows), capacity)


class Ring(tf.Module):
    """A ring buffer of the latest rows, with columns of any shape.

    Args:
      capacity: capacity in rows.
      columns: name of a column -> shape and dtype of one row of it.
    """

    def __init__(self, capacity: int, columns: Mapping[str, tf.TensorSpec]):
        super().__init__(name="ring")
        self.capacity = capacity
        self.columns = {
            name: storage([capacity, *spec.shape], spec.dtype, name)
            for name, spec in columns.items()
        }
        self.added = storage([], tf.int64, "added")

    @property
    def size(self) -> tf.Tensor:
        """Rows held, int64."""
        return tf.minimum(self.added, self.capacity)

    def clear(self) -> None:
        """Removes all rows; at least one must be added before sampling."""
        self.added.assign(0)

    def add(self, rows: Mapping[str, tf.Tensor]) -> None:
        """Stores B rows over the oldest ones. Graph code.

        Raises:
          tf.errors.InvalidArgumentError: if B is more than the capacity.
        """
        batch = tf.shape(next(iter(rows.values())), tf.int64)[0]
        tf.debugging.assert_less_equal(
            batch, tf.constant(self.capacity, tf.int64), "more rows than the replay holds"
        )
        slot = next_slots(self.added, batch, self.capacity)
        for name, column in self.columns.items():
            column.scatter_update(tf.IndexedSlices(rows[name], slot))
        self.added.assign_add(batch)

    def sample(self, batch: int, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Samples B rows with equal probability; seed is int32 [2]. Graph code."""
        slot = tf.random.stateless_uniform([batch], seed, 0, self.size, tf.int64)
        return {name: tf.gather(column, slot) for name, column in self.columns.items()}
