"""A replay of rows with named columns: the latest ones, in variables; parts of every ring."""

from collections.abc import Mapping, Sequence

import tensorflow as tf


def storage(shape: Sequence[int], dtype: tf.DType, name: str) -> tf.Variable:
    """A variable of zeros that training does not change."""
    return tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)


def next_slots(added: tf.Tensor, rows: tf.Tensor, capacity: int) -> tf.Tensor:
    """Where the next rows of a ring go: over the oldest ones, int64 [B]. Graph code.

    Args:
      added: rows that the ring was given so far, int64.
      rows: B, rows that it is given now, int64.
      capacity: rows that it holds, at least 1.
    """
    return tf.math.floormod(added + tf.range(rows), capacity)


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
            name: storage([capacity, *spec.shape], spec.dtype, name)
            for name, spec in columns.items()
        }
        self.added = storage([], tf.int64, "added")

    @property
    def size(self) -> tf.Tensor:
        """Rows held, int64."""
        return tf.minimum(self.added, self.capacity)

    def clear(self) -> None:
        """Drops every row; the ring must be filled again before it is asked."""
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
        """Draws B rows, each as likely as any other; seed is int32 [2]. Graph code."""
        slot = tf.random.stateless_uniform([batch], seed, 0, self.size, tf.int64)
        return {name: tf.gather(column, slot) for name, column in self.columns.items()}
