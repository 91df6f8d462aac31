"""Comparison of float32 results with a float64 reference."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf


def assert_close(actual, expected, tolerance: float, name: str = "") -> None:
    """Compares relative to the largest entry, since sums lose digits of their largest term.

    Where the reference is exactly zero everywhere, so must the result be.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest, err_msg=name)


def assert_all_close(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float
) -> None:
    """Compares arrays by name; both must have the same names."""
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert_close(actual[name], array, tolerance, name)


def dense_gradient(gradient, variable: tf.Variable) -> np.ndarray:
    """A gradient as an array: zeros for None, and rows of a sparse one added up."""
    if gradient is None:
        return np.zeros(variable.shape)
    return tf.convert_to_tensor(gradient).numpy()
