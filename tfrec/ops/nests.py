"""Operations on nests of tensors with a row for each session."""

from typing import TypeVar

import tensorflow as tf

Nest = TypeVar("Nest")


def where(rows: tf.Tensor, yes: Nest, no: Nest) -> Nest:
    """Selects rows from one of two nests.

    Args:
      rows: bool [B].
      yes: tensors [B, ...] with the rows for True.
      no: nest of the same structure with the rows for False.
    """

    def one(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(rows, [-1] + [1] * (len(a.shape) - 1)), a, b)

    return tf.nest.map_structure(one, yes, no)


def shaped(nest: Nest, like: Nest) -> Nest:
    """Sets the static shapes of a nest to those of another, as loop variables require.

    Args:
      nest: tensors.
      like: the same structure.
    """
    return tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), nest, like)
