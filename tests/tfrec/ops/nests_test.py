"""Nests of tensors, row by row."""

import pytest
import tensorflow as tf

from tfrec.ops import nests


def test_each_row_is_of_one_nest_whatever_the_rank():
    yes = (tf.constant([1, 2]), {"a": tf.constant([[1.0, 2.0], [3.0, 4.0]])})
    no = (tf.constant([-1, -2]), {"a": tf.zeros([2, 2])})
    number, rest = nests.where(tf.constant([False, True]), yes, no)
    assert number.numpy().tolist() == [-1, 2]
    assert rest["a"].numpy().tolist() == [[0, 0], [3, 4]]


def test_static_shapes_are_those_of_the_other_nest():
    @tf.function(input_signature=[tf.TensorSpec([None, 3])], autograph=False)
    def shape(x):
        [y] = nests.shaped([x], [tf.zeros([2, 3])])
        assert y.shape == [2, 3]
        return y

    assert shape(tf.ones([2, 3])).shape == [2, 3]
    with pytest.raises(tf.errors.InvalidArgumentError):
        shape(tf.ones([4, 3]))
