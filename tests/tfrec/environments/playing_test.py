"""Whole sessions of a policy: totals, in all or in fewer places, and recorded sessions."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec.environments import contract, playing, users

SEED = tf.constant([1, 2])


class Count(NamedTuple):
    step: tf.Tensor  # taken in this session
    length: tf.Tensor  # of this session
    mark: tf.Tensor  # of this session


class Counting(contract.Simulator):
    """Sessions of 1 to 4 steps; each step of one is worth its mark, the first is clicked."""

    observation_size = 1
    slate_size = 0
    action_size = 1
    catalogue = None

    def reset(self, batch, seed):
        length = tf.random.stateless_uniform([batch], seed, 1, 5, tf.int32)
        mark = tf.random.stateless_uniform([batch], seed + 1)
        return Count(tf.zeros_like(length), length, mark)

    def observation(self, state):
        return tf.cast(state.length - state.step, tf.float32)[:, None]

    def candidates(self, state):
        return None

    def step(self, state, action, seed):
        after = state._replace(step=state.step + 1)
        clicks = tf.cast(state.step == 0, tf.float32)
        done = after.step >= state.length
        return contract.Outcome(after, state.mark, clicks, tf.ones_like(clicks), done)


def play(sessions, **arguments):
    request = []

    def policy(timestep):
        request.append(timestep.observation.shape[0])
        return timestep.observation

    run = tf.function(
        lambda seed: playing.play(Counting(), policy, sessions, seed, **arguments)
    )
    return playing.Played(*(part.numpy() for part in run(SEED))), request[0]


@pytest.mark.parametrize("at_once", [None, 1, 3, 10, 99])
def test_every_session_is_played_to_its_end_wherever_it_is_played(at_once):
    played, places = play(10, at_once=at_once)
    assert places == min(at_once or 10, 10)
    np.testing.assert_array_equal(played.clicks, np.ones(10))  # each has one first step
    np.testing.assert_array_equal(played.shown, played.steps)
    assert played.steps.min() >= 1 and played.steps.max() <= 4
    marks = played.reward / played.steps
    assert len(np.unique(marks.round(5))) == 10, "no reward of one session is in another"


def test_few_places_play_sessions_like_many():
    for at_once in (None, 50):
        played, _ = play(4_000, at_once=at_once)
        assert played.steps.mean() == pytest.approx(2.5, abs=0.08)
        shares = np.bincount(played.steps, minlength=5)[1:] / 4_000
        np.testing.assert_allclose(shares, 0.25, atol=0.03)


@pytest.mark.parametrize("at_once", [None, 3])
def test_long_sessions_are_cut(at_once):
    played, _ = play(10, at_once=at_once, max_steps=2)
    assert played.steps.max() == 2
    np.testing.assert_array_equal(played.clicks, np.ones(10))


def test_the_same_seed_plays_the_same():
    first, _ = play(10, at_once=3)
    again, _ = play(10, at_once=3)
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Recorded sessions of users of a catalogue.

ENVIRONMENT = users.UserEnvironment(scripted.ScriptedWorld(small.SPEC, repeats=True))


def recorded(policy, repeats=True, batch=7, seed=SEED):
    environment = users.UserEnvironment(scripted.ScriptedWorld(small.SPEC, repeats))
    rollout = tf.function(
        lambda seed: playing.rollout(environment, policy, scripted.starts(batch), seed)
    )
    return small.types.rows(rollout(seed), slice(None))


def position_by_step(timestep):
    return timestep.history.step[:, None]


def test_sessions_end_where_the_user_leaves_or_at_the_cap():
    episodes = recorded(position_by_step)
    # Users 1..7 leave after as many steps; the cap is five.
    assert episodes.length.tolist() == [1, 2, 3, 4, 5, 5, 5]
    assert episodes.exited.tolist() == [True] * 5 + [False] * 2
    full = [1, 2, 3, 4, 5]
    short = [[1, 0, 0, 0, 0], [1, 2, 0, 0, 0], [1, 2, 3, 0, 0], [1, 2, 3, 4, 0]]
    np.testing.assert_array_equal(episodes.item, [*short, full, full, full])
    np.testing.assert_allclose(episodes.feedback[2, :, 0], [1, 0, 1, 0, 0])
    np.testing.assert_allclose(episodes.feedback[2, :, 1], [1.1, 2.2, 3.3, 0, 0], rtol=1e-6)


def test_the_start_is_handed_through():
    starts = scripted.starts(7)
    episodes = recorded(position_by_step)
    np.testing.assert_array_equal(episodes.user, starts.user)
    np.testing.assert_array_equal(episodes.history_item, starts.history_item)
    np.testing.assert_array_equal(episodes.history_feedback, starts.history_feedback)


def test_the_policy_sees_the_window_that_ends_now():
    """Each choice is recomputed from the history and the session as they were stored."""
    episodes = recorded(scripted.by_observation(small.SPEC), batch=35)
    item = np.concatenate([episodes.history_item, episodes.item], axis=1)
    feedback = np.concatenate([episodes.history_feedback, episodes.feedback], axis=1)
    policy = scripted.by_observation(small.SPEC)
    for step in range(small.SPEC.max_steps):
        live = episodes.length > step
        seen = small.types.Observation(
            item[:, step : step + 4],
            feedback[:, step : step + 4],
            np.full(35, step, np.int32),
        )
        action = policy(contract.history_timestep(seen, SEED)).numpy()
        np.testing.assert_array_equal(action[live, 0] + 1, episodes.item[live, step])


def test_blocked_items_are_those_shown_in_this_session():
    many = 200
    random = contract.random_policy(ENVIRONMENT)
    once = recorded(random, repeats=False, batch=many)
    twice = recorded(random, repeats=True, batch=many)

    def repeated(episodes):
        shown = [
            row[:length].tolist()
            for row, length in zip(episodes.item, episodes.length, strict=True)
        ]
        return sum(len(set(row)) < len(row) for row in shown)

    assert repeated(once) == 0
    assert repeated(twice) > many / 4
    # Items of the history may come again: they are not of this session.
    history = [set(row.tolist()) - {0} for row in once.history_item]
    assert any(set(row.tolist()) & seen for row, seen in zip(once.item, history, strict=True))


def test_the_same_seed_gives_the_same_sessions():
    random = contract.random_policy(ENVIRONMENT)
    first, again = recorded(random), recorded(random)
    np.testing.assert_array_equal(first.item, again.item)
    assert (recorded(random, seed=tf.constant([1, 3])).item != first.item).any()


LONG = dataclasses.replace(small.SPEC, max_steps=83, num_items=90)
ONE_SEGMENT = 1000


def play_long(world, policy, batch, monkeypatch, whole=None):
    """Sessions of up to 83 steps, in segments or (`whole`) in one go."""
    if whole:
        monkeypatch.setattr(playing, "_WHOLE", whole)
    starts = scripted.starts(batch)._replace(user=tf.range(1, batch + 1))
    environment = users.UserEnvironment(world)
    episodes = tf.function(lambda: playing.rollout(environment, policy, starts, SEED))()
    return small.types.rows(episodes, slice(None))


@pytest.mark.parametrize("repeats", [True, False])
def test_segments_change_nothing_where_nothing_is_drawn(monkeypatch, repeats):
    world = scripted.ScriptedWorld(LONG, repeats)
    offset = tf.constant(np.random.default_rng(0).permutation(100), tf.int32)

    def policy(timestep):  # unlike for each session, and never the same item twice
        first = timestep.per_session(offset) + timestep.state.world["user"]
        return (first + timestep.history.step)[:, None] % 90

    segments = play_long(world, policy, 100, monkeypatch)
    whole = play_long(world, policy, 100, monkeypatch, ONE_SEGMENT)
    for name, expected in whole._asdict().items():
        np.testing.assert_array_equal(getattr(segments, name), expected, err_msg=name)
    # User u leaves after u steps; the cap is 83.
    assert segments.length.tolist() == [*range(1, 83), *[83] * 18]
    assert segments.exited.tolist() == [True] * 83 + [False] * 17


def test_the_window_goes_on_from_one_segment_to_the_next(monkeypatch):
    world = scripted.ScriptedWorld(LONG, repeats=True)
    policy = scripted.by_observation(LONG)
    segments = play_long(world, policy, 60, monkeypatch)
    whole = play_long(world, policy, 60, monkeypatch, ONE_SEGMENT)
    np.testing.assert_array_equal(segments.item, whole.item)
    np.testing.assert_array_equal(segments.feedback, whole.feedback)


def test_segments_leave_the_statistics_as_they_are(monkeypatch):
    world = scripted.RestlessWorld(LONG)
    policy = contract.random_policy(users.UserEnvironment(world))
    segments = play_long(world, policy, 4000, monkeypatch)
    again = play_long(world, policy, 4000, monkeypatch)
    whole = play_long(world, policy, 4000, monkeypatch, ONE_SEGMENT)
    np.testing.assert_array_equal(segments.item, again.item)  # the same seed, the same
    assert (segments.item[:, :16] == whole.item[:, :16]).all()
    assert (segments.item[:, 16:] != whole.item[:, 16:]).any()
    long = segments.length > 32
    assert long.sum() > 50
    # Leaving with a chance of 1/10: means 10 steps, those that last 32 another 10.
    for episodes in (segments, whole):
        error = episodes.length.std() / np.sqrt(4000)
        assert abs(episodes.length.mean() - 10 * (1 - 0.9**83)) < 4 * error
        rest = episodes.length[episodes.length > 32] - 32
        assert abs(rest.mean() - 10 * (1 - 0.9**51)) < 4 * rest.std() / np.sqrt(len(rest))
        live = np.arange(83) < episodes.length[:, None]
        clicks = episodes.feedback[..., 0][live & (np.arange(83) >= 32)]
        assert abs(clicks.mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / len(clicks))
        shown = episodes.item[:, 32:][live[:, 32:]]
        assert abs(shown.mean() - 45.5) < 4 * 26 / np.sqrt(len(shown))
        assert (episodes.item[~live] == 0).all() and (episodes.feedback[~live] == 0).all()
        # Each row keeps its user, and no item comes twice.
        amount = np.where(live, np.arange(1, 4001)[:, None], 0)
        np.testing.assert_array_equal(episodes.feedback[..., 1], amount)
        for row, steps in zip(episodes.item[long], episodes.length[long], strict=True):
            assert len(set(row[:steps])) == steps


def test_rates():
    played = playing.Played(
        reward=np.array([2.0, 4.0]), clicks=np.array([1.0, 1.0]), shown=np.array([2.0, 8.0]),
        steps=np.array([2, 8]),
    )  # fmt: skip
    result = playing.rates(played)
    assert result["ctr"] == 0.2 and result["reward"] == 3.0 and result["steps"] == 5.0
    assert result["reward_error"] == pytest.approx(1.0)
    # Residuals 1 - .2 * 2 and 1 - .2 * 8: spread .6 sqrt(2), over a mean of 5 and sqrt(2).
    assert result["ctr_error"] == pytest.approx(0.12)
