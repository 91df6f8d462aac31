"""What networks are shown: the port's sessions, seen with a memory."""

import numpy as np
import tensorflow as tf

from tfimrl import seen
from tfrec.simulators import public_playing, recsim

PORT, REMEMBERED = recsim.InterestEvolution(), seen.RememberedEvolution()
SEED = tf.constant([1, 2])


def test_the_sessions_are_the_ports():
    ours, theirs = (
        tf.function(public_playing.play)(s, public_playing.random(s), 50, SEED)
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
