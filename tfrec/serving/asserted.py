"""Messages of the assertions in a model's graph that rejected a request."""

import re

import tensorflow as tf

_ASSERTED = re.compile(r"assertion failed: \[(?P<message>[^\]\n]*)\]")
_NOT_FINITE = re.compile(r"(?m)^(?P<message>.*?) : Tensor had ")


def message(error: tf.errors.InvalidArgumentError) -> str | None:
    """The words of the assertion that failed, without those that TensorFlow puts around it."""
    found = _ASSERTED.search(error.message) or _NOT_FINITE.search(error.message)
    return found["message"].rstrip(" .") if found else None
