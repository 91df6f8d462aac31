"""Targets with predictions, by hand, on the log of `small`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import bootstrap, measurements
from tfgoalrec import learner as goalrec_learner


def parts_of(*names):
    return [measurements.parse(name, ("click", "watch"), 2) for name in names]


def test_the_rest_of_a_window_is_the_windows_of_its_column():
    names = ("click@0", "click@1..3", "click@4..", "exit@0", "step@1..", "embedding(click)")
    expected = np.zeros([7, 7])  # the embedding has two columns
    expected[2, :3] = 1  # click@4.. is click@0 + click@1..3 + click@4.. of four steps later
    expected[4, 4] = 1  # step@1.. is step@1.. of four steps later, and the certain steps
    np.testing.assert_array_equal(bootstrap.carried(parts_of(*names), 4), expected)


def test_a_window_from_now_on_is_its_own_rest():
    c = bootstrap.carried(parts_of("click@0", "click@0..", "watch@0.."), 1)
    np.testing.assert_array_equal(c, [[0, 0, 0], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("names", "steps", "message"),
    [
        (("click@0", "click@1..3", "click@4.."), 3, "click@4.. starts 4 steps ahead"),
        (("click@0", "click@2.."), 4, "no windows of click add up"),
        (("watch@1..",), 4, "expected e.g. watch@0 and watch@1.., or watch@0.."),
    ],
)
def test_windows_without_a_rest_are_rejected(names, steps, message):
    with pytest.raises(ValueError, match=message):
        bootstrap.carried(parts_of(*names), steps)


def test_the_rest_is_that_of_observed_sessions():
    # With what was observed later in place of V, the target is what was observed.
    measured = small.fitted(("click@0", "click@1..", "watch@0", "watch@1..", "step@1.."))
    episodes = small.tensors(small.sessions())
    raw = measured.raw(episodes).numpy()  # [B, T, M]
    c = bootstrap.carried(measured.parts, 2)
    for row, length in enumerate(small.sessions().length):
        for step in range(length - 2):
            window = slice(step + 1, step + 2)
            clicks, watch = small.sessions().feedback[row, window].sum(axis=0)
            rest = c @ raw[row, step + 2]
            # What was counted before the later step: clicks, seconds and the two next steps.
            first = np.array([raw[row, step, 0], clicks, raw[row, step, 2], watch, 2])
            np.testing.assert_allclose(first + rest, raw[row, step], atol=1e-6)


def test_target_by_hand():
    # click@0 and click@1.. with standard deviations 2 and 4.
    c, std = np.array([[0, 0], [1, 1]], np.float32), tf.constant([2.0, 4.0])
    label = tf.constant([[0.5, 1.0], [0.5, 1.0]])
    later, value = tf.constant([[1.0, 0.0]] * 2), tf.constant([[0.0, 2.0]] * 2)
    goes_on = tf.constant([True, False])
    # In raw units V is 2 lower in click@0 and 8 higher in click@1..: 6 / 4 in click@1...
    target = bootstrap.target(label, later, value, goes_on, c, std)
    np.testing.assert_allclose(target, [[0.5, 2.5], [0.5, 1.0]])


def learner(steps):
    agent = small.agent(
        bootstrap_steps=steps,
        far_windows="learned",
        replay_sessions=3,
        sessions_per_round=1,
        batch=64,
    )
    return goalrec_learner.GoalRecLearner(agent, small.sessions())


def test_batches_have_the_targets_of_the_averaged_weights():
    made = learner(4)
    agent = made.agent
    observed, predicted = learner(0).sample().transition, made.sample().transition
    np.testing.assert_array_equal(observed.item, predicted.item)  # the same steps
    open_windows = [
        index
        for index, name in enumerate(agent.measurements.columns)
        if name in ("click@4..", "watch@4..", "step@1..")
    ]
    change = predicted.measurement.numpy() - observed.measurement.numpy()
    # Only the first step of the session of five steps has a step four steps later: the last.
    first = (observed.item == 5) & (observed.observation.step == 0)
    assert first.numpy().any() and not first.numpy().all()
    np.testing.assert_array_equal(change[~first.numpy()], 0)
    unchanged = np.delete(change, open_windows, axis=1)
    np.testing.assert_array_equal(unchanged, 0)
    row = int(np.flatnonzero(first)[0])
    last = made.replay.rows(tf.constant([8], tf.int64))  # of 4 + 5 + 1 steps
    value = agent.averaged.value(
        agent.averaged.encode(last.observation, predicted.goal[row : row + 1])
    )[0]
    std = agent.measurements.std.numpy()
    raw_change = (value.numpy() - last.label.numpy()[0]) * std
    names = list(agent.measurements.columns)
    clicks = sum(raw_change[names.index(f"click@{w}")] for w in ("0", "1..3", "4.."))
    place = names.index("click@4..")
    np.testing.assert_allclose(change[row, place] * std[place], clicks, rtol=1e-4, atol=1e-5)


def test_a_round_learns():
    made = learner(4)
    report = made.advance()
    assert np.isfinite(report["model_loss"])
