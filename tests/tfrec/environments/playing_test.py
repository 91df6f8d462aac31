"""Whole sessions of a policy: side by side, or one after the other in fewer places."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments import contract, playing

SEED = tf.constant([1, 2])


class Count(NamedTuple):
    step: tf.Tensor  # taken in this session
    length: tf.Tensor  # of this session
    mark: tf.Tensor  # of this session


class Counting:
    """Sessions of 1 to 4 steps; each step of one is worth its mark, the first is clicked."""

    observation_size = 1
    slate_size = 0
    action_size = 1
    catalogue = None
    shown_columns = None

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
    asked = []

    def policy(timestep):
        asked.append(timestep.observation.shape[0])
        return timestep.observation

    run = tf.function(
        lambda seed: playing.play(Counting(), policy, sessions, seed, **arguments)
    )
    return playing.Played(*(part.numpy() for part in run(SEED))), asked[0]


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


def test_rates():
    played = playing.Played(
        reward=np.array([2.0, 4.0]), clicks=np.array([1.0, 1.0]), shown=np.array([2.0, 8.0]),
        steps=np.array([2, 8]),
    )  # fmt: skip
    found = playing.rates(played)
    assert found["ctr"] == 0.2 and found["reward"] == 3.0 and found["steps"] == 5.0
    assert found["reward_error"] == pytest.approx(1.0)
    # Residuals 1 - .2 * 2 and 1 - .2 * 8: spread .6 sqrt(2), over a mean of 5 and sqrt(2).
    assert found["ctr_error"] == pytest.approx(0.12)
