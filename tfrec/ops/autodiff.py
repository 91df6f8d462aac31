"""Automatic differentiation that leaves nothing of a graph behind when the graph is freed.

TensorFlow registers each custom gradient of a graph for the rest of the process, and with it
the graph and the variables that it captures. A process that trains many models, as tuning does,
would keep the weights and the replay of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
import tf_keras


def custom_gradient(function: Callable[..., tuple[Any, Callable]]) -> Callable[..., Any]:
    """As `tf.custom_gradient`, traced once for each signature and apart from its callers.

    Args:
      function: as for `tf.custom_gradient`: maps tensors to a result and the function of its
        gradient. All tensors that it reads must be arguments.
    """
    return tf.function(tf.custom_gradient(function), autograph=False)


def apply_gradients(
    optimizer: tf_keras.optimizers.Optimizer,
    gradients: Iterable[tf.Tensor | tf.IndexedSlices],
    variables: Iterable[tf.Variable],
) -> None:
    """Moves variables along their gradients, in one replica.

    The sum over replicas that the optimiser would compute has a custom gradient.

    Args:
      optimizer: an optimiser of Keras 2.
      gradients: a gradient for each variable.
      variables: the variables.
    """
    pairs = zip(gradients, variables, strict=True)
    optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)
