"""Eq 16: a rise from sigma to T_max, and a constant threshold for binary rewards."""

import numpy as np
import pytest
import tensorflow as tf

from tfimrl import threshold

VIRTUAL_TAOBAO = {"episodes": 1000, "start": 1.0, "maximum": 10.0, "ramp": 0.5}


def test_it_rises_from_sigma_to_the_maximum():
    thresholds = [float(threshold.threshold(e, **VIRTUAL_TAOBAO)) for e in (0, 250, 500, 1000)]
    # Half of the ramp: lambda_d = (1/10)^(1/2), so T = sqrt(10).
    assert thresholds == pytest.approx([1, 10**0.5, 10, 10], rel=1e-5)


def test_it_never_falls_and_never_exceeds_the_maximum():
    thresholds = np.array(
        [threshold.threshold(e, **VIRTUAL_TAOBAO) for e in range(0, 1001, 50)]
    )
    assert (np.diff(thresholds) >= 0).all() and thresholds.max() <= 10


def test_the_decay_is_in_0_to_1_and_falls():
    decays = np.array([threshold.decay(e, **VIRTUAL_TAOBAO) for e in range(0, 1001, 50)])
    assert decays[0] == 1 and (np.diff(decays) <= 0).all() and (decays > 0).all()


def test_a_start_above_the_maximum_is_the_maximum():
    assert float(threshold.threshold(0, 10, start=5.0, maximum=2.0, ramp=0.5)) == 2


@pytest.mark.parametrize("episode", [0, 3, 10])
def test_binary_rewards_leave_it_at_1(episode):
    limit = threshold.threshold(episode, 10, start=1.0, maximum=1.0, ramp=0.5)
    assert float(limit) == 1
    assert threshold.informative(tf.constant([0.0, 1]), limit).numpy().tolist() == [False, True]


def test_only_rewards_at_the_threshold_are_informative():
    rewards = tf.constant([0.0, 1, 3, 4, 10])
    some = threshold.informative(rewards, 3.0).numpy()
    assert some.tolist() == [False, False, True, True, True]
    # A reward of T_max passes at every episode, whatever the rounding.
    for episode in range(0, 1001, 7):
        limit = threshold.threshold(episode, **VIRTUAL_TAOBAO)
        assert threshold.informative(tf.constant([10.0]), limit).numpy().all()


def test_a_step_without_reward_is_not_informative():
    assert not threshold.informative(tf.constant([0.0, -1]), -5.0).numpy().any()
