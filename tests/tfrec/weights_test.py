import numpy as np
import pytest
import tensorflow as tf

from tfrec import errors, weights


def test_finite_weights_pass():
    weights.check(
        {
            "kernel": tf.Variable([1.0, -2.0]),
            "half": tf.Variable([1.0], dtype=tf.bfloat16),
            "count": tf.Variable([3], dtype=tf.int64),
            "name": np.array(["a"]),
        }.items(),
        "there",
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bfloat16, tf.float16])
def test_the_variable_that_is_not_finite_is_named(bad, dtype):
    named = {"good": tf.Variable([0.0]), "bad": tf.Variable([[1.0, bad, bad]], dtype=dtype)}
    message = r"runs/agent: not written: 2 of 3 numbers of bad are NaN or infinite"
    with pytest.raises(errors.UserError, match=message):
        weights.check(named.items(), "runs/agent: not written")


def test_a_saved_model_is_checked(tmp_path):
    module = tf.Module()
    module.table = tf.Variable([1.0, 2.0])
    tf.saved_model.save(module, str(tmp_path / "good"))
    weights.check_saved_model(tmp_path / "good")
    module.table.assign([1.0, np.nan])
    tf.saved_model.save(module, str(tmp_path / "bad"))
    with pytest.raises(weights.NonFiniteWeightsError, match="bad: 1 of 2 numbers of table are"):
        weights.check_saved_model(tmp_path / "bad")
    weights.check_saved_model(tmp_path)  # no variables, nothing to check
