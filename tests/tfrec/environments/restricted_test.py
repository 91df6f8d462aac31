"""Policies that ignore users, sessions or both, where the best of them is known."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import embedded_test
from tfrec import types
from tfrec.environments import contract, player, policies, restricted, user_models, users

CLICKS = np.array([1.0, 0.0])


class Catalogue:
    """Items with a click and an exit probability each, the same for every user and state.

    A user who has clicked item 1 never clicks it again.
    """

    fingerprint = "catalogue"

    def __init__(self, click, leave, steps, repeats):
        self.repeats = repeats
        self.spec = types.DataSpec(embedded_test.synthetic.FEEDBACK, len(click), 20, 4, steps)
        self._click, self._leave = (tf.constant([0.0, *x], tf.float32) for x in (click, leave))

    def reset(self, starts):
        return tf.zeros_like(starts.user, tf.bool)

    def responses(self, state, candidates):
        once = state[:, None] & (candidates == 1)
        click = tf.where(once, 0.0, tf.gather(self._click, candidates)[None])
        leave = tf.gather(self._leave, candidates)[None] + tf.zeros_like(click)
        return user_models.Responses(tf.stack([click, 0 * click], axis=-1), leave)

    def step(self, state, item, seed, distort=None):
        seeds = tf.random.experimental.stateless_split(seed, 2)
        shape = tf.shape(item)
        probability = tf.where(state & (item == 1), 0.0, tf.gather(self._click, item))
        click = tf.random.stateless_uniform(shape, seeds[0]) < probability
        left = tf.random.stateless_uniform(shape, seeds[1]) < tf.gather(self._leave, item)
        feedback = tf.stack([tf.cast(click, tf.float32), tf.zeros(shape)], axis=-1)
        return state | (click & (item == 1)), feedback, left


def starts(count=20):
    user = np.arange(1, count + 1, dtype=np.int32)
    return types.Starts(
        user, np.zeros((count, 4), np.int32), np.zeros((count, 4, 2), np.float32)
    )


def test_a_list_without_repeats_sorts_items_by_what_they_are_worth():
    # Nobody leaves after the items 2 to 4; item 1 is clicked most, and half of the users leave.
    world = Catalogue([0.9, 0.5, 0.8, 0.2], [0.5, 0.0, 0.0, 0.0], steps=3, repeats=False)
    greedy = restricted.fixed_list(world, starts(), CLICKS, [0.0], seed=0)
    assert greedy.items.tolist() == [1, 3, 2]
    assert greedy.value == pytest.approx(0.9 + 0.5 * (0.8 + 0.5))
    # At a cost of 2 for an exit item 1 is worth -.1, the least: 3, 2 and 4 earn 1.5, which is
    # less than 1.55; at a cost of .7 item 1 is worth .55 and comes second.
    result = restricted.fixed_list(world, starts(), CLICKS, [0.0, 0.7, 2.0], seed=0)
    assert result.items.tolist() == [3, 1, 2]
    assert result.value == pytest.approx(0.8 + 0.9 + 0.5 * 0.5)


def test_a_list_may_repeat_items_where_users_permit_it():
    world = Catalogue([0.3, 0.5, 0.4], [0.0, 0.0, 0.0], steps=4, repeats=True)
    result = restricted.fixed_list(world, starts(), CLICKS, [0.0], seed=0)
    assert result.items.tolist() == [2, 2, 2, 2]


def test_a_list_follows_the_states_that_users_reach():
    # Item 1 is clicked for sure, and then never again.
    world = Catalogue([1.0, 0.5], [0.0, 0.0], steps=3, repeats=True)
    result = restricted.fixed_list(world, starts(), CLICKS, [0.0], seed=0)
    assert result.items.tolist() == [1, 2, 2]
    assert result.value == pytest.approx(2.0)


def test_a_list_is_played_in_its_order():
    world = Catalogue([0.5, 0.5, 0.5], [0.0, 0.0, 0.0], steps=3, repeats=True)
    environment = users.UserEnvironment(world)
    played = player.Player(environment, restricted.play_list(np.array([3, 1, 2])))
    assert played.play(starts(5), seed=0).item.tolist() == [[3, 1, 2]] * 5


def test_the_constant_item_is_the_one_that_earns_most_in_a_session():
    # Over 5 steps item 1 earns 1 click at most, item 2 .6 (1 + .4 + .4^2 + ..) < 1, item 3 2.
    world = Catalogue([1.0, 0.6, 0.4], [0.0, 0.6, 0.0], steps=5, repeats=True)
    environment = users.UserEnvironment(world)
    assert restricted.best_constant_item(environment, starts(), seed=0) == 3


def test_a_constant_item_needs_repeats():
    world = Catalogue([0.5, 0.5], [0.0, 0.0], steps=2, repeats=False)
    with pytest.raises(ValueError, match="expected repeats"):
        restricted.best_constant_item(users.UserEnvironment(world), starts(), seed=0)


def test_a_memoryless_policy_does_not_see_the_session():
    # After a click on item 1 the world's own probabilities turn to item 2; those of the start
    # of the session do not.
    world = Catalogue([1.0, 0.5], [0.0, 0.0], steps=3, repeats=True)
    at_start = restricted.AtStart(world)
    seeing = users.UserEnvironment(world)
    blind = users.UserEnvironment(at_start)
    items = {
        "seeing": player.Player(seeing, policies.greedy(world, CLICKS)),
        "blind": player.Player(blind, policies.greedy(at_start, CLICKS)),
    }
    played = {name: runner.play(starts(4), seed=0) for name, runner in items.items()}
    assert played["seeing"].item.tolist() == [[1, 2, 2]] * 4
    assert played["blind"].item.tolist() == [[1, 1, 1]] * 4
    # The users themselves move on: item 1 is clicked once.
    assert played["blind"].feedback[..., 0].sum(axis=1).tolist() == [1.0] * 4


def test_users_respond_alike_beside_a_memoryless_policy():
    world, _ = embedded_test.world()
    begin = embedded_test.starts(world)
    sessions = [
        player.Player(users.UserEnvironment(each), restricted.play_list(np.arange(1, 13))).play(
            begin, seed=3
        )
        for each in (world, restricted.AtStart(world))
    ]
    for one, other in zip(*sessions, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_fixed_list_of_the_embedded_world_earns_more_than_random_items():
    world, _ = embedded_test.world()
    environment = users.UserEnvironment(world)
    begin = embedded_test.starts(world, times=10)
    result = restricted.fixed_list(world, begin, CLICKS, [0.0, 1.0, 2.0, 4.0], seed=0)

    def reward(policy):
        played = player.Player(environment, policy).play(begin, seed=1)
        return played.feedback[..., 0].sum(axis=1).mean()

    listed = reward(restricted.play_list(result.items))
    # Expected clicks of the construction are those of played sessions.
    assert listed == pytest.approx(result.value, rel=0.1)
    assert listed > 1.3 * reward(contract.random_policy(environment))
