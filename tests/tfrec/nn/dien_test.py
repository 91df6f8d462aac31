import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfrec import types
from tfrec.nn import dien
from tfrec.nn.item_embedding import ItemEmbedding

UNITS, OUTPUT, WIDTH = 5, 6, 3
SPEC = small.SPEC


def tower(spec=SPEC):
    tf_keras.utils.set_random_seed(4)
    vectors = np.random.default_rng(0).normal(size=(7, WIDTH))
    made = dien.DienTower(spec, ItemEmbedding(spec, vectors), UNITS, OUTPUT)
    noise = np.random.default_rng(1)
    for variable in made.trainable_variables:
        variable.assign_add(noise.normal(scale=0.3, size=variable.shape))
    return made


def test_shapes():
    history = tower()(small.observations(9))
    assert history.state.shape == (9, OUTPUT)
    assert history.interest.shape == (SPEC.history_length, 9, UNITS)
    assert history.embedding.shape == (SPEC.history_length, 9, WIDTH)


def test_left_padding_changes_nothing():
    longer = dataclasses.replace(SPEC, history_length=SPEC.history_length + 3)
    observation = small.observations(20)
    padded = types.Observation(
        tf.pad(observation.history_item, [[0, 0], [3, 0]]),
        tf.pad(observation.history_feedback, [[0, 0], [3, 0], [0, 0]]),
        observation.step,
    )
    np.testing.assert_allclose(
        tower()(observation).state, tower(longer)(padded).state, atol=1e-5
    )


def test_an_empty_history_has_a_state_that_is_nobodys():
    empty = types.Observation(
        tf.zeros([2, 4], tf.int32), tf.zeros([2, 4, 2]), tf.zeros([2], tf.int32)
    )
    history = tower()(empty)
    assert np.isfinite(history.state).all()
    np.testing.assert_array_equal(history.interest, 0.0)
    np.testing.assert_array_equal(history.state[0], history.state[1])


@pytest.mark.parametrize("what", ["item", "order", "click", "watch", "step"])
def test_the_state_notices(what):
    item = np.array([[0, 1, 2, 3]], np.int32)
    feedback = np.array([[[0, 0], [1, 2], [0, 0], [1, 8]]], np.float32)
    changed_item, changed, step = item.copy(), feedback.copy(), 2
    match what:
        case "item":
            changed_item[0, 2] = 5
        case "order":
            changed_item[0, 1:3] = [2, 1]
            changed[0, 1:3] = feedback[0, [2, 1]]
        case "click":
            changed[0, 2, 0] = 1
        case "watch":
            changed[0, 3, 1] = 30
        case "step":  # one event fewer belongs to this session
            step = 1
    known = tower()
    before = known(types.Observation(*map(tf.constant, (item, feedback, [2])))).state
    after = known(types.Observation(*map(tf.constant, (changed_item, changed, [step])))).state
    assert np.abs(before - after).max() > 1e-3


def test_auxiliary_loss_by_hand():
    known = tower()
    # Row 0: the event after position 1 is a click, that after position 2 is not; what
    # follows the padding has no interest before it. Row 1 never clicks.
    item = np.array([[0, 1, 2, 3], [4, 5, 6, 1]], np.int32)
    feedback = np.zeros((2, 4, 2), np.float32)
    feedback[0, 1, 0] = feedback[0, 2, 0] = 1.0
    observation = types.Observation(*map(tf.constant, (item, feedback, [0, 0])))
    history, seed = known(observation), tf.constant([5, 6])
    negative = tf.random.stateless_uniform([2], seed, 1, SPEC.num_items + 1, tf.int32).numpy()
    table = known.items.ids.numpy()
    predicted = known.next_item(history.interest)[1, 0].numpy()
    real, fake = predicted @ table[2], predicted @ table[negative[0]]
    expected = np.log1p(np.exp(-real)) + np.log1p(np.exp(fake))
    loss = known.auxiliary_loss(observation, history, seed).numpy()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_auxiliary_loss_without_clicks_is_zero():
    known = tower()
    observation = types.Observation(
        tf.ones([2, 4], tf.int32), tf.zeros([2, 4, 2]), tf.zeros([2], tf.int32)
    )
    assert known.auxiliary_loss(observation, known(observation), tf.constant([0, 1])) == 0.0
