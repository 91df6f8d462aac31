import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfrec.replay import prioritized


def made(**changes):
    """Sessions of 2, 0 and 3 steps, and one place never used; their priorities known."""
    options = {"alpha": 1.0, "epsilon": 0.0, "beta": 0.5, "beta_draws": 4}
    config = prioritized.PriorityConfig(**(options | changes))
    priorities = prioritized.Priorities(config, capacity=4, max_steps=3)
    priorities.add(tf.constant([0, 2], tf.int64), tf.constant([2, 3]))
    slot, step = tf.constant([0, 0, 2, 2, 2], tf.int64), tf.constant([0, 1, 0, 1, 2], tf.int64)
    priorities.update(slot, step, tf.constant([1.0, -2.0, 0.5, 4.0, 0.5]))
    return priorities


def test_steps_are_drawn_as_often_as_their_priority_says():
    priorities = made()
    slots, steps = [], []
    for seed in range(400):  # shares of one batch are not independent: a few of each
        slot, step, _ = priorities.draw(5, tf.constant([seed, 7]))
        slots.append(slot), steps.append(step)
    cell = np.concatenate(slots) * 3 + np.concatenate(steps)
    result, counts = np.unique(cell, return_counts=True)
    np.testing.assert_array_equal(result, [0, 1, 6, 7, 8])
    expected = 2000 * np.array([1, 2, 0.5, 4, 0.5]) / 8
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_one_draw_from_each_share():
    slot, step, _ = made().draw(8, tf.constant([1, 2]))  # one unit of priority a share
    cell = slot.numpy() * 3 + step.numpy()
    np.testing.assert_array_equal(cell[:3], [0, 1, 1])
    assert set(cell[3:4]) <= {6, 7} and set(cell[7:]) <= {7, 8}
    np.testing.assert_array_equal(cell[4:7], [7, 7, 7])


def test_alpha_and_epsilon_by_hand():
    priorities = made(alpha=0.5, epsilon=0.25)
    expected = [[np.sqrt(1.25), 1.5, 0], [0, 0, 0], np.sqrt([0.75, 4.25, 0.75]), [0, 0, 0]]
    np.testing.assert_allclose(priorities.step, expected, rtol=1e-6)
    np.testing.assert_allclose(priorities.session, np.sum(expected, axis=1), rtol=1e-6)


def test_weights_by_hand():
    priorities = made(beta=0.5)
    slot, step, weight = priorities.draw(8, tf.constant([1, 2]))
    drawn = priorities.step.numpy()[slot, step]
    # (N p)^-beta over the largest in the batch: the rarest step drawn has weight 1.
    np.testing.assert_allclose(weight, (drawn / drawn.min()) ** -0.5, rtol=1e-6)
    assert weight.numpy().max() == 1.0


def test_beta_rises_to_one_with_the_draws():
    priorities = made(beta=0.5, beta_draws=4)
    seen = []
    for seed in range(6):
        seen.append(float(priorities.beta))
        priorities.draw(2, tf.constant([seed, 0]))
    assert seen == pytest.approx([0.5, 0.625, 0.75, 0.875, 1.0, 1.0])


def test_new_steps_get_the_largest_priority_and_old_ones_are_forgotten():
    priorities = made()
    priorities.add(tf.constant([2, 3], tf.int64), tf.constant([1, 2]))
    expected = [[1, 2, 0], [0, 0, 0], [4, 0, 0], [4, 4, 0]]
    np.testing.assert_array_equal(priorities.step, expected)
    np.testing.assert_array_equal(priorities.session, [3, 0, 4, 8])


def test_a_step_twice_in_a_batch_counts_once():
    priorities = made()
    slot, step = tf.constant([2, 2], tf.int64), tf.constant([1, 1], tf.int64)
    priorities.update(slot, step, tf.constant([3.0, 3.0]))
    np.testing.assert_array_equal(priorities.step[2], [0.5, 3.0, 0.5])
    assert float(priorities.session[2]) == 4.0


def test_sums_stay_those_of_the_steps():
    """After many changes over six orders of magnitude, nothing has drifted."""
    random = np.random.default_rng(3)
    config = prioritized.PriorityConfig(alpha=1.0)
    priorities = prioritized.Priorities(config, capacity=50, max_steps=20)
    length = random.integers(1, 21, 50)
    priorities.add(tf.range(50, dtype=tf.int64), tf.constant(length, tf.int32))
    for seed in range(100):
        slot, step, _ = priorities.draw(64, tf.constant([seed, 1]))
        assert (step.numpy() < length[slot]).all()
        priorities.update(slot, step, tf.constant(10 ** random.uniform(-3, 3, 64), tf.float32))
    np.testing.assert_allclose(priorities.session, np.sum(priorities.step, axis=1), rtol=1e-6)
