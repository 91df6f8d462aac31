"""Vectors of RecoGym's products, and users in their terms, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments.ports import recogym, recogym_views

V1 = recogym.RecoGymV1(recogym.RecoGymV1Config(products=10, flips=0))


def test_items_that_are_viewed_together_are_close():
    counts = np.zeros([40, 5])
    counts[:20, :2] = [3, 1]  # half of the users view 0 and 1, the others 2 and 3
    counts[20:, 2:4] = [1, 2]
    vectors = recogym_views.co_view_vectors(counts, 3)
    assert vectors.shape == (5, 3) and vectors.dtype == np.float32
    assert (vectors**2).sum(axis=1).mean() == pytest.approx(1)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.5 and near[2, 3] > 0.5
    assert abs(near[:2, 2:]).max() < 1e-4 and abs(near[4]).max() < 1e-4  # 4: never viewed


def test_nothing_viewed_together_gives_zeros():
    assert not recogym_views.co_view_vectors(np.eye(4), 2).any()


@pytest.mark.parametrize("width", [0, 5])
def test_width_is_checked(width):
    with pytest.raises(ValueError, match=f"width={width}; expected 1 to 4"):
        recogym_views.co_view_vectors(np.eye(4), width)


def test_views_are_those_of_whole_sessions():
    counts, steps = recogym_views._views(V1, 400, tf.constant([5, 0]))
    before = V1.reset(400, tf.constant([5, 0])).counts
    assert (counts.numpy() >= before.numpy()).all()
    # A user leaves with probability .01 after each of about 82 recommendations.
    assert 60 < int(steps) / 400 < 105
    again = recogym_views.view_vectors(V1, 4, 400, 5)
    np.testing.assert_array_equal(again.items, recogym_views.co_view_vectors(counts.numpy(), 4))
    assert again.sessions == 400 and again.steps == int(steps)


def test_a_viewer_is_described_by_mean_vectors():
    items = tf.constant([[1.0, 0], [0, 1], [2, 2]])
    seen, recent, last = [[1.0, 3, 0]], [[0.5, 1.5, 0]], [[0.0, 1, 0]]
    observation = tf.concat([tf.math.log1p(seen), tf.math.log1p(recent), last], axis=1)
    expected = [0.25, 0.75, 0.25, 0.75, 0, 1, np.log(5) / 4]
    np.testing.assert_allclose(recogym_views.viewer(observation, items)[0], expected, rtol=1e-5)


def test_few_views_tell_little_of_a_viewer():
    items = tf.constant([[1.0, 0], [0, 1], [2, 2]])
    recent = tf.constant([[0.5, 1.5, 0], [0, 0, 30.0]])
    observation = tf.concat([tf.zeros([2, 3]), tf.math.log1p(recent), tf.zeros([2, 3])], axis=1)
    # (.5 a + 1.5 b) / (2 + 3), and 30 c / (30 + 3)
    expected = [[0.1, 0.3], [60 / 33, 60 / 33]]
    np.testing.assert_allclose(
        recogym_views.short_viewer(observation, items), expected, rtol=1e-5
    )
