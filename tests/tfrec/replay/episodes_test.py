import numpy as np
import tensorflow as tf
from scipy import stats

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec import types
from tfrec.environments import contract, playing, users
from tfrec.replay import episodes as replay_lib


def numbered(length, first):
    """Sessions of these lengths; each step's label tells its session and its step."""
    length = np.array(length, np.int32)
    batch, (h, t) = len(length), (small.SPEC.history_length, small.SPEC.max_steps)
    live = np.arange(t) < length[:, None]
    number = first + np.arange(batch)
    label = np.stack(np.broadcast_arrays(number[:, None], np.arange(t)), axis=-1)
    episodes = types.Episodes(
        user=number.astype(np.int32),
        history_item=np.zeros((batch, h), np.int32),
        history_feedback=np.zeros((batch, h, 2), np.float32),
        item=((number[:, None] % 6 + 1) * live).astype(np.int32),
        feedback=np.zeros((batch, t, 2), np.float32),
        length=length,
        exited=np.ones(batch, bool),
    )
    goal = np.repeat(number[:, None], 2, axis=1)
    return (
        small.tensors(episodes),
        tf.constant(label, tf.float32),
        tf.constant(goal, tf.float32),
    )


def test_a_cleared_ring_knows_only_what_comes_after():
    ring = replay_lib.EpisodeReplay(small.SPEC, capacity=4, label_size=2)
    ring.add(*numbered([1, 2, 3], first=10))
    ring.clear()
    assert int(ring.size) == 0
    ring.add(*numbered([2, 1], first=20))  # to slots 3 and 0
    rows = ring.rows(tf.range(ring.size))
    np.testing.assert_array_equal(rows.label, [[21, 0], [20, 0], [20, 1]])


def test_the_oldest_sessions_make_room():
    ring = replay_lib.EpisodeReplay(small.SPEC, capacity=4, label_size=2)
    ring.add(*numbered([1, 2, 3], first=10))  # 10 11 12
    assert int(ring.size) == 6
    ring.add(*numbered([5, 4, 2], first=20))  # 21 22 12 20: two of three wrap around
    assert int(ring.size) == 4 + 2 + 3 + 5
    rows = ring.sample(3000, tf.constant([1, 2]))
    seen = {tuple(map(int, pair)) for pair in rows.label.numpy()}
    lengths = {12: 3, 20: 5, 21: 4, 22: 2}
    assert seen == {(s, step) for s, length in lengths.items() for step in range(length)}
    # All that is drawn of a step belongs together.
    number = rows.label[:, 0].numpy()
    np.testing.assert_array_equal(rows.goal, np.stack([number, number], axis=1))
    np.testing.assert_array_equal(rows.first_label, np.stack([number, 0 * number], axis=1))
    np.testing.assert_array_equal(rows.item, number % 6 + 1)
    np.testing.assert_array_equal(rows.observation.step, rows.label[:, 1])


def test_every_step_is_as_likely_as_any_other():
    ring = replay_lib.EpisodeReplay(small.SPEC, capacity=8, label_size=2)
    ring.add(*numbered([1, 5, 2, 5, 3], first=0))  # 16 steps; three places are empty
    rows = ring.sample(32_000, tf.constant([7, 8]))
    place = rows.label[:, 0].numpy() * 5 + rows.label[:, 1].numpy()
    _, counts = np.unique(place, return_counts=True)
    assert len(counts) == 16
    assert stats.chisquare(counts).pvalue > 1e-3
    again = ring.sample(100, tf.constant([7, 8])).label.numpy()
    np.testing.assert_array_equal(again, ring.sample(100, tf.constant([7, 8])).label)
    assert (ring.sample(100, tf.constant([7, 9])).label.numpy() != again).any()


def test_a_drawn_window_is_what_the_policy_saw():
    world = scripted.ScriptedWorld(small.SPEC, repeats=True)
    policy = scripted.by_observation(world.spec)
    episodes = playing.rollout(
        users.UserEnvironment(world), policy, scripted.starts(40), tf.constant([3, 4])
    )
    ring = replay_lib.EpisodeReplay(world.spec, capacity=40, label_size=1)
    ring.add(episodes, tf.zeros([40, world.spec.max_steps, 1]), tf.zeros([40, 1]))
    rows = ring.sample(500, tf.constant([5, 6]))
    # The policy is a hash of all that it sees: asked again, it must choose the same.
    action = policy(contract.history_timestep(rows.observation, tf.constant([0, 0])))
    np.testing.assert_array_equal(contract.item_of(action), rows.item)
    assert len(np.unique(rows.item)) == world.spec.num_items


def test_later_steps_are_of_the_same_session():
    ring = replay_lib.EpisodeReplay(small.SPEC, capacity=4, label_size=2)
    ring.add(*numbered([1, 3, 5], first=10))
    rows, follows = ring.later(ring.rows(tf.range(ring.size)), 2)
    np.testing.assert_array_equal(rows.label[:, 0], [10] + 3 * [11] + 5 * [12])
    np.testing.assert_array_equal(rows.label[:, 1], [0, 2, 2, 2, 2, 3, 4, 4, 4])
    np.testing.assert_array_equal(follows, [0, 1, 0, 0, 1, 1, 1, 0, 0])
