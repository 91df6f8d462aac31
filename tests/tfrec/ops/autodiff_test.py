"""Gradients of one's own, and that the graphs that use them are freed."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrec.ops import autodiff


def tripled(x, number):
    """x, with three times its gradient; the second argument has none."""
    return tf.identity(x) + 0.0 * number, lambda upstream: (3.0 * upstream, None)


@pytest.mark.parametrize("in_graph", [False, True])
def test_the_gradient_is_the_functions_own(in_graph):
    own = autodiff.custom_gradient(tripled)
    x, number = tf.constant([1.0, -2.0]), tf.constant([5.0, 5.0])

    def slopes():
        with tf.GradientTape() as tape:
            tape.watch([x, number])
            loss = tf.reduce_sum(own(x, number) * [1.0, 10.0])
        return tape.gradient(loss, [x, number])

    slope, none = (tf.function(slopes) if in_graph else slopes)()
    np.testing.assert_array_equal(slope, [3.0, 30.0])
    assert none is None or not none.numpy().any()


def graph_of_a_caller(custom_gradient):
    """The graph of a function that was dropped, if TensorFlow keeps it."""
    own = custom_gradient(tripled)
    caller = tf.function(lambda x: own(x, x), autograph=False)
    graph = weakref.ref(caller.get_concrete_function(tf.TensorSpec([2], tf.float32)).graph)
    del caller
    gc.collect()
    return graph()


def test_the_graph_of_a_caller_is_freed():
    assert graph_of_a_caller(tf.custom_gradient) is not None  # what this module is for
    assert graph_of_a_caller(autodiff.custom_gradient) is None


def test_gradients_are_applied_as_the_optimiser_does_and_the_graph_is_freed():
    def applied(apply):
        variable = tf.Variable([1.0, 2.0])
        optimizer = tf_keras.optimizers.Adam(0.1)
        optimizer.build([variable])

        @tf.function(autograph=False)
        def update():
            apply(optimizer, [variable * 2.0], [variable])

        update()
        graph = weakref.ref(update.get_concrete_function().graph)
        del update
        gc.collect()
        return variable.numpy(), graph()

    plain, kept = applied(lambda o, g, v: o.apply_gradients(zip(g, v, strict=True)))
    ours, freed = applied(autodiff.apply_gradients)
    np.testing.assert_array_equal(plain, ours)
    assert kept is not None and freed is None


def test_every_variable_needs_a_gradient():
    variable = tf.Variable(1.0)
    with pytest.raises(ValueError, match="longer"):
        autodiff.apply_gradients(tf_keras.optimizers.Adam(), [], [variable])
