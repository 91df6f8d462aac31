import numpy as np
import pytest
import tensorflow as tf

from tfrec.ops import twin_critics


def test_the_target_is_the_reward_and_the_lower_value_of_what_follows():
    reward, discount = tf.constant([0.5, 0.5]), tf.constant([0.9, 0.0])
    first, second = tf.Variable([3.0, 3.0]), tf.constant([2.0, 4.0])
    with tf.GradientTape() as tape:
        target = twin_critics.clipped_double_q_target(reward, discount, first, second)
    np.testing.assert_allclose(target, [0.5 + 0.9 * 2.0, 0.5], rtol=1e-6)
    assert tape.gradient(target, first) is None


def test_the_loss_is_the_mean_over_the_batch_of_both_squared_errors():
    target, first, second = tf.constant([2.0, 1.0]), tf.constant([1.0, 1.0]), tf.zeros(2)
    # (2 - 1)^2 + 2^2 = 5 and 0 + 1 = 1.
    assert float(twin_critics.twin_critic_loss(target, first, second)) == pytest.approx(3.0)
    weight = tf.constant([1.0, 0.5])
    loss = twin_critics.twin_critic_loss(target, first, second, weight)
    assert float(loss) == pytest.approx((5.0 + 0.5) / 2)


def test_the_noise_has_its_spread_and_its_limit_and_repeats_from_its_seed():
    seed = tf.constant([1, 2])
    noise = twin_critics.smoothing_noise([4000, 2], 0.2, 10.0, seed).numpy()
    assert noise.std() == pytest.approx(0.2, abs=0.01)
    assert noise.mean() == pytest.approx(0.0, abs=0.01)
    np.testing.assert_array_equal(
        twin_critics.smoothing_noise([4000, 2], 0.2, 0.3, seed), noise.clip(-0.3, 0.3)
    )
    other = twin_critics.smoothing_noise([4000, 2], 0.2, 10.0, tf.constant([1, 3]))
    assert (noise != other.numpy()).all()
