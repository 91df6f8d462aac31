"""The check that weights are finite, of every file that is written and every one that is read.

A learning rate that is too high makes weights NaN or infinite without an error: in the last
update no later loss shows it.
"""

import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec import model_path
from tfrec.errors import UserError


class NonFiniteWeightsError(UserError):
    """Weights hold NaN or infinity: learning has diverged."""


def check(named: Iterable[tuple[str, Any]], what: str) -> None:
    """Rejects weights of which one is not finite.

    Args:
      named: names with a variable or an array each; those that are not of floats are passed
        over.
      what: what would be written or was read, for the message, e.g. the file's path.

    Raises:
      NonFiniteWeightsError: naming the first that holds NaN or infinity.
    """
    for name, value in named:
        if not tf.as_dtype(value.dtype).is_floating:
            continue
        values = value.numpy() if isinstance(value, tf.Variable) else value
        # numpy checks neither of its own bfloat16 nor of float16 in fewer steps than this.
        wrong = values.size - np.isfinite(np.asarray(values, np.float32)).sum()
        if wrong:
            raise NonFiniteWeightsError(
                f"{what}: {wrong:,} of {values.size:,} numbers of {name} are NaN or infinite: "
                "learning has diverged. Train with a lower learning rate; none of these "
                "weights can be used"
            )


def check_saved_model(directory: str | os.PathLike) -> None:
    """Rejects a SavedModel of which a variable is not finite.

    Args:
      directory: of the SavedModel; without variables it is accepted.

    Raises:
      NonFiniteWeightsError: naming the variable.
    """
    if not pathlib.Path(directory, "variables", "variables.index").exists():
        return
    with model_path.literal(directory) as folder:
        reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype.is_floating:
                readable = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
                check([(readable, reader.get_tensor(name))], str(directory))
