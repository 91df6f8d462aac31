"""Choosing by scores, with positions that may not be chosen."""

import numpy as np
import tensorflow as tf

from tfrec.ops import selection

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
