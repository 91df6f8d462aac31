"""The log as its own users."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.data import vocabulary
from tfrec.environments import lookup, player, users, worlds

SPEC = types.DataSpec(
    (
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("rating", "amount", "stars"),
    ),
    num_items=4,
    num_users=2,
    history_length=2,
    max_steps=3,
)
IDS = vocabulary.Vocabulary(
    vocabulary.Ids(np.array(["a", "b", "c", "d"])), vocabulary.Ids(np.array(["u", "v"]))
)
# User 1 was shown items 2 and 3 and then 2 again, user 2 items 3 and 4.
LOG = types.Episodes(
    user=np.array([1, 1, 2], np.int32),
    history_item=np.zeros([3, 2], np.int32),
    history_feedback=np.zeros([3, 2, 2], np.float32),
    item=np.array([[2, 3, 0], [2, 0, 0], [3, 4, 0]], np.int32),
    feedback=np.array(
        [[[0, 2], [1, 5], [0, 0]], [[1, 4], [0, 0], [0, 0]], [[0, 1], [1, 4.5], [0, 0]]],
        np.float32,
    ),
    length=np.array([2, 1, 2], np.int32),
    exited=np.array([True, True, True]),
)


@pytest.fixture
def world():
    return lookup.LookupWorld(LOG, SPEC, IDS)


def starts(users, history):
    users = np.array(users, np.int32)
    return types.Starts(
        tf.constant(users),
        tf.constant(history, tf.int32),
        tf.zeros([len(users), 2, 2]),
    )


def test_of_an_item_that_was_shown_twice_the_click_is_kept():
    key, feedback = lookup.logged_pairs(LOG, num_items=4)
    assert key.tolist() == [5 + 2, 5 + 3, 10 + 3, 10 + 4]
    assert feedback.tolist() == [[1, 4], [1, 5], [0, 1], [1, 4.5]]


def test_users_answer_as_the_log_says(world):
    state = world.reset(starts([1, 2], [[0, 0], [0, 0]]))
    expected = world.responses(state, tf.constant([1, 2, 3, 4]))
    assert expected.feedback.numpy().tolist() == [
        [[0, 0], [1, 4], [1, 5], [0, 0]],
        [[0, 0], [0, 0], [0, 1], [1, 4.5]],
    ]
    assert not expected.exit.numpy().any()
    after, feedback, left = world.step(state, tf.constant([3, 3]), tf.constant([0, 0]))
    assert feedback.numpy().tolist() == [[1, 5], [0, 1]]
    assert after is state and left.numpy().tolist() == [False, False]


def test_items_of_the_history_are_not_clicked_again(world):
    state = world.reset(starts([1, 2], [[0, 3], [4, 1]]))
    clicks = world.responses(state, tf.constant([2, 3, 4])).feedback.numpy()[..., 0]
    assert clicks.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_a_policy_that_knows_the_log_is_clicked_at_each_step(world):
    def follow(timestep):
        clicks = world.responses(timestep.state.world, tf.range(1, 5)).feedback[..., 0]
        clicks -= tf.cast(timestep.blocked, tf.float32)
        return tf.argmax(clicks, axis=1, output_type=tf.int32)[:, None]

    played = player.Player(users.UserEnvironment(world), follow).play(
        types.rows(starts([1, 2], [[0, 0], [0, 0]]), slice(None)), seed=0
    )
    assert played.feedback[..., 0].sum(axis=1).tolist() == [2, 1]
    assert played.length.tolist() == [3, 3] and not played.exited.any()


def test_the_click_s_probability_may_be_distorted(world):
    state = world.reset(starts([1] * 4000, [[0, 0]] * 4000))
    item = tf.constant([3] * 2000 + [4] * 2000)
    _, feedback, _ = world.step(
        state, item, tf.constant([0, 1]), lambda logit: tf.where(logit > 0, 0.75, 0.25)
    )
    click = feedback.numpy()[:, 0].reshape(2, 2000).mean(axis=1)
    np.testing.assert_allclose(click, [0.75, 0.25], atol=0.04)  # four standard errors


def test_it_is_known_by_its_pairs_and_ids(world):
    other = LOG._replace(feedback=LOG.feedback * [[[1, 0.5]]])
    assert lookup.LookupWorld(LOG, SPEC, IDS).fingerprint == world.fingerprint
    assert lookup.LookupWorld(other, SPEC, IDS).fingerprint != world.fingerprint
    assert worlds.LOOKUP in worlds.HELP
