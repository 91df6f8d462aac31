"""Selects Keras 2 for the whole process, and rejects a process that already has Keras 3.

TF-Agents and TensorFlow Recommenders need Keras 2. TensorFlow reads the environment variable
`TF_USE_LEGACY_KERAS` twice: `tensorflow.keras` is decided when TensorFlow is first imported,
`tf.keras` when it is first used. A process in which the two differ builds Keras 3 layers inside
Keras 2 models; no error is raised, and their variables are never trained. The packages of this
project import `tf_keras` by name, which needs no variable; the libraries beneath them do.
"""

import importlib.util
import os
import pathlib
import sys

VARIABLE = "TF_USE_LEGACY_KERAS"
_TRUE = ("1", "true", "True")  # the values that TensorFlow accepts


def require_keras_2() -> None:
    """Makes TensorFlow use Keras 2 in this process and in its children.

    Raises:
      ImportError: if the environment asks for Keras 3, or if TensorFlow was imported before
        with Keras 3; the message says what to do.
    """
    value = os.environ.setdefault(VARIABLE, "1")
    if value not in _TRUE:
        raise ImportError(
            f"{VARIABLE}={value} asks TensorFlow for Keras 3; TF-Agents and TensorFlow "
            f"Recommenders need Keras 2. Unset {VARIABLE}, or set it to 1."
        )
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return
    spec = importlib.util.find_spec("tensorflow.keras")
    folders = () if spec is None or spec.origin is None else pathlib.Path(spec.origin).parts
    # The attribute `tf.keras` is resolved at its first use; from here on that gives Keras 2.
    attribute = tensorflow.keras.layers.Layer.__module__
    if "tf_keras" not in folders or not attribute.startswith("tf_keras."):
        raise ImportError(
            "TensorFlow was imported before this package, with Keras 3: layers of Keras 3 "
            "inside Keras 2 models do not train. Start the process again and import tfrec, "
            f"tfgoalrec or tfimrl before tensorflow, or set {VARIABLE}=1 in its environment."
        )
