import numpy as np
import tensorflow as tf
import tf_keras

from tfrec.nn import networks


def test_layers_of_a_stack_are_built_one_on_another():
    layers = [tf_keras.layers.Dense(3, activation="relu"), tf_keras.layers.Dense(2)]
    built = networks.stack(4, layers)
    assert [layer.kernel.shape.as_list() for layer in built] == [[4, 3], [3, 2]]
    built[0].kernel.assign([[1.0, -1.0, 2.0]] * 4)
    built[1].kernel.assign([[1.0, 0.0], [5.0, 5.0], [0.0, 1.0]])
    built[1].bias.assign([0.5, 0.0])
    # 1 + 2 = 3 is multiplied by (1, -1, 2); the relu drops the second number.
    x = tf.constant([[1.0, 2.0, 0.0, 0.0]])
    np.testing.assert_allclose(networks.apply(built, x), [[3.5, 6.0]])
    assert networks.apply([], x) is x


def test_a_perceptron_is_its_stack_of_layers_on_inputs_side_by_side():
    made = networks.Perceptron(3, (4,), 2, iter([1, 2]), "made")
    again = networks.Perceptron(3, (4,), 2, iter([1, 2]), "again")
    x, y = tf.constant([[1.0, 2.0]]), tf.constant([[3.0]])
    joined = tf.nn.relu(made.layers[0](tf.concat([x, y], axis=1)))
    np.testing.assert_allclose(made(x, y), made.layers[1](joined), rtol=1e-5)
    np.testing.assert_array_equal(made(x, y), again(x, y))
    other = networks.Perceptron(3, (4,), 2, iter([1, 3]), "other")
    np.testing.assert_array_equal(other.layers[0].kernel, made.layers[0].kernel)
    assert (other.layers[1].kernel.numpy() != made.layers[1].kernel.numpy()).any()
