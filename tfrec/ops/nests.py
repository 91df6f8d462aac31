"""Nests of tensors whose first axis is a row for each session."""

from typing import TypeVar

import tensorflow as tf

Nest = TypeVar("Nest")


def where(rows: tf.Tensor, yes: Nest, no: Nest) -> Nest:
    """Row by row one of two nests.

    Args:
      rows: bool [B].
      yes: tensors [B, ...], for the rows that are True.
      no: the same structure, for the others.
    """

    def one(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(rows, [-1] + [1] * (len(a.shape) - 1)), a, b)

    return tf.nest.map_structure(one, yes, no)


def shaped(nest: Nest, like: Nest) -> Nest:
    """The nest with the static shapes of another, which variables of a loop must keep.

    Args:
      nest: tensors.
      like: the same structure.
    """
    return tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), nest, like)
