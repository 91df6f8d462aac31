"""Checks that weights are finite, for every file with weights that is written or read.

A learning rate that is too high makes weights NaN or infinite without an error; after the
last update, no later loss shows it.
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
    """Rejects weights that hold NaN or infinity.

    Args:
      named: pairs of a name and a variable or an array; values that are not floats are
        skipped.
      what: source or target of the weights, for the message, e.g. the file's path.

    Raises:
      NonFiniteWeightsError: with the name of the first that holds NaN or infinity.
    """
    for name, value in named:
        if not tf.as_dtype(value.dtype).is_floating:
            continue
        values = value.numpy() if isinstance(value, tf.Variable) else value
        # float32 first: np.isfinite does not accept bfloat16, and is no faster for float16.
        wrong = values.size - np.isfinite(np.asarray(values, np.float32)).sum()
        if wrong:
            raise NonFiniteWeightsError(
                f"{what}: {wrong:,} of {values.size:,} numbers of {name} are NaN or infinite: "
                "learning has diverged. Train with a lower learning rate; none of these "
                "weights can be used"
            )


def check_saved_model(directory: str | os.PathLike) -> None:
    """Rejects a SavedModel with a variable that holds NaN or infinity.

    Args:
      directory: folder of the SavedModel; one without variables is accepted.

    Raises:
      NonFiniteWeightsError: with the name of the variable.
    """
    if not pathlib.Path(directory, "variables", "variables.index").exists():
        return
    with model_path.literal(directory) as folder:
        reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype.is_floating:
                readable = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
                check([(readable, reader.get_tensor(name))], str(directory))
