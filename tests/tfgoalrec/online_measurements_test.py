"""Sums over a horizon, checked by hand, across ends of sessions; held and stored steps."""

import numpy as np
import pytest
import tensorflow as tf

from tfgoalrec import measurements, online_measurements
from tfgoalrec.online_measurements import FEEDBACK

NAMES = ("click@0", "reward@0..", "reward@1..1", "step@1..", "exit@0")


def vector(names=NAMES):
    return measurements.MeasurementVector(names, FEEDBACK, 0)


def replay(horizon=3, discount=1.0, names=NAMES, capacity=100):
    measured = vector(names)
    made = online_measurements.MeasuredReplay(
        capacity, horizon, discount, measured, {"observation": tf.TensorSpec([1], tf.float32)}
    )
    return made, measured


# Column 0: session 0 of three steps, then session 2. Column 1: session 1, of one step, then 3.
SESSION = np.array([[0, 1], [0, 3], [0, 3], [2, 3], [2, 3], [2, 3]], np.int32)
DONE = np.array([[0, 1], [0, 0], [1, 0], [0, 0], [0, 0], [0, 1]], bool)
REWARD = np.array([[1, 2], [4, 8], [16, 32], [64, 128], [256, 512], [1024, 2048]], np.float32)
CLICKS = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]], np.float32)


def add(made, start, stop):
    rows = slice(start, stop)
    step = np.arange(start, stop, dtype=np.float32)[:, None]
    observation = (10.0 * step + np.arange(2, dtype=np.float32))[..., None]  # [T, B, 1]
    made.add(
        {"observation": tf.constant(observation)},
        tf.constant(CLICKS[rows]),
        tf.constant(REWARD[rows]),
        tf.constant(DONE[rows]),
        tf.constant(SESSION[rows]),
    )


def stored(made, name):
    return made.columns[name].numpy()[: int(made.ring.added)]


def test_sums_over_the_horizon_end_with_the_session():
    weights = tf.ones([3, 1])
    sums = online_measurements.window_sums(
        tf.constant(REWARD[..., None]), tf.constant(SESSION), tf.constant(4), weights
    )
    # Three steps of the same session at most.
    by_hand = [[1 + 4 + 16, 2], [4 + 16, 8 + 32 + 128], [16, 32 + 128 + 512]]
    by_hand += [[64 + 256 + 1024, 128 + 512 + 2048]]
    np.testing.assert_array_equal(sums[..., 0], by_hand)


def test_windows_and_the_discount():
    parts = vector(("reward@0", "reward@1..2", "reward@1..")).parts
    weights = online_measurements.window_weights(parts, 4, 0.5)
    by_hand = [[1, 0, 0], [0, 0.5, 0.5], [0, 0.25, 0.25], [0, 0, 0.125]]
    np.testing.assert_array_equal(weights, by_hand)


# m of the first four steps of both columns, as declared in NAMES, by hand.
MEASURED = [
    [[1, 21, 4, 2, 0], [0, 2, 0, 0, 1]],
    [[0, 20, 16, 1, 0], [1, 168, 32, 2, 0]],
    [[1, 16, 0, 0, 1], [0, 672, 128, 2, 0]],
    [[0, 1344, 256, 2, 0], [1, 2688, 512, 2, 0]],
]


@pytest.mark.parametrize("cuts", [(6,), (1, 3, 6), (2, 4, 6), (1, 2, 3, 4, 5, 6)])
def test_a_step_is_stored_after_its_horizon_however_steps_arrive(cuts):
    made, measured = replay()
    start, counts = 0, []
    for stop in cuts:
        add(made, start, stop)
        start = stop
        counts.append(int(made.ring.added))
    assert counts == [2 * max(0, stop - 2) for stop in cuts]
    rows = np.array(MEASURED, np.float32).reshape(8, 5)
    np.testing.assert_array_equal(stored(made, "measurement"), rows)
    # The observations, and the measurement of the first step of each step's session.
    observed = [0, 1, 10, 11, 20, 21, 30, 31]
    np.testing.assert_array_equal(stored(made, "observation")[:, 0], observed)
    firsts = [MEASURED[t][b] for t, b in [(0, 0), (0, 1), (0, 0), (1, 1)]]
    firsts += [MEASURED[t][b] for t, b in [(0, 0), (1, 1), (3, 0), (1, 1)]]
    np.testing.assert_array_equal(stored(made, "outcome"), firsts)
    # Standardised by the mean and standard deviation of all stored steps.
    np.testing.assert_allclose(measured.mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(measured.std, rows.std(axis=0), rtol=1e-6)
    scaled = measured.standardise(stored(made, "measurement")).numpy()
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-6)


def test_nothing_is_stored_or_standardised_before_a_horizon_is_over():
    made, measured = replay(horizon=6)
    add(made, 0, 5)
    assert int(made.ring.added) == 0
    np.testing.assert_array_equal(measured.mean, np.zeros(5))
    np.testing.assert_array_equal(measured.std, np.ones(5))
    assert made.held["session"].numpy().shape == (5, 2)
    add(made, 5, 6)
    assert int(made.ring.added) == 2
    assert stored(made, "measurement")[0].tolist() == [1, 21, 4, 2, 0]


def test_a_horizon_of_one_step_holds_nothing_back():
    made, _ = replay(horizon=1, names=("reward@0", "click@0"))
    add(made, 0, 6)
    np.testing.assert_array_equal(stored(made, "measurement")[:, 0], REWARD.reshape(-1))
    assert made.held["session"].numpy().shape == (0, 2)


def test_a_column_that_is_constant_is_divided_by_its_size():
    made, measured = replay(horizon=1, names=("step@0", "reward@0"))
    add(made, 0, 2)
    np.testing.assert_allclose(measured.std, [1.0, REWARD[:2].std()], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reward@3", "'reward@3' reaches beyond the horizon of 3 steps"),
        ("click@1..3", "'click@1..3' reaches beyond the horizon of 3 steps"),
        ("mean(click)", r"'mean\(click\)': a live simulator gives sums"),
        ("watch@0", "no column 'watch'; there are click, reward, step, exit"),
    ],
)
def test_a_measurement_that_cannot_be_taken_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        replay(names=("click@0", name))
