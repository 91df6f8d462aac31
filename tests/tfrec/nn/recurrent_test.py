import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrec.nn import recurrent

BATCH, STEPS, INPUTS, UNITS = 5, 7, 3, 4


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def cell(random):
    """Every weight away from zero, biases too."""
    made = recurrent.GatedRecurrence(INPUTS, UNITS, "cell")
    for variable in made.trainable_variables:
        variable.assign(random.normal(scale=0.7, size=variable.shape))
    return made


@pytest.fixture
def inputs(random):
    """Sequences with padding at the start, in the middle and nowhere."""
    x = random.normal(size=(BATCH, STEPS, INPUTS)).astype(np.float32)
    mask = np.ones((BATCH, STEPS), np.float32)
    mask[1, :3] = mask[2, 2:4] = mask[3] = 0.0
    return x, mask


def stock_gru(cell, x, mask):
    """Keras' own GRU with the same weights.

    Keras keeps h with its update gate where ours renews it: z = 1 - u, so the sign of that
    gate's weights turns, since sigmoid(-x) = 1 - sigmoid(x).
    """
    sign = np.concatenate([-np.ones(UNITS), np.ones(2 * UNITS)]).astype(np.float32)
    layer = tf_keras.layers.GRU(UNITS, reset_after=True, return_sequences=True)
    layer.build((None, STEPS, INPUTS))
    biases = np.stack([cell.bias.numpy(), cell.recurrent_bias.numpy()])
    layer.set_weights(
        [cell.kernel.numpy() * sign, cell.recurrent.numpy() * sign, biases * sign]
    )
    return layer(x, mask=tf.constant(mask > 0)).numpy()


def test_equals_the_stock_gru_where_steps_are_real(cell, inputs):
    x, mask = inputs
    ours = cell(tf.constant(x), tf.constant(mask)).numpy()
    stock = stock_gru(cell, x, mask)
    assert ours.shape == (BATCH, STEPS, UNITS)
    np.testing.assert_allclose(ours[mask > 0], stock[mask > 0], atol=1e-5)
    np.testing.assert_allclose(ours[[0, 1, 2], -1], stock[[0, 1, 2], -1], atol=1e-5)


def test_masked_steps_keep_the_state(cell, inputs):
    x, mask = inputs
    states = cell(tf.constant(x), tf.constant(mask)).numpy()
    np.testing.assert_array_equal(states[3], 0.0)
    np.testing.assert_array_equal(states[1, :3], 0.0)
    np.testing.assert_array_equal(states[2, 2:4], states[2, [1, 1]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_attention_scales_the_update_gate(cell, inputs, random):
    x, mask = inputs
    attention = random.random((BATCH, STEPS)).astype(np.float32)
    start = random.normal(size=(BATCH, UNITS)).astype(np.float32)
    h, expected = start.astype(np.float64), []
    w_u, w_r, w_c = np.split(cell.kernel.numpy(), 3, axis=1)
    r_u, r_r, r_c = np.split(cell.recurrent.numpy(), 3, axis=1)
    b_u, b_r, b_c = np.split(cell.bias.numpy(), 3)
    d_u, d_r, d_c = np.split(cell.recurrent_bias.numpy(), 3)
    for t in range(STEPS):
        update = sigmoid(x[:, t] @ w_u + h @ r_u + b_u + d_u)
        reset = sigmoid(x[:, t] @ w_r + h @ r_r + b_r + d_r)
        candidate = np.tanh(x[:, t] @ w_c + reset * (h @ r_c + d_c) + b_c)
        update = attention[:, t, None] * update
        renewed = (1 - update) * h + update * candidate
        h = np.where(mask[:, t, None] > 0, renewed, h)
        expected.append(h)
    result = cell(*map(tf.constant, (x, mask, attention, start)))
    np.testing.assert_allclose(result, np.stack(expected, axis=1), atol=1e-5)


def test_the_loop_of_unknown_length_equals_the_unrolled_one(cell, inputs):
    x, mask = map(tf.constant, inputs)
    signature = [tf.TensorSpec([None, None, INPUTS]), tf.TensorSpec([None, None])]
    scanned = tf.function(lambda x, mask: cell(x, mask), input_signature=signature)
    np.testing.assert_allclose(scanned(x, mask), cell(x, mask), atol=1e-6)


def test_each_gate_starts_from_an_orthogonal_matrix_of_its_own():
    gates = np.split(
        recurrent.GatedRecurrence(INPUTS, UNITS, "new").recurrent.numpy(), 3, axis=1
    )
    for gate in gates:
        np.testing.assert_allclose(gate.T @ gate, np.eye(UNITS), atol=1e-5)
    assert not np.allclose(gates[0], gates[1])
    assert not np.allclose(gates[1], gates[2])


def test_time_first_is_the_same_turned_around(cell, inputs):
    x, mask = map(tf.constant, inputs)
    states, last = cell.run(x, mask)
    turned, same = cell.run(tf.transpose(x, [1, 0, 2]), tf.transpose(mask), time_major=True)
    np.testing.assert_allclose(tf.transpose(turned, [1, 0, 2]), states, atol=1e-6)
    np.testing.assert_allclose(same, last, atol=1e-6)
    np.testing.assert_array_equal(last, states[:, -1])
