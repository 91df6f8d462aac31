"""Soft updates by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.ops import target_networks


def test_each_variable_moves_by_its_share_of_the_way():
    target = [tf.Variable([0.0, 4.0]), tf.Variable(1.0)]
    source = [tf.Variable([1.0, 0.0]), tf.Variable(3.0)]
    target_networks.soft_update(target, source, 0.25)
    np.testing.assert_array_equal(target[0], [0.25, 3.0])
    assert target[1].numpy() == 1.5
    np.testing.assert_array_equal(source[0], [1.0, 0.0])
    target_networks.soft_update(target, source, tf.constant(0.0))
    assert target[1].numpy() == 1.5


def test_a_variable_without_its_source_is_rejected():
    with pytest.raises(ValueError):
        target_networks.soft_update([tf.Variable(1.0)], [], 0.5)


def test_an_early_average_forgets_its_start():
    average, source = [tf.Variable(0.0)], [tf.Variable(11.0)]
    # Decay (1 + 1) / (10 + 1): 9 of 11 parts are new.
    target_networks.average_update(average, source, 0.9, tf.constant(1.0))
    np.testing.assert_allclose(average[0], 9.0, rtol=1e-6)
    # Later the decay is the average's own.
    target_networks.average_update(average, source, 0.9, tf.constant(1000.0))
    np.testing.assert_allclose(average[0], 9.2, rtol=1e-6)
