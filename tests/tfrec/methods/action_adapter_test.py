"""Proto-actions choose by inner product; items are described by who views them together."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments import contract
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
    np.testing.assert_array_equal(action_adapter.slate_features(action, items), expected)
    every = tf.stack([items, 10 * items])
    np.testing.assert_array_equal(
        action_adapter.slate_features(action, every), [[5, 6, 1, 2], [30, 40, 30, 40]]
    )


def test_faces():
    evolution = recsim.InterestEvolution()
    adapter = action_adapter.ActionAdapter(evolution)
    assert (adapter.observation_size, adapter.action_size, adapter.sessions_before) == (
        20,
        20,
        0,
    )
    state = evolution.reset(3, tf.constant([1, 2]))
    timestep = contract.timestep_of(evolution, state, tf.constant([1, 3]))
    candidates = timestep.candidates
    weights = tf.random.stateless_uniform([3, 20], [1, 1])
    action = adapter.to_action(weights, timestep)
    scores = np.einsum("bmd,bd->bm", candidates, weights)
    np.testing.assert_array_equal(action[:, 0], scores.argmax(axis=1))
    assert adapter.slate_features(action, candidates).shape == [3, 40]

    adapter = action_adapter.ActionAdapter(V1, "viewers", width=4, sessions=50)
    assert (adapter.observation_size, adapter.action_size, adapter.slate_feature_size) == (
        4,
        10,
        10,
    )
    assert adapter.encode(V1.observation(V1.reset(3, tf.constant([1, 2])))).shape == [3, 4]

    adapter = action_adapter.ActionAdapter(V1, "views", width=4, sessions=50)
    assert (adapter.observation_size, adapter.action_size, adapter.sessions_before) == (
        13,
        4,
        50,
    )
    state = V1.reset(3, tf.constant([1, 2]))
    assert adapter.encode(V1.observation(state)).shape == [3, 13]
    timestep = contract.timestep_of(V1, state, tf.constant([1, 3]))
    action = adapter.to_action(weights[:, :4], timestep)
    np.testing.assert_array_equal(
        adapter.slate_features(action, None), tf.one_hot(action[:, 0], 10)
    )

    with pytest.raises(ValueError, match="InterestEvolution shows no views"):
        action_adapter.ActionAdapter(evolution, "views")
