import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec.environments import policies, session
from tfrec.ops import selection

SEED = tf.constant([1, 2])


def play(policy, repeats=True, batch=7, seed=SEED):
    world = scripted.ScriptedWorld(small.SPEC, repeats)
    rollout = tf.function(
        lambda seed: session.rollout(world, policy, scripted.starts(batch), seed)
    )
    return small.types.Episodes(*(part.numpy() for part in rollout(seed)))


def step_plus_one(timestep):
    return timestep.observation.step + 1


def test_sessions_end_where_the_user_leaves_or_at_the_cap():
    episodes = play(step_plus_one)
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
    episodes = play(step_plus_one)
    np.testing.assert_array_equal(episodes.user, starts.user)
    np.testing.assert_array_equal(episodes.history_item, starts.history_item)
    np.testing.assert_array_equal(episodes.history_feedback, starts.history_feedback)


def test_the_policy_sees_the_window_that_ends_now():
    """Each choice is recomputed from the history and the session as they were stored."""
    episodes = play(scripted.by_observation(small.SPEC), batch=35)
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
        chosen = policy(session.SessionTimestep(seen, None, None, SEED)).numpy()
        np.testing.assert_array_equal(chosen[live], episodes.item[live, step])


def test_blocked_items_are_those_shown_in_this_session():
    many = 200
    random = policies.random(small.SPEC.num_items)
    once = play(random, repeats=False, batch=many)
    twice = play(random, repeats=True, batch=many)

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
    random = policies.random(small.SPEC.num_items)
    first, again = play(random), play(random)
    np.testing.assert_array_equal(first.item, again.item)
    assert (play(random, seed=tf.constant([1, 3])).item != first.item).any()


LONG = dataclasses.replace(small.SPEC, max_steps=83, num_items=90)
ONE_STRETCH = 1000


def play_long(world, policy, batch, monkeypatch, whole=None):
    """Sessions of up to 83 steps, in rollouts or (`whole`) in one go."""
    if whole:
        monkeypatch.setattr(session, "_WHOLE", whole)
    starts = scripted.starts(batch)._replace(user=tf.range(1, batch + 1))
    episodes = tf.function(lambda: session.rollout(world, policy, starts, SEED))()
    return small.types.Episodes(*(part.numpy() for part in episodes))


@pytest.mark.parametrize("repeats", [True, False])
def test_stretches_change_nothing_where_nothing_is_drawn(monkeypatch, repeats):
    world = scripted.ScriptedWorld(LONG, repeats)
    offset = tf.constant(np.random.default_rng(0).permutation(100), tf.int32)

    def policy(timestep):  # unlike for each session, and never the same item twice
        own = timestep.own(offset) + timestep.world["user"]
        return (own + timestep.observation.step) % 90 + 1

    rollouts = play_long(world, policy, 100, monkeypatch)
    whole = play_long(world, policy, 100, monkeypatch, ONE_STRETCH)
    for name, expected in whole._asdict().items():
        np.testing.assert_array_equal(getattr(rollouts, name), expected, err_msg=name)
    # User u leaves after u steps; the cap is 83.
    assert rollouts.length.tolist() == [*range(1, 83), *[83] * 18]
    assert rollouts.exited.tolist() == [True] * 83 + [False] * 17


def test_the_window_goes_on_from_one_stretch_to_the_next(monkeypatch):
    world = scripted.ScriptedWorld(LONG, repeats=True)
    policy = scripted.by_observation(LONG)
    rollouts = play_long(world, policy, 60, monkeypatch)
    whole = play_long(world, policy, 60, monkeypatch, ONE_STRETCH)
    np.testing.assert_array_equal(rollouts.item, whole.item)
    np.testing.assert_array_equal(rollouts.feedback, whole.feedback)


def test_stretches_leave_the_statistics_as_they_are(monkeypatch):
    world, policy = scripted.RestlessWorld(LONG), policies.random(90)
    rollouts = play_long(world, policy, 4000, monkeypatch)
    again = play_long(world, policy, 4000, monkeypatch)
    whole = play_long(world, policy, 4000, monkeypatch, ONE_STRETCH)
    np.testing.assert_array_equal(rollouts.item, again.item)  # the same seed, the same
    assert (rollouts.item[:, :16] == whole.item[:, :16]).all()
    assert (rollouts.item[:, 16:] != whole.item[:, 16:]).any()
    long = rollouts.length > 32
    assert long.sum() > 50
    # Leaving with a chance of 1/10: means 10 steps, those that last 32 another 10.
    for episodes in (rollouts, whole):
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


def test_best_passes_over_what_is_blocked():
    scores = tf.constant([[1.0, 3.0, 2.0], [-5.0, -9.0, -7.0]])
    assert selection.best_item(scores, None).numpy().tolist() == [2, 1]
    blocked = tf.constant([[False, True, False], [True, False, True]])
    assert selection.best_item(scores, blocked).numpy().tolist() == [3, 2]


@pytest.mark.parametrize("few", [3, 50])  # of 50 items; 3: most tries meet none
def test_a_drawn_item_is_each_of_those_not_blocked_as_likely(few):
    blocked = np.ones((6000, 50), bool)
    free = np.linspace(0, 49, few).astype(int)
    blocked[:, free] = False
    chosen = session.drawn(6000, 50, tf.constant(blocked), tf.constant([1, 2])).numpy()
    counts = np.bincount(chosen - 1, minlength=50)
    assert counts.sum() == counts[free].sum()
    # Four standard errors of a share of 1 / few, for each.
    error = np.sqrt((1 / few) * (1 - 1 / few) / 6000)
    np.testing.assert_allclose(counts[free] / 6000, 1 / few, atol=4 * error)
    assert len(np.unique(session.drawn(6000, 50, None, tf.constant([1, 2])))) == 50


def test_starts_are_the_first_fields_of_sessions():
    episodes = small.sessions()
    starts = session.starts_of(episodes)
    assert starts.user is episodes.user
    assert starts.history_item is episodes.history_item
    assert starts.history_feedback is episodes.history_feedback
