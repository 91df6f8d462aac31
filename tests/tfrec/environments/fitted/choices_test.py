"""The mathematics of the adversarial user model, by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments.fitted import choices


def test_choice_probabilities_with_nothing_among_them():
    # eta r = log 2, log 5: weights 1 (nothing), 2 and 5.
    reward = tf.constant([[math.log(2.0) / 2, math.log(5.0) / 2]])
    phi = tf.exp(choices.log_probabilities(reward, eta=2.0))
    np.testing.assert_allclose(phi, [[1 / 8, 2 / 8, 5 / 8]], rtol=1e-6)


def test_a_display_of_one_item_is_a_logistic_choice():
    phi = tf.exp(choices.log_probabilities(tf.constant([[1.5]]), eta=1.0))
    np.testing.assert_allclose(phi[0, 1], 1 / (1 + math.exp(-1.5)), rtol=1e-6)


def test_the_choice_that_was_made():
    values = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    result = choices.of_choice(values, tf.constant([True, False]))
    np.testing.assert_array_equal(result, [2.0, 4.0])


def test_value_of_a_behaviour_by_hand():
    # Half nothing, half an item of reward 3: 1.5 + log(2) / 2.
    phi = tf.math.log(tf.constant([[0.5, 0.5]]))
    value = choices.behaviour_value(phi, tf.constant([[0.0, 3.0]]), eta=2.0)
    np.testing.assert_allclose(value, [1.5 + math.log(2.0) / 2], rtol=1e-6)


def test_the_softmax_is_the_best_behaviour():
    eta, reward = 0.7, tf.constant([[1.0, -2.0, 0.5]])
    best = choices.log_probabilities(reward, eta)
    with_nothing = choices.with_nothing(reward)
    value = choices.behaviour_value(best, with_nothing, eta).numpy()
    sum_of_weights = 1 + np.exp(eta * reward.numpy()).sum()
    np.testing.assert_allclose(value, [math.log(sum_of_weights) / eta], rtol=1e-6)
    rng = np.random.default_rng(0)
    for logits in rng.normal(size=(20, 1, 4)).astype(np.float32):
        other = choices.behaviour_value(tf.nn.log_softmax(logits), with_nothing, eta)
        assert other.numpy() < value


@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_minimax_losses_and_the_signs_of_their_gradients(eta):
    phi = tf.Variable([[0.0, 0.3, -0.2], [0.0, 1.0, 0.4]])  # logits of the behaviour
    reward = tf.Variable([[0.0, 2.0, 1.0], [0.0, -1.0, 0.5]])
    clicked = tf.constant([True, False])
    with tf.GradientTape(persistent=True) as tape:
        log_phi = tf.nn.log_softmax(phi)
        behaviour, user = choices.minimax_losses(log_phi, reward, clicked, eta)
    probability = tf.nn.softmax(phi).numpy()
    value = (probability * (reward.numpy() - np.log(probability) / eta)).sum(axis=1)
    np.testing.assert_allclose(behaviour, -value.mean(), rtol=1e-5)
    np.testing.assert_allclose(user, (value - [2.0, 0.0]).mean(), rtol=1e-5)
    # The reward of a choice that was made rises with a descent step, that of the others falls.
    selected = np.array([[0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(
        tape.gradient(user, reward), (probability - selected) / 2, rtol=1e-5
    )
    assert tape.gradient(user, phi) is None and tape.gradient(behaviour, reward) is None
    # A descent step of the behaviour makes its value larger.
    moved = phi - 0.01 * tape.gradient(behaviour, phi)
    after = choices.behaviour_value(tf.nn.log_softmax(moved), reward, eta)
    assert tf.reduce_mean(after) > value.mean()


def test_at_the_softmax_the_reward_s_gradient_is_that_of_the_likelihood():
    reward = tf.Variable([[2.0, 1.0], [-1.0, 0.5]])
    clicked, eta = tf.constant([True, False]), 1.7
    phi = choices.log_probabilities(reward, eta)
    with tf.GradientTape(persistent=True) as tape:
        with_nothing = choices.with_nothing(reward)
        _, user = choices.minimax_losses(phi, with_nothing, clicked, eta)
        log_probability = choices.log_probabilities(reward, eta)
        nats = -tf.reduce_mean(choices.of_choice(log_probability, clicked))
    np.testing.assert_allclose(
        eta * tape.gradient(user, reward), tape.gradient(nats, reward), rtol=1e-5
    )


def test_position_weights_by_hand():
    clicked = tf.constant([[[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]])  # M = 3, E = 2
    weights = tf.constant([[1.0, 0.0], [0.5, -1.0], [2.0, 0.0]])  # N = 2
    bias = tf.constant([[0.0, 0.5], [0.0, 1.0]])
    # Weighting 1: [1 + 6, 1 + 2 + .5]; weighting 2: [0, -2 + 1], whose ELU is exp(-1) - 1.
    result = choices.position_weighted(clicked, weights, bias)
    np.testing.assert_allclose(result, [[7.0, 3.5, 0.0, math.exp(-1) - 1]], rtol=1e-6)


def test_the_query_of_similar_items_by_hand():
    # The first user has three clicks, the second none.
    clicked = tf.constant([[[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [2.0, 1.0]], [[0.0, 0.0]] * 4])
    is_item = tf.constant([[False, True, True, True], [False] * 4])
    result = choices.similarity_query(clicked, is_item, tf.constant(3.0))
    # 3 (6, 4) / sqrt(4)
    np.testing.assert_allclose(result, [[9.0, 6.0], [0.0, 0.0]], rtol=1e-6)


def test_latest_clicks_by_hand():
    item = tf.constant([[5, 6, 7, 8], [0, 4, 3, 2]])
    clicked = tf.constant([[True, False, True, True], [False, False, True, False]])
    packed, before = choices.latest_clicks(item, clicked, count=2)
    np.testing.assert_array_equal(packed, [[0, 0, 5, 7, 8, 0], [0, 0, 3, 0, 0, 0]])
    np.testing.assert_array_equal(before, [[0, 1, 1, 2, 3], [0, 0, 0, 1, 1]])
    row = tf.constant([0, 0, 0, 1, 1])
    at = tf.constant([0, 2, 4, 0, 4])
    result = choices.window(packed, row, tf.gather_nd(before, tf.stack([row, at], 1)), 2)
    np.testing.assert_array_equal(result, [[0, 0], [0, 5], [7, 8], [0, 0], [0, 3]])
