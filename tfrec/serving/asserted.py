"""Messages of the assertions in a model's graph that rejected a request."""

import re

import tensorflow as tf

_ASSERTED = re.compile(r"assertion failed: \[(?P<message>[^\]\n]*)\]")
_NOT_FINITE = re.compile(r"(?m)^(?P<message>.*?) : Tensor had ")


def message(error: tf.errors.InvalidArgumentError) -> str | None:
    """The text of the failed assertion, without TensorFlow's additions; None without one."""
    match = _ASSERTED.search(error.message) or _NOT_FINITE.search(error.message)
    return match["message"].rstrip(" .") if match else None
