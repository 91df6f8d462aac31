"""Variables of optimisers: the slots of a trained variable, and hyperparameters."""

from typing import Any

import tensorflow as tf
import tf_keras

from tfrec.training import checkpoint


def slots(optimizer: Any, variable: tf.Variable) -> list[tf.Variable]:
    """The variables that an optimiser keeps for a trained one, each of its shape.

    Args:
      optimizer: Adam, or an optimiser of `tf_keras.optimizers.legacy`; built.
      variable: any variable.

    Returns:
      The slots; none if the optimiser does not train the variable.
    """
    if isinstance(optimizer, tf_keras.optimizers.legacy.Optimizer):
        try:
            return [optimizer.get_slot(variable, name) for name in optimizer.get_slot_names()]
        except KeyError:
            return []
    number = optimizer._index_dict.get(optimizer._var_key(variable))
    if number is None:
        return []
    return [optimizer._momentums[number], optimizer._velocities[number]]


def hyperparameters(optimizer: Any) -> list[tf.Variable]:
    """The variables of an optimiser that hold options, such as its learning rate."""
    if isinstance(optimizer, tf_keras.optimizers.legacy.Optimizer):
        counted = {id(variable) for variable in optimizer.weights}  # iterations and slots
        every = checkpoint.named_variables(optimizer).values()
        return [variable for variable in every if id(variable) not in counted]
    return [optimizer.learning_rate]
