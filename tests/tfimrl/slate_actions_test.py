"""The critic input of a slate, and its gradient in the proto-action."""

import dataclasses

import numpy as np
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfimrl import slate_actions
from tfrec.environments import users
from tfrec.environments.ports import recogym, recsim
from tfrec.methods import action_adapter

ITEMS = tf.constant([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def test_the_forward_pass_is_the_slate():
    weights = tf.constant([[0.9, 0.1], [-0.5, 0.3]])
    made = slate_actions.relaxed_slate(weights, ITEMS, 2, 0.2)
    np.testing.assert_array_equal(made, [[1, 1, 1, 0], [0, 1, 1, 1]])
    np.testing.assert_array_equal(
        made, action_adapter.slate_features(action_adapter.slate(weights, ITEMS, 2), ITEMS)
    )
    of_each = tf.repeat(ITEMS[None], 2, axis=0)
    np.testing.assert_array_equal(slate_actions.relaxed_slate(weights, of_each, 2, 0.2), made)


def test_blocked_items_have_no_part_in_the_slate_and_the_gradient():
    weights, blocked = tf.constant([[0.9, 0.1]]), tf.constant([[False, False, True]])
    with tf.GradientTape() as tape:
        tape.watch(weights)
        made = slate_actions.relaxed_slate(weights, ITEMS, 1, 0.2, blocked)
    np.testing.assert_array_equal(made, [[1, 0]])
    left = slate_actions.relaxed_slate(weights, ITEMS[:2], 1, 0.2)
    np.testing.assert_array_equal(made, left)
    with tf.GradientTape() as other:
        other.watch(weights)
        left = slate_actions.relaxed_slate(weights, ITEMS[:2], 1, 0.2)
    np.testing.assert_allclose(tape.gradient(made, weights), other.gradient(left, weights))


def test_rows_store_previously_shown_items():
    vectors = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    spec = small.SPEC
    world = scripted.ScriptedWorld(dataclasses.replace(spec, num_items=3), repeats=False)
    environment = users.UserEnvironment(world, scripted.starts(3), vectors)
    actions = slate_actions.SlateActions(environment, 0.2)
    observation = tf.concat(
        [tf.zeros([1, environment.encoder.size]), [[2.0, 0, 0, 0, 0]]], axis=1
    )
    row = actions.row(tf.constant([[0.1, 0.9]]), tf.constant([[2]]), None, observation)
    assert row.shape == (1, actions.row_size) == (1, 2 + 2 + 5)
    parts = actions.split(row)
    np.testing.assert_allclose(parts.weights, [[0.1, 0.9]])
    np.testing.assert_array_equal(parts.shown, [[1, 1]])
    np.testing.assert_array_equal(parts.blocked, [[False, True, False]])
    shown = actions.relaxed(parts.weights, parts.items, parts.blocked)
    np.testing.assert_array_equal(shown, [[1, 1]])


def test_the_gradient_is_that_of_a_softmax_over_remaining_items():
    weights = tf.constant([[0.9, 0.1]])
    column_value = tf.constant([1.0, 2.0, 10.0, 20.0])  # of each column of the slate
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = tf.linalg.matvec(
            slate_actions.relaxed_slate(weights, ITEMS, 2, 0.5), column_value
        )
    gradient = tape.gradient(value, weights)[0]

    items = ITEMS.numpy().astype(np.float64)
    scores = items @ [0.9, 0.1]  # .9, .1, 1: the third is shown first

    def jacobian(rows, place):
        """The gradient of position . sum_i softmax_i items_i in the proto-action."""
        p = np.exp(scores[rows] / 0.5)
        p /= p.sum()
        gains = items[rows] @ place
        by_score = p * (gains - p @ gains) / 0.5
        return by_score @ items[rows]

    expected = jacobian([0, 1, 2], [1.0, 2.0]) + jacobian([0, 1], [10.0, 20.0])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_rows_store_the_candidates():
    simulator = recsim.InterestEvolution()
    shown = slate_actions.SlateActions(simulator, 0.2)
    assert (shown.size, shown.row_size) == (40, 20 + 40 + 200)
    state = simulator.reset(3, tf.constant([1, 2]))
    candidates = simulator.candidates(state)
    weights = tf.random.stateless_uniform([3, 20], [1, 1])
    action = action_adapter.slate(weights, candidates, 2)
    row = shown.row(weights, action, candidates, simulator.observation(state))
    parts = shown.split(row)
    np.testing.assert_array_equal(parts.weights, weights)
    np.testing.assert_array_equal(parts.items, candidates)
    np.testing.assert_array_equal(parts.shown, shown.relaxed(weights, candidates))


def test_a_constant_catalogue_is_not_stored():
    simulator = recogym.RecoGymV1(recogym.RecoGymV1Config(products=6, flips=2))
    shown = slate_actions.SlateActions(simulator, 0.2)
    assert (shown.size, shown.row_size) == (6, 12)
    weights = tf.eye(6)[:2]
    observation = simulator.observation(simulator.reset(2, tf.constant([1, 2])))
    parts = shown.split(shown.row(weights, tf.constant([[4], [1]]), None, observation))
    np.testing.assert_array_equal(parts.shown, tf.one_hot([4, 1], 6))
    np.testing.assert_array_equal(parts.items, tf.eye(6))
