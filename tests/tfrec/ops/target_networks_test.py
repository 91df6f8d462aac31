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
