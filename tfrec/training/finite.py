"""Checks that losses and gradients are finite, and the error that ends a run otherwise.

Every method updates through `guarded` and `schedule.repeat`, and passes the result of `repeat`
to `check`. An update with a non-finite number changes no weight, and the error has its batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class NonFiniteError(Exception):
    """NaN or infinity in a loss or a gradient.

    Attributes:
      name: name of the tensor, e.g. `gradient of world_model/kernel`.
      batch: the batch of the update, to repeat it.
    """

    def __init__(self, name: str, batch: Mapping[str, np.ndarray]):
        super().__init__(f"{name} is not finite")
        self.name = name
        self.batch = dict(batch)


def gradient_names(variables: Sequence[tf.Variable]) -> list[str]:
    """Distinct names of the variables' gradients; those of two layers may be called alike."""
    return [f"gradient of {v.name.removesuffix(':0')} {i}" for i, v in enumerate(variables)]


def named(
    names: Sequence[str], tensors: Sequence[tf.Tensor | tf.IndexedSlices]
) -> dict[str, tf.Tensor | tf.IndexedSlices]:
    """The tensors that an update checks, by name.

    Raises:
      ValueError: if a name occurs twice, and would hide a tensor.
    """
    found = dict(zip(names, tensors, strict=True))
    if len(found) < len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise ValueError(f"checked tensors share the names {', '.join(twice)}")
    return found


def first_non_finite(named: Mapping[str, tf.Tensor | tf.IndexedSlices]) -> tf.Tensor:
    """Finds the first tensor that holds NaN or infinity; graph code.

    Name losses before gradients, in the order of computation: the first is the cause.

    Args:
      named: floats of any shape, or the sparse gradients of embeddings.

    Returns:
      int32 scalar: its index in `named`, or -1 if all are finite.
    """
    if not named:
        return tf.constant(-1)
    dense = [t.values if isinstance(t, tf.IndexedSlices) else t for t in named.values()]

    def search() -> tf.Tensor:
        bad = tf.stack([tf.logical_not(tf.reduce_all(tf.math.is_finite(t))) for t in dense])
        return tf.where(tf.reduce_any(bad), tf.argmax(bad, output_type=tf.int32), -1)

    # A finite joint norm proves that every tensor is finite; otherwise one is searched.
    joint = tf.math.is_finite(tf.linalg.global_norm(dense))
    return tf.cond(joint, lambda: tf.constant(-1), search)


def guarded(
    named: Mapping[str, tf.Tensor | tf.IndexedSlices], apply: Callable[[], object]
) -> tf.Tensor:
    """Applies an update only if its losses and gradients are finite; graph code.

    Args:
      named: all tensors that the update depends on, as in `first_non_finite`.
      apply: updates weights, slots and counters; called once while tracing.

    Returns:
      int32 scalar: the index in `named` of the first tensor that is not finite, or -1.
    """
    bad = first_non_finite(named)

    def move() -> tf.Tensor:
        apply()
        return tf.constant(True)

    tf.cond(bad < 0, move, lambda: tf.constant(False))
    return bad


def check(checked: Sequence[str], bad: tf.Tensor, batch: Any) -> None:
    """Raises if an update of `schedule.repeat` was not finite.

    Args:
      checked: names of the tensors that the updates check.
      bad: int32 scalar, an index in `checked`, or -1 if all were finite.
      batch: batch of the last update, a nest of tensors.

    Raises:
      NonFiniteError: if `bad` is not -1; it holds every array of the batch.
    """
    if int(bad) >= 0:
        raise NonFiniteError(checked[int(bad)], arrays(batch))


def arrays(batch: Any) -> dict[str, np.ndarray]:
    """The arrays of a nest by their paths, e.g. `observation.history_item`.

    Args:
      batch: named tuples, dicts and sequences of tensors; None leaves are left out.
    """
    return {path: np.asarray(value) for path, value in _leaves("", batch)}


def packed(stored: Mapping[str, np.ndarray], like: Any) -> Any:
    """Rebuilds the nest of `arrays`, to repeat an update on a stored batch.

    Args:
      stored: the arrays by their paths.
      like: a nest of the same structure, e.g. a new batch of the learner.
    """
    paths = {id(leaf): path for path, leaf in _leaves("", like)}
    return tf.nest.map_structure(
        lambda leaf: None if leaf is None else tf.constant(stored[paths[id(leaf)]]), like
    )


def _leaves(path: str, nest: Any) -> Iterator[tuple[str, Any]]:
    if nest is None:
        return
    if hasattr(nest, "_asdict"):
        nest = nest._asdict()
    elif isinstance(nest, list | tuple):
        nest = {str(number): part for number, part in enumerate(nest)}
    if not isinstance(nest, Mapping):
        yield path, nest
        return
    for name, part in nest.items():
        yield from _leaves(f"{path}.{name}" if path else name, part)
