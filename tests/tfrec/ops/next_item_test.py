"""Losses of next-item prediction: by hand, and against TensorFlow's own on whole matrices."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec.ops import next_item


def softplus(x):
    return math.log1p(math.exp(x))


def test_binary_cross_entropy_by_hand():
    result = next_item.binary_cross_entropy(tf.constant([2.0, 0.0]), tf.constant([1.0, -1e9]))
    # The second token's negative is excluded: -log s(0) = log 2 alone.
    assert float(result) == pytest.approx((softplus(-2) + softplus(1) + math.log(2)) / 2)


def test_calibration_runs_from_one_to_the_sampling_rate():
    # K = 10 of N - 1 = 100: t = 0 leaves BCE, t = 1 is the sampling rate .1.
    assert next_item.calibration(10, 101, 0.0) == pytest.approx(1.0)
    assert next_item.calibration(10, 101, 1.0) == pytest.approx(0.1)
    # .1 (.75 (1 - 10) + 10) = .325.
    assert next_item.calibration(10, 101, 0.75) == pytest.approx(0.325)


def test_generalised_binary_cross_entropy_by_hand():
    result = next_item.generalised_binary_cross_entropy(
        tf.constant([1.0]), tf.constant([[0.0, -1.0]]), 0.5
    )
    assert float(result) == pytest.approx((0.5 * softplus(-1) + math.log(2) + softplus(-1)) / 3)


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    hidden = tf.constant(rng.normal(size=[70, 3]), tf.float32)
    table = tf.constant(rng.normal(size=[9, 3]), tf.float32)
    target = tf.constant(rng.integers(0, 9, 70), tf.int32)
    row = tf.constant(np.sort(rng.integers(0, 4, 70)), tf.int32)
    return hidden, table, target, row


def gradients(loss, *inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(*inputs)
    return value, *(tf.convert_to_tensor(g) for g in tape.gradient(value, inputs))


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(one, other, atol=1e-6)


def positive(hidden, table, target):
    return tf.reduce_sum(hidden * tf.gather(table, target), axis=1)


@pytest.mark.parametrize("cells", [1, 1 << 21])
def test_softmax_over_the_catalogue_is_cross_entropy(scores, monkeypatch, cells):
    """With one cell at once the tokens come in three chunks, the last of them not full."""
    monkeypatch.setattr(next_item, "_CELLS_AT_ONCE", cells)
    hidden, table, target, row = scores

    def ours(hidden, table):
        return next_item.softmax(
            hidden, table, positive(hidden, table, target), row, None, True
        )

    def theirs(hidden, table):
        logits = tf.matmul(hidden, table, transpose_b=True)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits))

    same(gradients(ours, hidden, table), gradients(theirs, hidden, table))


def test_softmax_with_excluded_negatives_is_that_of_the_others(scores):
    hidden, table, target, row = scores
    own = np.random.default_rng(1).random([4, 9]) < 0.4  # items that each row has
    own[row.numpy(), target.numpy()] = True
    offset = tf.constant(np.where(own, next_item.EXCLUDED, 0.0), tf.float32)

    def ours(hidden, table):
        return next_item.softmax(
            hidden, table, positive(hidden, table, target), row, offset, False
        )

    def theirs(hidden, table):
        logits = tf.matmul(hidden, table, transpose_b=True) + tf.gather(offset, row)
        logits = tf.concat([positive(hidden, table, target)[:, None], logits], axis=1)
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(tf.zeros_like(target), logits)
        )

    same(gradients(ours, hidden, table), gradients(theirs, hidden, table))


def test_softmax_stays_finite_where_scores_are_large():
    hidden, table = tf.constant([[300.0], [-300.0]]), tf.constant([[1.0], [-1.0]])
    row, first = tf.constant([0, 0]), tf.constant([0, 0])

    def loss(hidden, table):
        return next_item.softmax(hidden, table, positive(hidden, table, first), row, None, True)

    value, *slopes = gradients(loss, hidden, table)
    assert float(value) == pytest.approx(300.0)  # 0 and 600
    assert all(np.isfinite(slope).all() for slope in slopes)
