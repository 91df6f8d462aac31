"""Proto-actions choose by inner product; items are described by who views them together."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments import playing
from tfrec.environments.ports import recogym, recsim
from tfrec.methods import action_adapter

V1 = recogym.RecoGymV1(recogym.RecoGymV1Config(products=10, flips=0))


def test_a_slate_is_the_highest_inner_products():
    weights = tf.constant([[1.0, 0.5], [-1.0, 0.0]])
    own = tf.constant([[[1.0, 0], [0, 1], [1, 1]], [[3.0, 0], [2, 9], [-1, 0]]])
    # Session 0: 1, .5, 1.5; session 1: -3, -2, 1.
    np.testing.assert_array_equal(action_adapter.slate(weights, own, 2), [[2, 0], [2, 1]])
    # The same items for both: 1, .5, 1.5 and -1, 0, -1; of equals the first.
    np.testing.assert_array_equal(action_adapter.slate(weights, own[0], 2), [[2, 0], [1, 0]])


def test_what_was_shown_stands_side_by_side():
    items = tf.constant([[1.0, 2], [3, 4], [5, 6]])
    action = tf.constant([[2, 0], [1, 1]])
    expected = [[5, 6, 1, 2], [3, 4, 3, 4]]
    np.testing.assert_array_equal(action_adapter.shown(action, items), expected)
    every = tf.stack([items, 10 * items])
    np.testing.assert_array_equal(
        action_adapter.shown(action, every), [[5, 6, 1, 2], [30, 40, 30, 40]]
    )


def test_items_that_are_viewed_together_are_close():
    counts = np.zeros([40, 5])
    counts[:20, :2] = [3, 1]  # half of the users view 0 and 1, the others 2 and 3
    counts[20:, 2:4] = [1, 2]
    vectors = action_adapter.co_view_vectors(counts, 3)
    assert vectors.shape == (5, 3) and vectors.dtype == np.float32
    assert (vectors**2).sum(axis=1).mean() == pytest.approx(1)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.5 and near[2, 3] > 0.5
    assert abs(near[:2, 2:]).max() < 1e-4 and abs(near[4]).max() < 1e-4  # 4: never viewed


def test_nothing_viewed_together_gives_zeros():
    assert not action_adapter.co_view_vectors(np.eye(4), 2).any()


@pytest.mark.parametrize("width", [0, 5])
def test_width_is_checked(width):
    with pytest.raises(ValueError, match=f"width={width}; expected 1 to 4"):
        action_adapter.co_view_vectors(np.eye(4), width)


def test_views_are_those_of_whole_sessions():
    counts, steps = action_adapter._views(V1, 400, tf.constant([5, 0]))
    before = V1.reset(400, tf.constant([5, 0])).counts
    assert (counts.numpy() >= before.numpy()).all()
    # A user leaves with probability .01 after each of about 82 recommendations.
    assert 60 < int(steps) / 400 < 105
    again = action_adapter.view_vectors(V1, 4, 400, 5)
    np.testing.assert_array_equal(
        again.items, action_adapter.co_view_vectors(counts.numpy(), 4)
    )
    assert again.sessions == 400 and again.steps == int(steps)


def test_a_viewer_is_described_by_mean_vectors():
    items = tf.constant([[1.0, 0], [0, 1], [2, 2]])
    seen, recent, last = [[1.0, 3, 0]], [[0.5, 1.5, 0]], [[0.0, 1, 0]]
    observation = tf.concat([tf.math.log1p(seen), tf.math.log1p(recent), last], axis=1)
    expected = [0.25, 0.75, 0.25, 0.75, 0, 1, np.log(5) / 4]
    np.testing.assert_allclose(
        action_adapter.viewer(observation, items)[0], expected, rtol=1e-5
    )


def test_few_views_tell_little_of_a_viewer():
    items = tf.constant([[1.0, 0], [0, 1], [2, 2]])
    recent = tf.constant([[0.5, 1.5, 0], [0, 0, 30.0]])
    observation = tf.concat([tf.zeros([2, 3]), tf.math.log1p(recent), tf.zeros([2, 3])], axis=1)
    # (.5 a + 1.5 b) / (2 + 3), and 30 c / (30 + 3)
    expected = [[0.1, 0.3], [60 / 33, 60 / 33]]
    np.testing.assert_allclose(
        action_adapter.short_viewer(observation, items), expected, rtol=1e-5
    )


def test_faces():
    evolution = recsim.InterestEvolution()
    face = action_adapter.Face(evolution)
    assert (face.observation_size, face.action_size, face.sessions_before) == (20, 20, 0)
    state = evolution.reset(3, tf.constant([1, 2]))
    turn = playing.turn_of(evolution, state, tf.constant([1, 3]))
    candidates = turn.candidates
    weights = tf.random.stateless_uniform([3, 20], [1, 1])
    action = face.chooses(weights, turn)
    scores = np.einsum("bmd,bd->bm", candidates, weights)
    np.testing.assert_array_equal(action[:, 0], scores.argmax(axis=1))
    assert face.shown(action, candidates).shape == [3, 40]

    face = action_adapter.Face(V1, "viewers", width=4, sessions=50)
    assert (face.observation_size, face.action_size, face.shown_size) == (4, 10, 10)
    assert face.sees(V1.observation(V1.reset(3, tf.constant([1, 2])))).shape == [3, 4]

    face = action_adapter.Face(V1, "views", width=4, sessions=50)
    assert (face.observation_size, face.action_size, face.sessions_before) == (13, 4, 50)
    state = V1.reset(3, tf.constant([1, 2]))
    assert face.sees(V1.observation(state)).shape == [3, 13]
    turn = playing.turn_of(V1, state, tf.constant([1, 3]))
    action = face.chooses(weights[:, :4], turn)
    np.testing.assert_array_equal(face.shown(action, None), tf.one_hot(action[:, 0], 10))

    with pytest.raises(ValueError, match="InterestEvolution shows no views"):
        action_adapter.Face(evolution, "views")
