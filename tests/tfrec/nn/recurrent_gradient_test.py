"""The recurrence's written-out gradient equals that of its definition, step by step."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.nn import recurrent

BATCH, STEPS, INPUTS, UNITS = 4, 6, 3, 5


def plain(cell, x, mask, attention, initial):
    """The class docstring's equations, differentiated by TensorFlow."""
    w_u, w_r, w_c = tf.split(cell.kernel, 3, axis=1)
    r_u, r_r, r_c = tf.split(cell.recurrent, 3, axis=1)
    b_u, b_r, b_c = tf.split(cell.bias, 3)
    d_u, d_r, d_c = tf.split(cell.recurrent_bias, 3)
    h, states = initial, []
    for t in range(x.shape[1]):
        update = tf.sigmoid(x[:, t] @ w_u + h @ r_u + b_u + d_u)
        reset = tf.sigmoid(x[:, t] @ w_r + h @ r_r + b_r + d_r)
        candidate = tf.tanh(x[:, t] @ w_c + reset * (h @ r_c + d_c) + b_c)
        scaled = update * (attention * mask)[:, t, None]
        h = (1.0 - scaled) * h + scaled * candidate
        states.append(h)
    return tf.stack(states, axis=1), h


@pytest.mark.parametrize("used", ["states", "last", "both"])
@pytest.mark.parametrize("graph", [False, True])
def test_gradient_equals_that_of_the_equations(used, graph):
    random = np.random.default_rng(0)
    cell = recurrent.GatedRecurrence(INPUTS, UNITS, "cell")
    for variable in cell.trainable_variables:
        variable.assign(random.normal(scale=0.7, size=variable.shape))
    mask = (random.random((BATCH, STEPS)) < 0.7).astype(np.float32)
    arguments = [
        tf.Variable(random.normal(size=(BATCH, STEPS, INPUTS)), dtype=tf.float32),
        tf.constant(mask),
        tf.Variable(random.random((BATCH, STEPS)), dtype=tf.float32),
        tf.Variable(random.normal(size=(BATCH, UNITS)), dtype=tf.float32),
    ]
    sources = [*cell.trainable_variables, arguments[0], arguments[2], arguments[3]]
    weight = tf.constant(random.normal(size=(BATCH, STEPS, UNITS)), tf.float32)

    def gradients(run):
        with tf.GradientTape() as tape:
            states, last = run(*arguments)
            loss = tf.reduce_sum(last**2) if used != "states" else tf.constant(0.0)
            if used != "last":
                loss += tf.reduce_sum(weight * states**2)
        return tape.gradient(loss, sources)

    wrap = tf.function if graph else lambda f: f
    ours = wrap(lambda: gradients(cell.run))()
    expected = gradients(lambda *a: plain(cell, *a))
    for source, result, wanted in zip(sources, ours, expected, strict=True):
        assert np.abs(wanted).max() > 1e-3, source.name
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5, err_msg=source.name)
