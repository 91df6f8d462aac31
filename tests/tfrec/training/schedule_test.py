"""The learning rate of each round, and updates repeated until one goes bad."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfrec.training import schedule


def rounds(**kwargs):
    return SimpleNamespace(learning_rate=1.0, play_learning_rate=0.5, **kwargs)


def test_the_rate_falls_over_the_log_and_starts_again_lower_in_play():
    config = SimpleNamespace(
        learning_rate=1.0, play_learning_rate=0.5, log_rounds=2, play_rounds=2
    )
    rates = [schedule.learning_rate(config, iteration) for iteration in range(5)]
    # 0.05 + 0.95 (1 + cos) / 2 at shares 0 and 1/2; then half of it; at the end a twentieth.
    np.testing.assert_allclose(rates, [1.0, 0.525, 0.5, 0.2625, 0.025])


def test_a_schedule_without_play_divides_by_nothing():
    config = SimpleNamespace(
        learning_rate=1.0, play_learning_rate=0.5, log_rounds=1, play_rounds=0
    )
    assert schedule.learning_rate(config, 1) == 0.5


def test_a_rate_falls_along_half_a_cosine():
    shares = tf.constant([0.0, 0.5, 1.0, 1.5])
    rates = schedule.annealed(2.0, 0.1, shares)
    np.testing.assert_allclose(rates, [2.0, 1.1, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(schedule.annealed(2.0, 1.0, shares), [2.0] * 4)


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("times, bad_at, made", [(3, 99, 3), (3, 2, 2), (1, 99, 1), (1, 1, 1)])
def test_updates_repeat_until_one_goes_bad_and_report_means(
    request, times, bad_at, made, eagerly
):
    request.addfinalizer(lambda: tf.config.run_functions_eagerly(False))
    tf.config.run_functions_eagerly(eagerly)
    count = tf.Variable(0)

    @tf.function
    def update(number, offset):
        count.assign_add(1)
        bad = tf.where(count >= bad_at, 7, -1)
        batch = {"count": count + offset, "rows": tf.range(number + 1), "absent": None}
        return {"loss": tf.cast(count, tf.float32)}, bad, batch

    @tf.function
    def run():
        return schedule.repeat(update, tf.constant(times), tf.constant(10))

    report, bad, batch = run()
    assert count.numpy() == made
    # The batch of the last update, whose size may differ from the others'.
    assert batch["count"] == 10 + made and batch["absent"] is None
    np.testing.assert_array_equal(batch["rows"], np.arange(made))
    assert report["loss"].numpy() == pytest.approx(np.mean(range(1, made + 1)))
    assert bad.numpy() == (7 if made == bad_at else -1)


def test_no_update_reports_zeros_and_an_empty_batch():
    @tf.function
    def update(number):
        rows = tf.ones([tf.random.uniform([], 2, 3, tf.int32), 4])
        return {"loss": tf.constant(3.0)}, tf.constant(0), {"rows": rows}

    report, bad, batch = tf.function(lambda n: schedule.repeat(update, n))(tf.constant(0))
    assert report["loss"] == 0.0 and bad == -1
    assert batch["rows"].shape == (0, 4)
