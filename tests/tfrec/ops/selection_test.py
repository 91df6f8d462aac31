"""Choosing by scores, with positions that may not be chosen."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.ops import selection

SEED = tf.constant([1, 2])
SCORES = tf.constant([[0.1, 3.0, 2.0, -1.0], [5.0, 4.0, 3.0, 2.0]])


def test_positions_that_were_shown():
    shown = tf.constant([[2.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(
        selection.blocked_by(shown, 4),
        [[False, True, False, True], [False, False, False, False]],
    )


def test_the_best_slate_passes_over_what_is_blocked():
    np.testing.assert_array_equal(selection.best_slate(SCORES, 2), [[1, 2], [0, 1]])
    blocked = selection.blocked_by(tf.constant([[2, 3], [1, 0]]), 4)
    np.testing.assert_array_equal(selection.best_slate(SCORES, 2, blocked), [[0, 3], [1, 2]])


def test_a_softmax_gives_blocked_positions_nothing_and_no_gradient():
    blocked = tf.constant([[False, True, False, False]] * 2)
    with tf.GradientTape() as tape:
        tape.watch(SCORES)
        share = tf.nn.softmax(selection.available(SCORES, blocked))
        first = tf.reduce_sum(share[:, 0])
    assert (share.numpy()[:, 1] == 0).all()
    gradient = tape.gradient(first, SCORES).numpy()
    assert np.isfinite(gradient).all() and (gradient[:, 1] == 0).all()
    assert selection.available(SCORES, None) is SCORES


def test_best_passes_over_what_is_blocked():
    scores = tf.constant([[1.0, 3.0, 2.0], [-5.0, -9.0, -7.0]])
    assert selection.best_item(scores, None).numpy().tolist() == [2, 1]
    blocked = tf.constant([[False, True, False], [True, False, True]])
    assert selection.best_item(scores, blocked).numpy().tolist() == [3, 2]


@pytest.mark.parametrize("few", [3, 50])  # of 50 items; 3: most tries meet none
def test_a_drawn_item_is_each_of_those_not_blocked_as_likely(few):
    blocked = np.ones((6000, 50), bool)
    free = np.linspace(0, 49, few).astype(int)
    blocked[:, free] = False
    selected = selection.random_item(6000, 50, tf.constant(blocked), SEED).numpy()
    counts = np.bincount(selected - 1, minlength=50)
    assert counts.sum() == counts[free].sum()
    # Four standard errors of a share of 1 / few, for each.
    error = np.sqrt((1 / few) * (1 - 1 / few) / 6000)
    np.testing.assert_allclose(counts[free] / 6000, 1 / few, atol=4 * error)
    assert len(np.unique(selection.random_item(6000, 50, None, SEED))) == 50


def test_the_pool_has_the_best_of_those_that_are_not_blocked():
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(5, 400)).astype(np.float32)
    scores[0, 7] = 1e6  # far from all others
    blocked = draw.uniform(size=scores.shape) < 0.3
    blocked[4, 12:] = True  # fewer allowed items than the pool
    edge = selection.pool_edge(tf.constant(scores), tf.constant(blocked), 40).numpy()
    reached = ((scores >= edge) & ~blocked).sum(axis=1)
    np.testing.assert_array_equal(reached[1:], [40, 40, 40, (~blocked[4]).sum()])
    assert reached[0] >= 40  # bisecting a wide range separates near scores less well
    everyone = (scores >= selection.pool_edge(tf.constant(scores), None, 40).numpy()).sum(
        axis=1
    )
    np.testing.assert_array_equal(everyone[1:], 40)


def test_good_items_are_sampled_with_equal_probability():
    scores = tf.tile(tf.constant([[0.5, 3.0, 2.0, 9.0, 1.0, 4.0]]), [3000, 1])
    blocked = tf.tile(tf.constant([[False, False, False, True, False, False]]), [3000, 1])
    item = selection.random_good_item(scores, blocked, 3, tf.constant([1, 2])).numpy()
    share = np.bincount(item, minlength=7) / 3000
    # The best three that are not blocked: 6, 2 and 3. Four standard errors.
    np.testing.assert_allclose(share[[6, 2, 3]], 1 / 3, atol=4 * np.sqrt(2 / 9 / 3000))
    assert share[[0, 1, 4, 5]].sum() == 0
    assert selection.pool_size(0.0, 6) == 1
    assert selection.pool_size(0.5, 7) == 4
