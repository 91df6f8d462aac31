"""The one-step user model finds a known rule, and answers by it."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tests.tfrec.environments import known_users
from tfrec import types
from tfrec.baselines import simulated_replay, window_user
from tfrec.data import item_vectors
from tfrec.replay.transitions import TransitionReplay

SIZES = {"embedding": 8, "units": 8, "state": 16, "hidden": 32}
SEED = tf.constant([1, 2])


def real_steps(count, seed):
    """Steps of sessions that it was not fitted on, by the same rule (see known_users)."""
    replay = TransitionReplay(known_users.SPEC, 1200, discount=1.0)
    episodes = types.constants(known_users.log(seed=1))
    replay.add(episodes, episodes.feedback[..., 0])
    return simulated_replay.real_steps(replay.sample(count, tf.constant(seed)))


def answer(steps):
    feedback = steps.next_observation.history_feedback[:, -1]
    return window_user.Answer(feedback, steps.reward, steps.stays == 0.0)


@pytest.fixture(scope="module")
def fitted():
    tf_keras.utils.set_random_seed(3)
    vectors = item_vectors.co_click_vectors(known_users.log(), known_users.NUM_ITEMS, 8)
    user = window_user.WindowUser(known_users.SPEC, vectors, SIZES)
    # Falling, so that the last batches do not tilt the fit.
    rate = tf_keras.optimizers.schedules.CosineDecay(1e-2, 250)
    optimizer = tf_keras.optimizers.Adam(rate)
    optimizer.build(user.trainable_variables)
    replay = TransitionReplay(known_users.SPEC, 1200, discount=1.0)
    episodes = types.constants(known_users.log())
    replay.add(episodes, episodes.feedback[..., 0])

    @tf.function
    def fit(first, updates):
        first_loss = loss = tf.constant(0.0)
        for number in tf.range(updates):
            steps = simulated_replay.real_steps(replay.sample(256, tf.stack([first, number])))
            with tf.GradientTape() as tape:
                loss, _ = user.loss(steps.observation, steps.item, answer(steps), SEED)
            variables = user.network.trainable_variables
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(
                (g, v) for g, v in zip(gradients, variables, strict=True) if g is not None
            )
            first_loss = tf.where(number == 0, loss, first_loss)
        return first_loss, loss

    before, after = fit(tf.constant(7), tf.constant(250))
    return user, float(before), float(after)


def test_its_loss_falls_to_what_the_rule_leaves(fitted):
    user, before, after = fitted
    assert after < 0.85 * before
    steps = real_steps(4000, (5, 6))
    _, parts = user.loss(steps.observation, steps.item, answer(steps), SEED)
    # Entropies by hand: of .8/.2 if the user's kind is known and of a fair coin if not;
    # of exits .4 and .1, in equal shares, against one of their mean.
    entropy = lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p)  # noqa: E731
    assert entropy(0.8) - 0.03 < float(parts["click"]) < 0.5 * (entropy(0.8) + entropy(0.5))
    exits = (entropy(0.4) + entropy(0.1)) / 2
    assert exits - 0.03 < float(parts["exit"]) < (exits + entropy(0.25)) / 2


def test_its_answers_follow_the_rule(fitted):
    user, _, _ = fitted
    steps = real_steps(6000, (8, 9))
    item = tf.random.stateless_uniform([6000], [3, 4], 1, known_users.NUM_ITEMS + 1, tf.int32)
    drawn = user.answer(steps.observation, item, tf.constant([5, 6]))
    odd = item.numpy() % 2 == 1
    exited, click = drawn.exited.numpy(), drawn.feedback.numpy()[:, 0]
    assert exited[odd].mean() == pytest.approx(0.4, abs=0.1)
    assert exited[~odd].mean() == pytest.approx(0.1, abs=0.1)
    # A reward is what a click is worth on average, and likes and seconds come with clicks.
    assert float(tf.reduce_mean(drawn.reward)) == pytest.approx(click.mean(), abs=0.04)
    like, seconds = drawn.feedback.numpy()[:, 1], drawn.feedback.numpy()[:, 2]
    assert like[click == 0].mean() < 0.05
    assert like[click == 1].mean() == pytest.approx(0.5, abs=0.1)
    assert seconds[click == 0].mean() < 1.0
    # The expectation of log(1 + x / scale), mapped back: near the median of 7.4 seconds.
    assert seconds[click == 1].mean() == pytest.approx(np.exp(2.0), rel=0.2)
    # Where many clicks have shown the user's kind, it clicks its kind: .8 against .2.
    history = steps.observation
    second = history.history_item.numpy() > known_users.NUM_ITEMS // 2
    liked = history.history_feedback.numpy()[..., 0] * (history.history_item.numpy() > 0)
    lean = (liked * np.where(second, 1, -1)).sum(axis=1)
    suits = (lean > 0) == (item.numpy() > known_users.NUM_ITEMS // 2)
    sure = np.abs(lean) >= 3
    assert click[sure & suits].mean() > 0.65
    assert click[sure & ~suits].mean() < 0.35
    again = user.answer(steps.observation, item, tf.constant([5, 6]))
    np.testing.assert_array_equal(again.exited, exited)


def test_a_window_moves_by_one_event():
    now = small.observations(5)
    item = tf.constant([1, 2, 3, 4, 5])
    feedback = tf.constant(np.arange(10).reshape(5, 2), tf.float32)
    after = window_user.shifted(now, item, feedback)
    np.testing.assert_array_equal(after.history_item[:, :-1], now.history_item[:, 1:])
    np.testing.assert_array_equal(after.history_item[:, -1], item)
    np.testing.assert_array_equal(after.history_feedback[:, :-1], now.history_feedback[:, 1:])
    np.testing.assert_array_equal(after.history_feedback[:, -1], feedback)
    np.testing.assert_array_equal(after.step, now.step + 1)
