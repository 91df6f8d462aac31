"""What networks are shown: the port's sessions, seen with a memory."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments import contract, playing
from tfrec.environments.ports import recsim, seen

PORT, REMEMBERED = recsim.InterestEvolution(), seen.RememberedEvolution()
SEED = tf.constant([1, 2])


def test_the_sessions_are_the_ports():
    ours, theirs = (
        tf.function(playing.play)(s, contract.random_policy(s), 50, SEED)
        for s in (REMEMBERED, PORT)
    )
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_what_was_watched_is_remembered():
    state = REMEMBERED.reset(3, SEED)
    assert REMEMBERED.observation(state).shape == [3, REMEMBERED.observation_size]
    state = state._replace(cluster=tf.constant([[4, 7, 1]] * 3))
    action = tf.constant([[0, 1]] * 3)
    for _ in range(2):  # session 0 watches cluster 4, session 1 cluster 7, session 2 nothing
        outcome = REMEMBERED.transition(
            state, action, tf.constant([0, 1, 2]), tf.fill([3], 0.5), tf.zeros([3])
        )
        state = outcome.state
    seen_now = REMEMBERED.observation(state).numpy()
    np.testing.assert_array_equal(seen_now[:, :20], state.interests)
    expected = np.zeros([3, 21], np.float32)
    expected[0, 4] = expected[1, 7] = expected[2, 20] = 0.2
    np.testing.assert_allclose(seen_now[:, 20:], expected)
    fresh = REMEMBERED.observation(REMEMBERED.reset(3, SEED))
    assert not fresh.numpy()[:, 20:].any()


def test_the_original_is_remembered_alike():
    """A policy that plays in the original finds the counts that it would find in the port."""
    pytest.importorskip("recsim", reason="requirements-simulators.txt is not installed")
    from tfrec.environments.ports import originals

    adapter = originals.adapter(REMEMBERED, copies=2, seed=0)
    adapter.reset(0), adapter.reset(1)
    watched, clicks = np.zeros([2, 20]), np.zeros(2)
    for step in range(30):
        before = adapter.state(None, None, None)
        np.testing.assert_array_equal(before.watched, watched)
        np.testing.assert_array_equal(before.ignored, step - clicks)
        for copy in range(2):
            interests = before.interests[copy].numpy()
            clusters = before.cluster[copy].numpy()[[0, 1]]
            _, clicked, _, _ = adapter.step(copy, np.array([0, 1]))
            clicks[copy] += clicked
            # Only a watched document changes an interest.
            after = adapter.state(None, None, None)
            moved = np.flatnonzero(after.interests[copy].numpy() != interests)
            assert set(moved) <= set(clusters)
            assert after.watched[copy].numpy().sum() == clicks[copy]
            if clicked and len(moved):
                watched[copy, moved[0]] += 1
            elif clicked:  # an interest at its bound does not move
                watched[copy] = after.watched[copy]
    assert watched.sum() > 10
