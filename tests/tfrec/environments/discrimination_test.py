"""What a world can tell about recommenders, on worlds whose answers are known."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import embedded_test
from tfrec import types
from tfrec.environments import discrimination, user_models


class Tastes:
    """Users who like items of their own parity, the more the longer they stay.

    The logit of a click is `taste` (1 + steps taken) where item and user are both even or both
    odd, else 0; that of an exit is the item's number.
    """

    repeats = True
    fingerprint = "tastes"

    def __init__(self, users, items, taste):
        self.spec = types.DataSpec(embedded_test.synthetic.FEEDBACK, items, users, 4, 10)
        self.taste = taste

    def reset(self, starts):
        return (starts.user, tf.zeros_like(starts.user))

    def responses(self, state, candidates):
        user, step = state
        same = tf.cast((user[:, None] + candidates) % 2 == 0, tf.float32)
        click = tf.sigmoid(self.taste * same * tf.cast(1 + step, tf.float32)[:, None])
        leave = tf.sigmoid(tf.cast(candidates, tf.float32)[None] + tf.zeros_like(click))
        return user_models.Responses(tf.stack([click, click], axis=-1), leave)

    def step(self, state, item, seed, distort=None):
        user, step = state
        nothing = tf.zeros([tf.shape(user)[0], 2])
        return (user, step + 1), nothing, tf.ones_like(user, tf.bool)  # who stays is played


def starts(users):
    user = np.arange(1, users + 1, dtype=np.int32)
    return types.Starts(
        user, np.zeros((users, 4), np.int32), np.zeros((users, 4, 2), np.float32)
    )


def test_logits_are_those_of_the_states_after_so_many_steps():
    world = Tastes(users=2, items=3, taste=0.5)
    steps = np.array([[0, 3], [2, 1]])
    result = discrimination.logits(world, starts(2), steps, np.array([1, 2]), seed=0)
    # User 1 likes item 1, user 2 item 2.
    expected = [[[0.5, 0], [2.0, 0]], [[0, 1.5], [0, 1.0]]]
    np.testing.assert_allclose(result.click, expected, atol=1e-5)
    np.testing.assert_allclose(result.exit, np.broadcast_to([1.0, 2.0], (2, 2, 2)), atol=1e-5)


def test_a_world_of_tastes_can_tell_users_apart_and_its_exit_cannot():
    world = Tastes(users=40, items=10, taste=1.0)
    steps = np.zeros([40, 2], np.int64)
    result = discrimination.logits(world, starts(40), steps, np.arange(1, 11), seed=0)
    parts = discrimination.components(result)
    assert parts["click"].interaction == pytest.approx(1, abs=0.01)
    assert parts["click"].shares()["user_item"] == pytest.approx(1, abs=0.01)
    assert parts["exit"].interaction == pytest.approx(0, abs=1e-6)
    assert parts["exit"].shares()["item"] == pytest.approx(1, abs=1e-6)


def test_a_world_of_counts_is_all_item():
    result = discrimination.Logits(
        *(np.broadcast_to(np.arange(5.0), (6, 2, 5)) for _ in range(2))
    )
    for part in discrimination.components(result).values():
        assert part.shares() == pytest.approx(
            {"user": 0, "item": 1, "state": 0, "user_item": 0, "state_item": 0}
        )


def test_the_embedded_truth_has_taste_in_its_clicks_and_none_in_its_exits():
    world, _ = embedded_test.world()
    steps = np.tile([0, 4, 8], (40, 1))
    result = discrimination.logits(
        world, embedded_test.starts(world), steps, np.arange(1, 31), seed=1
    )
    parts = discrimination.components(result)
    # The click asks for taste; the exit for fatigue, which items move by one step at most.
    assert parts["click"].shares()["user_item"] > 0.5
    assert parts["exit"].shares()["state"] > 0.8
    assert parts["exit"].shares()["user_item"] == pytest.approx(0, abs=1e-6)


def test_sampled_states_and_items_are_those_of_logged_sessions():
    # Sessions have one step: every state is the start, where the logit is `taste` or 0.
    world = Tastes(users=6, items=8, taste=0.5)
    logits = discrimination.sampled(
        world, starts(6), np.array([1, 1]), states=3, items=8, seed=0
    )
    assert logits.click.shape == (6, 3, 8)
    np.testing.assert_allclose(np.unique(logits.click.round(5)), [0.0, 0.5], atol=1e-5)
    # All items once: exits have the items' numbers as logits.
    np.testing.assert_allclose(np.sort(logits.exit[0, 0]), np.arange(1.0, 9.0), atol=1e-4)
    again = discrimination.sampled(
        world, starts(6), np.array([1, 1]), states=3, items=8, seed=0
    )
    np.testing.assert_array_equal(logits.exit, again.exit)
