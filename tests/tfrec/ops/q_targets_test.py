import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfrec.ops import q_targets

REWARD = tf.constant([1.0, 0.0, 2.0])
DISCOUNT = tf.constant([0.5, 0.5, 0.0])
TARGET = tf.constant([[1.0, 4.0, 3.0], [2.0, 2.0, 8.0], [9.0, 9.0, 9.0]])
ONLINE = tf.constant([[0.0, 1.0, 7.0], [5.0, 1.0, 0.0], [1.0, 1.0, 1.0]])


def test_dqn_by_hand():
    target = q_targets.td_target(REWARD, DISCOUNT, TARGET, TARGET, None)
    np.testing.assert_allclose(target, [1 + 0.5 * 4, 0.5 * 8, 2])


def test_double_q_by_hand():
    """The learning network chooses items 3 and 1; the target says what they are worth."""
    target = q_targets.td_target(REWARD, DISCOUNT, TARGET, ONLINE, None)
    np.testing.assert_allclose(target, [1 + 0.5 * 3, 0.5 * 2, 2])


def test_blocked_items_do_not_follow():
    blocked = tf.constant([[False, True, False], [True, True, False], [True, True, True]])
    target = q_targets.td_target(REWARD, DISCOUNT, TARGET, TARGET, blocked)
    np.testing.assert_allclose(target, [1 + 0.5 * 3, 0.5 * 8, 2])
    none_left = tf.constant([[True] * 3] * 3)
    target = q_targets.td_target(REWARD, DISCOUNT, TARGET, TARGET, none_left)
    np.testing.assert_allclose(target, REWARD)


def test_the_target_has_no_gradient():
    values = tf.Variable(TARGET)
    with tf.GradientTape() as tape:
        target = tf.reduce_sum(q_targets.td_target(REWARD, DISCOUNT, values, values, None))
    assert tape.gradient(target, values) is None


def test_projection_by_hand():
    """Support 0 2 4 6, Z = 1/2 at 2 and 1/2 at 6."""
    support = tf.constant([0.0, 2.0, 4.0, 6.0])
    probability = tf.constant([[0.0, 0.5, 0.0, 0.5]] * 4)
    reward, discount = tf.constant([1.0, 0.0, 5.0, 3.5]), tf.constant([0.5, 1.0, 1.0, 0.0])
    result = q_targets.projected(reward, discount, probability, support)
    expected = [
        [0.0, 0.5, 0.5, 0.0],  # atoms at 2 and 4
        [0.0, 0.5, 0.0, 0.5],  # unchanged
        [0.0, 0.0, 0.0, 1.0],  # atoms at 7 and 11: clipped to 6
        [0.0, 0.25, 0.75, 0.0],  # the user left: all mass at 3.5, a quarter from 2
    ]
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_projection_keeps_the_mean_inside_the_support():
    random = np.random.default_rng(0)
    support = tf.linspace(0.0, 20.0, 51)
    probability = tf.constant(random.dirichlet(np.ones(51), 16), tf.float32)
    reward = tf.constant(random.uniform(0, 2, 16), tf.float32)
    discount = tf.constant(random.uniform(0, 0.9, 16), tf.float32)
    result = q_targets.projected(reward, discount, probability, support)
    mean = tf.linalg.matvec(probability, support)
    np.testing.assert_allclose(tf.reduce_sum(result, axis=1), np.ones(16), rtol=1e-5)
    np.testing.assert_allclose(
        tf.linalg.matvec(result, support), reward + discount * mean, rtol=1e-4
    )


def test_expected_and_divergence_by_hand():
    logits = tf.math.log([[0.25, 0.25, 0.5], [1.0, 1.0, 2.0]])  # the same distribution
    np.testing.assert_allclose(
        q_targets.expected(logits, tf.constant([0.0, 4.0, 8.0])), [5.0, 5.0], rtol=1e-6
    )
    target = tf.constant([[0.25, 0.25, 0.5], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(
        q_targets.divergence(target, logits), [0.0, np.log(2)], atol=1e-6
    )


def test_highest_return_by_hand():
    # Clicks 1 0 1 1 | 0 1 0 0 1 | 0: the best is from the first step of session 0 ...
    log = small.sessions()
    assert q_targets.highest_return(log, 1.0) == 3.0
    # ... and at discount 1/2 its last two clicks, 1 + 1/2.
    assert q_targets.highest_return(log, 0.5) == pytest.approx(1.5)
