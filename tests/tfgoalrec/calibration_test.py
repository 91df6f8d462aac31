import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfgoalrec import calibration, world_model

NAMES = ("click@0", "click@1..3", "click@4..", "exit@0", "mean(click)")
BATCH = 7


def made(head="bilinear"):
    measured = small.fitted(NAMES)
    config = small.config(advantage=head)
    noise = np.random.default_rng(1)
    tf_keras.utils.set_random_seed(0)
    model = world_model.WorldModel(
        config, small.SPEC, measured.size, noise.normal(size=(7, 4)).astype(np.float32)
    )
    for variable in model.trainable_variables:
        variable.assign_add(noise.normal(scale=0.3, size=variable.shape))
    return model, measured


def encoded(model):
    goal = small.unit_goals(BATCH, 5)
    return model.encode(small.observations(BATCH), goal), goal


def test_moments_are_centred():
    advantage = tf.constant([[1.0, 0.0], [3.0, 0.0]])
    residual = tf.constant([[10.0, 1.0], [14.0, 5.0]])
    moments = calibration.moments(advantage, residual)
    np.testing.assert_allclose(moments.covariance, [2.0, 0.0])
    np.testing.assert_allclose(moments.advantage, [1.0, 0.0])


def blocks(*covariances, advantage=1.0):
    """Moments of one measurement in blocks with these covariances."""
    covariance = tf.constant([[c] for c in covariances], tf.float32)
    return calibration.Moments(covariance, advantage * tf.ones_like(covariance))


def test_a_slope_is_shrunk_by_its_standard_error():
    far = small.fitted(("click@4..",))

    def slope(*covariances, advantage=1.0):
        return calibration.slope(blocks(*covariances, advantage=advantage), far).numpy().item()

    # Blocks agree: no error. Slope .5, also with twice the moments.
    assert slope(0.5, 0.5) == pytest.approx(0.5)
    assert slope(1.0, 1.0, advantage=2.0) == pytest.approx(0.5)
    # Blocks .25 and .75: squared error (.25^2 + .25^2) / (2 x 1) = 1 / 16, 1 / 16 / .5 = 1 / 8.
    assert slope(0.25, 0.75) == pytest.approx(0.375)
    # Advantage 2: slope 1 of covariances 1 and 3, squared error (1 + 1) / 2 / 2^2 = 1 / 4.
    assert slope(1.0, 3.0, advantage=2.0) == pytest.approx(0.75)
    # More blocks of the same spread say more: 4 x .25^2 / (4 x 3) = 1 / 48, / .5 = 1 / 24.
    assert slope(0.25, 0.75, 0.25, 0.75) == pytest.approx(0.5 - 1 / 24)
    # An error above the slope, a negative slope, and nothing at all.
    assert slope(-1.0, 2.0) == 0.0
    assert slope(-1.0, -1.0) == 0.0
    assert slope(0.0, 0.0, advantage=0.0) == 0.0
    # At most 1.
    assert slope(3.0, 3.0) == 1.0


def test_advantages_of_this_step_are_never_dropped():
    """Else all items tie under a goal of which the held-out sessions show nothing."""
    nothing = calibration.Moments(-tf.ones([4, 5]), tf.ones([4, 5]))
    slope = calibration.slope(nothing, small.fitted(NAMES)).numpy()
    np.testing.assert_allclose(slope, [0.01, 0.0, 0.0, 0.01, 0.0])


def test_slopes_of_the_exit_alone():
    np.testing.assert_array_equal(calibration.exit_alone(small.fitted(NAMES)), [1, 0, 0, 1, 0])


def test_measurements_that_the_exit_leaves_without_an_advantage():
    def columns(*names):
        return list(calibration.discarded("exit", small.fitted(names)))

    # Columns of this step, or of steps after it, which an exit loses.
    assert columns("click@0", "exit@0", "click@1..3", "step@1..", "watch@2") == []
    assert columns("click@0..", "click@0..2", "exit@0") == ["click@0..", "click@0..2"]
    assert columns("mean(click)", "embedding(click)", "exit@0", "click@0") == [
        "mean(click)", "embedding(click)[0]", "embedding(click)[1]",
    ]  # fmt: skip
    # Without the exit, steps after this one have no advantage.
    assert columns("click@0", "click@1..", "exit@1..") == ["click@1..", "exit@1.."]
    for far_windows in ("calibrated", "learned"):
        assert (
            calibration.discarded(far_windows, small.fitted(("click@0..", "mean(click)"))) == {}
        )


@pytest.mark.parametrize("head", ["bilinear", "mlp"])
def test_the_discarded_columns_are_those_under_which_all_items_tie(head):
    model, measured = made(head)
    calibration.prepare(model, measured)
    model.slope.assign(calibration.exit_alone(measured))
    discarded = calibration.discarded("exit", measured)
    observation = small.observations(BATCH)
    for place, column in enumerate(measured.columns):
        goal = tf.one_hot(tf.fill([BATCH], place), len(measured.columns))
        scores = model.scores(model.encode(observation, goal), goal).numpy()  # [B, A]
        tied = np.ptp(scores, axis=1).max() < 1e-5
        assert tied == (column in discarded), column


def test_a_goal_on_a_discarded_measurement_is_rejected_by_name():
    calibration.check_goal("now", {"click@0": 1.0, "mean(click)": 0.0}, {"mean(click)": "x=y"})
    with pytest.raises(ValueError, match=r"goal 'ctr' weighs mean\(click\): x=y gives every"):
        calibration.check_goal(
            "ctr", {"click@0": 1.0, "mean(click)": -0.1}, {"mean(click)": "x=y"}
        )


def test_only_windows_after_this_step_end_with_the_exit():
    model, measured = made()
    calibration.prepare(model, measured)
    np.testing.assert_array_equal(model.after, [0, 1, 1, 0, 0])
    np.testing.assert_allclose(model.exit, [0, 0, 0, measured.std.numpy()[3], 0])
    # A measurement of 0, standardised.
    np.testing.assert_allclose(model.origin, (0 - measured.mean) / measured.std)


@pytest.mark.parametrize("head", ["bilinear", "mlp"])
def test_a_new_model_does_not_change_its_advantages(head):
    model, _ = made(head)
    code, _ = encoded(model)
    vector = model.item_vectors(tf.fill([BATCH, 1], 2))
    np.testing.assert_array_equal(
        model.advantage_of(code, vector), model.learned_advantage(code, vector)
    )


@pytest.mark.parametrize("head", ["bilinear", "mlp"])
def test_the_exit_replaces_the_reduced_part_of_an_advantage(head):
    model, measured = made(head)
    calibration.prepare(model, measured)
    model.slope.assign([1.0, 0.25, 0.0, 0.5, 0.8])
    code, goal = encoded(model)
    vector = model.item_vectors(tf.fill([BATCH, 1], 2))
    learned = model.learned_advantage(code, vector).numpy()[:, 0]
    mean, std = measured.mean.numpy(), measured.std.numpy()
    raw = model.value(code).numpy() * std + mean  # V in raw units
    leaving = learned[:, 3] * std[3] * 0.5  # advantage of the exit, a probability
    stays = 1.0 - np.clip(raw[:, 3], 0.0, 0.9)
    expected = learned * [1.0, 0.25, 0.0, 0.5, 0.8]
    expected[:, 1] -= 0.75 * leaving * (raw[:, 1] / stays) / std[1]
    expected[:, 2] -= 1.0 * leaving * (raw[:, 2] / stays) / std[2]
    advantage = model.advantage_of(code, vector).numpy()[:, 0]
    np.testing.assert_allclose(advantage, expected, rtol=1e-4, atol=1e-5)
    # Items are ranked by the goal's product with it.
    scores = model.scores(code, goal).numpy()[:, 1]
    value = (goal.numpy() * model.value(code).numpy()).sum(axis=1)
    np.testing.assert_allclose(
        scores, value + (goal.numpy() * advantage).sum(axis=1), atol=1e-4
    )
    if head == "bilinear":
        query = model.query(code, goal).numpy()
        np.testing.assert_allclose(
            (query * vector.numpy()[:, 0]).sum(axis=1),
            (goal.numpy() * advantage).sum(axis=1),
            atol=1e-4,
        )


def test_noise_gets_no_slope_and_a_true_effect_gets_one():
    random = np.random.default_rng(0)
    true = np.array([1.0, 0.0, 0.7, 0.0, 0.3], np.float32)

    def moments():
        advantage = random.normal(size=(4000, 5)).astype(np.float32)
        noise = random.normal(size=(4000, 5)).astype(np.float32)
        return calibration.moments(
            tf.constant(advantage), tf.constant(true * advantage + noise)
        )

    stacked = calibration.Moments(
        *map(tf.stack, zip(*(moments() for _ in range(4)), strict=True))
    )
    slope = calibration.slope(stacked, small.fitted(NAMES))
    np.testing.assert_allclose(slope, true, atol=0.03)


def test_an_effect_far_below_the_noise_needs_many_steps():
    """An advantage of 1% of the noise: half a standard error in few steps, five in many."""
    random, far = np.random.default_rng(1), small.fitted(("click@4..",))

    def slopes(steps):
        draws = []
        for _ in range(20):
            parts = [
                calibration.moments(tf.constant(a), tf.constant(a + n))
                for a, n in zip(
                    random.normal(size=(16, steps, 1)).astype(np.float32),
                    random.normal(size=(16, steps, 1), scale=100.0).astype(np.float32),
                    strict=True,
                )
            ]
            stacked = calibration.Moments(*map(tf.stack, zip(*parts, strict=True)))
            draws.append(calibration.slope(stacked, far).numpy().item())
        return np.array(draws)

    few, many = slopes(150), slopes(15_000)
    assert few.std() > 0.3  # nearly any slope in [0, 1]
    assert many.mean() > 0.8 and many.std() < 0.2
