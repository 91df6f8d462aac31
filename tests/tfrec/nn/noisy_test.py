import numpy as np
import pytest
import tensorflow as tf

from tfrec.nn import noisy


def test_without_a_seed_it_is_a_linear_layer():
    layer = noisy.NoisyLinear(3, 2, 0.5, "layer")
    value = tf.constant([[1.0, 2.0, -1.0]])
    expected = value.numpy() @ layer.kernel.numpy() + layer.bias.numpy()
    np.testing.assert_allclose(layer(value), expected, rtol=1e-6)
    assert np.abs(layer.kernel.numpy()).max() <= 3**-0.5
    np.testing.assert_allclose(layer.kernel_noise, np.full([3, 2], 0.5 / 3**0.5))


def test_without_noise_it_has_no_sigma_and_takes_no_seed():
    layer = noisy.NoisyLinear(3, 2, 0.0, "layer")
    assert len(layer.trainable_variables) == 2
    value = tf.ones([1, 3])
    np.testing.assert_array_equal(layer(value), layer(value, tf.constant([1, 2])))


def test_noise_has_the_factorised_variance():
    """E f(e)^2 = E|e| = sqrt(2 / pi) = c: Var y = c (c sum x^2 sigma^2 + sigma_b^2)."""
    layer = noisy.NoisyLinear(3, 2, 0.5, "layer")
    layer.bias_noise.assign([0.5, 1.0])
    value = tf.constant([[1.0, 2.0, -1.0]])
    drawn = layer(tf.repeat(value, 100_000, axis=0), tf.constant([3, 4])) - layer(value)
    c, sigma = np.sqrt(2 / np.pi), 0.5 / 3**0.5
    expected = c * (c * 6 * sigma**2 + np.array([0.25, 1.0]))
    np.testing.assert_allclose(np.var(drawn, axis=0), expected, rtol=0.05)
    np.testing.assert_allclose(np.mean(drawn, axis=0), [0, 0], atol=0.02)
    # Outputs share the inputs' noise, but are told apart by their own.
    assert abs(np.corrcoef(drawn, rowvar=False)[0, 1]) < 0.02


def test_each_row_has_noise_of_its_own_and_a_seed_repeats_it():
    layer = noisy.NoisyLinear(3, 2, 0.5, "layer")
    value = tf.ones([4, 3])
    first = layer(value, tf.constant([1, 2])).numpy()
    assert len(np.unique(first[:, 0])) == 4
    np.testing.assert_array_equal(first, layer(value, tf.constant([1, 2])))
    assert (first != layer(value, tf.constant([1, 3])).numpy()).all()


def test_noise_can_be_unlearned():
    layer = noisy.NoisyLinear(3, 2, 0.5, "layer")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.ones([4, 3]), tf.constant([1, 2])) ** 2)
    gradients = tape.gradient(loss, layer.trainable_variables)
    assert len(gradients) == 4
    assert all(float(tf.norm(g)) > 0 for g in gradients)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_sigma_scales_it(scale):
    layer = noisy.NoisyLinear(3, 2, 0.5, "layer")
    layer.kernel_noise.assign(scale * layer.kernel_noise)
    layer.bias_noise.assign(scale * layer.bias_noise)
    value = tf.ones([4, 3])
    moved = np.abs(layer(value, tf.constant([1, 2])) - layer(value)).max()
    assert (moved > 0) == (scale > 0)
