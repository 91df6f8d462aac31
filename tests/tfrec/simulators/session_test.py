import numpy as np
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.simulators import scripted
from tfrec.baselines import controls
from tfrec.simulators import session

SEED = tf.constant([1, 2])


def play(policy, repeats=True, batch=7, seed=SEED):
    world = scripted.ScriptedWorld(small.SPEC, repeats)
    rollout = tf.function(
        lambda seed: session.rollout(world, policy, scripted.starts(batch), seed)
    )
    return small.types.Episodes(*(part.numpy() for part in rollout(seed)))


def step_plus_one(turn):
    return turn.observation.step + 1


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
        chosen = policy(session.Turn(seen, None, None, SEED)).numpy()
        np.testing.assert_array_equal(chosen[live], episodes.item[live, step])


def test_blocked_items_are_those_shown_in_this_session():
    many = 200
    random = controls.random(small.SPEC.num_items)
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
    random = controls.random(small.SPEC.num_items)
    first, again = play(random), play(random)
    np.testing.assert_array_equal(first.item, again.item)
    assert (play(random, seed=tf.constant([1, 3])).item != first.item).any()


def test_best_passes_over_what_is_blocked():
    scores = tf.constant([[1.0, 3.0, 2.0], [-5.0, -9.0, -7.0]])
    assert session.best(scores, None).numpy().tolist() == [2, 1]
    blocked = tf.constant([[False, True, False], [True, False, True]])
    assert session.best(scores, blocked).numpy().tolist() == [3, 2]


def test_starts_are_the_first_fields_of_sessions():
    episodes = small.sessions()
    starts = session.starts_of(episodes)
    assert starts.user is episodes.user
    assert starts.history_item is episodes.history_item
    assert starts.history_feedback is episodes.history_feedback
