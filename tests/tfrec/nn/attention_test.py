"""Packed attention against one row at a time in numpy, and what it may not see."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfrec.baselines.sequential import batches
from tfrec.nn import attention

LENGTHS = np.array([1, 2, 3, 5])


def packing():
    return tf.nest.map_structure(tf.constant, batches.packed(LENGTHS, 3))


def test_tokens_go_to_cells_and_back():
    x = tf.reshape(tf.range(22.0), [11, 2])
    layout = packing()
    # Groups of two, one and one rows: lengths up to 2, 3 and 5.
    assert layout.shapes.numpy().tolist() == [[2, 2], [1, 3], [1, 5]]
    cells = attention.padded(x, layout)
    assert cells.shape == [12, 2]
    assert np.array_equal(attention.unpadded(cells, layout), x)
    assert np.array_equal(cells[2:4], x[1:3])  # the second row of the first group


def test_gradients_of_the_moves_are_those_of_gather():
    layout = packing()
    x = tf.constant(np.random.default_rng(0).normal(size=[11, 2]), tf.float32)
    weights = tf.constant(np.random.default_rng(1).normal(size=[11, 2]), tf.float32)

    def gradient(pad, unpad):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(unpad(pad(x, layout) ** 2, layout) * weights)
        return tf.convert_to_tensor(tape.gradient(y, x))

    plain = gradient(
        lambda x, p: tf.gather(x, p.token), lambda cells, p: tf.gather(cells, p.cell)
    )
    assert np.allclose(gradient(attention.padded, attention.unpadded), plain)


def block(dropout=0.0, heads=2):
    return attention.Block(4, heads, 6, dropout, itertools.count(), "block")


def reference(b, x):
    """The block on one row, [L, D], position by position."""

    def norm(layer, v):
        centred = v - v.mean()
        return centred / np.sqrt((centred**2).mean() + 1e-8) * layer.gain + layer.bias

    each = np.stack([norm(b.attention_norm, v) for v in x])
    projected = each @ b.projection.numpy() + b.projection_bias.numpy()
    query, key, value = np.split(projected, 3, axis=1)
    size = x.shape[1] // b.heads
    mixed = np.zeros_like(x)
    for head in range(b.heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            scores = key[: i + 1, part] @ query[i, part] / np.sqrt(size)
            weights = np.exp(scores - scores.max())
            mixed[i, part] = weights / weights.sum() @ value[: i + 1, part]
    x = x + mixed @ b.output.numpy() + b.output_bias.numpy()
    each = np.stack([norm(b.network_norm, v) for v in x])
    inner = np.maximum(each @ b.inner.numpy() + b.inner_bias.numpy(), 0)
    return x + inner @ b.outer.numpy() + b.outer_bias.numpy()


def test_a_block_is_the_papers_on_each_row():
    rng, b = np.random.default_rng(2), block()
    for variable in b.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    x = rng.normal(size=[LENGTHS.sum(), 4])
    result = b(tf.constant(x, tf.float32), packing(), None).numpy()
    rows = np.split(x, np.cumsum(LENGTHS)[:-1])
    assert result == pytest.approx(
        np.concatenate([reference(b, row) for row in rows]), abs=1e-4
    )


def test_no_token_depends_on_a_later_one_or_on_another_row():
    b = block()
    x = tf.constant(np.random.default_rng(3).normal(size=[11, 4]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = b(x, packing(), None)
    by_output = np.abs(tape.jacobian(y, x)).sum(axis=(1, 3)) > 0  # [T, T]
    row = np.repeat(np.arange(4), LENGTHS)
    allowed = (row[:, None] == row) & (np.arange(11)[:, None] >= np.arange(11))
    assert np.array_equal(by_output, allowed)


def test_every_variable_of_a_block_gets_a_gradient():
    b = block(dropout=0.3)
    x = tf.constant(np.random.default_rng(4).normal(size=[11, 4]), tf.float32)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(b(x, packing(), tf.constant([1, 2])) ** 2)
    for gradient, variable in zip(
        tape.gradient(y, b.trainable_variables), b.trainable_variables, strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


def test_dropout_keeps_the_mean_and_its_seed_decides():
    x = tf.ones([999, 101])
    result = attention.dropped(x, 0.25, tf.constant([1, 2])).numpy()
    assert set(np.unique(result)) == {0.0, np.float32(4 / 3)}
    assert np.mean(result == 0) == pytest.approx(0.25, abs=0.005)
    assert np.array_equal(result, attention.dropped(x, 0.25, tf.constant([1, 2])))
    assert not np.array_equal(result, attention.dropped(x, 0.25, tf.constant([1, 3])))
    assert attention.dropped(x, 0.25, None) is x
