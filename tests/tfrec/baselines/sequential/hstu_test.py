"""HSTU: its attention by hand, and a block against the equations, one row at a time."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfrec.baselines.sequential import batches, hstu

LENGTHS = np.array([1, 2, 4])


def silu(x):
    return x / (1 + np.exp(-x))


def test_pointwise_attention_by_hand():
    query = tf.constant([[[[1.0], [2.0], [-1.0]]]])
    key = tf.constant([[[[1.0], [0.5], [3.0]]]])
    value = tf.constant([[[[10.0], [100.0], [1000.0]]]])
    bias = tf.constant([[0.0, 9.0, 9.0], [1.0, 0.0, 9.0], [2.0, 1.0, 0.0]])
    output = hstu.pointwise_attention(query, key, value, bias, 5)[0, 0, :, 0].numpy()
    # Scores: 1; 2 + 1, 1 + 0; -1 + 2, -.5 + 1, -3 + 0. silu(1) = .731059, silu(3) = 2.857722,
    # silu(.5) = .311230, silu(-3) = -.142278.
    expected = [7.31059 / 5, (28.57722 + 73.1059) / 5, (7.31059 + 31.1230 - 142.278) / 5]
    assert output == pytest.approx(expected, rel=1e-5)


def test_the_bias_depends_on_the_distance():
    result = hstu.relative_bias(tf.constant([5.0, 6.0, 7.0, 8.0]), 3).numpy()
    assert np.tril(result).tolist() == [[5, 0, 0], [6, 5, 0], [7, 6, 5]]


def norm(layer, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-8) * layer.gain.numpy() + layer.bias.numpy()


def reference(block, x, heads, longest):
    """The block on one row, [L, D], event by event."""
    width = x.shape[1]
    u, v, q, k = np.split(silu(norm(block.input_norm, x) @ block.projection.numpy()), 4, axis=1)
    by_distance, mixed = block.position_bias.numpy(), np.zeros_like(x)
    for head, i in itertools.product(range(heads), range(len(x))):
        part = slice(head * width // heads, (head + 1) * width // heads)
        for j in range(i + 1):
            weight = silu(q[i, part] @ k[j, part] + by_distance[i - j]) / longest
            mixed[i, part] += weight * v[j, part]
    gated = norm(block.attention_norm, mixed) * u
    return x + gated @ block.output.numpy() + block.output_bias.numpy()


@pytest.mark.parametrize("heads", [1, 2])
def test_a_block_is_the_papers_on_each_row(heads):
    config = hstu.HstuConfig(width=4, length=5, heads=heads)
    rng, block = np.random.default_rng(2), hstu.HstuBlock(config, itertools.count(), "block")
    for variable in block.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    x = rng.normal(size=[LENGTHS.sum(), 4])
    packing = tf.nest.map_structure(tf.constant, batches.packed(LENGTHS, 3))
    result = block(tf.constant(x, tf.float32), packing, None).numpy()
    rows = np.split(x, np.cumsum(LENGTHS)[:-1])
    expected = np.concatenate([reference(block, row, heads, 5) for row in rows])
    assert result == pytest.approx(expected, abs=1e-4)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads is 3; expected a divisor of width"):
        hstu.HstuConfig(width=64, heads=3)
