import math

import numpy as np
import pytest
import tensorflow as tf

from tfgoalrec import losses

# Measurement 0 is column 0; measurement 1 spans columns 1 and 2.
PREDICTION = tf.constant([[1.0, 3.0, 5.0]])
TARGET = tf.constant([[0.0, 1.0, 1.0]])  # squared error 1, 4, 16
OF = tf.constant([0, 1, 1])


def test_measurement_loss_weighs_each_measurement_once():
    loss = losses.measurement_loss(PREDICTION, TARGET, tf.math.log([1.0, 2.0]), OF)
    # Measurement 1 is one measurement of mean (4 + 16) / 2 = 10, with variance 2.
    assert loss.numpy() == pytest.approx(1 / 1 + 0 + 10 / 2 + math.log(2))


def test_losses_are_means_over_the_batch():
    both, target = tf.concat([PREDICTION, TARGET], 0), tf.concat([TARGET, TARGET], 0)
    unit = tf.zeros([2])
    assert losses.measurement_loss(both, target, unit, OF).numpy() == pytest.approx(11 / 2)
    assert losses.value_loss(both, target, unit, OF).numpy() == pytest.approx(11 / 2)


def test_the_best_variance_is_the_error_itself():
    # d/ds (exp(-s) e + s) = 0 at exp(s) = e: sigma_j^2 learns the squared error 1 and 10.
    log_variance = tf.Variable(tf.math.log([1.0, 10.0]))
    with tf.GradientTape() as tape:
        loss = losses.measurement_loss(PREDICTION, TARGET, log_variance, OF)
    np.testing.assert_allclose(tape.gradient(loss, log_variance), [0, 0], atol=1e-6)


def test_the_value_loss_has_no_gradient_in_the_variance():
    log_variance = tf.Variable(tf.math.log([1.0, 2.0]))
    value = tf.Variable(PREDICTION)
    with tf.GradientTape() as tape:
        loss = losses.value_loss(value, TARGET, log_variance, OF)
    assert loss.numpy() == pytest.approx(1 / 1 + 10 / 2)
    of_value, of_variance = tape.gradient(loss, [value, log_variance])
    assert of_variance is None
    # 2 x 1 / 1, then 2 x 2 / (2 columns x variance 2), 2 x 4 / (2 x 2).
    np.testing.assert_allclose(of_value, [[2.0, 1.0, 2.0]], rtol=1e-6)
