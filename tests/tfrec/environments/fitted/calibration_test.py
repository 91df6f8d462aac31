"""Calibration: means hit the log's, depths hit their target, the report is whole."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import known_users
from tfrec import errors, types
from tfrec.environments import contract
from tfrec.environments.fitted import calibration, recurrent_model

SMALL = recurrent_model.RecurrentModelConfig(
    item_units=5, user_units=3, hidden_units=6, head_units=7, rank=4, repeats=True
)


@pytest.fixture(scope="module")
def log():
    return known_users.log(sessions_per_user=3)


@pytest.fixture
def model():
    """Never fitted: off in every mean."""
    return recurrent_model.RecurrentModel(known_users.SPEC, SMALL, seed=1)


def test_calibration_hits_the_means_of_the_log(model, log):
    before = calibration.expectations(model, log)
    moved = calibration.calibrate(model, log)
    assert set(moved) == {"click", "like", "seconds", "exit"}
    assert all(slope == 1.0 for slope, _ in moved.values())
    for was, head in zip(before, calibration.expectations(model, log), strict=True):
        expected = head.observed.mean()
        assert abs(was.expected.mean() - expected) > 0.02 * expected
        assert head.expected.mean() == pytest.approx(expected, rel=1e-3)
    real = log.item > 0
    assert before[0].observed.mean() == pytest.approx(log.feedback[..., 0][real].mean())
    assert before[-1].observed.sum() == log.exited.sum()


def test_slopes_undo_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(-0.5, 1.0, 50_000)
    outcome = (rng.random(50_000) < 1 / (1 + np.exp(-logits))).astype(float)
    for sure in (1.0, 2.0, 4.0):  # says `sure` times the true logit, and 1 more
        said = 1 / (1 + np.exp(-(sure * logits + 1.0)))
        head = calibration.Head("exit", "probability", said, outcome)
        assert calibration._slope(head) == pytest.approx(1 / sure, rel=0.04)
    never = calibration.Head("exit", "probability", said, np.zeros(50_000))
    assert calibration._slope(never) == 1.0


def test_calibration_with_slopes_keeps_the_means_and_helps(model, log):
    for variable in (model.click_join, model.after_join):
        variable.assign(20.0 * variable)  # answers at random, and very sure of them
    unseen = types.rows(log, np.s_[::5])

    def log_loss():
        head = calibration.expectations(model, unseen)[0]
        return calibration._log_loss(head.expected, head.observed)

    calibration.calibrate(model, log)
    sure = log_loss()
    moved = calibration.calibrate(model, log, unseen=unseen)
    assert moved["click"][0] < 0.7 and log_loss() < 0.9 * sure
    for head in calibration.expectations(model, log):
        assert head.expected.mean() == pytest.approx(head.observed.mean(), rel=1e-3)


@pytest.mark.parametrize("target", [2.5, 6.0])
def test_calibration_hits_a_depth(model, log, target):
    calibration.calibrate(model, log, target_depth=target, seed=3)
    other_draws = calibration._player(model, log, log, seed=4)()
    assert other_draws.length.mean() == pytest.approx(target, rel=0.1)


def test_a_depth_out_of_reach_is_rejected(model, log):
    with pytest.raises(errors.UserError, match=r"target depth is 99.* cut at 10"):
        calibration.calibrate(model, log, target_depth=99.0)


def test_logging_policy_draws_the_users_own_items(log):
    tiny = log._replace(
        user=np.array([1, 2, 2]),
        item=np.array([[3, 3, 3, 4], [5, 0, 0, 0], [6, 0, 0, 0]]),
    )
    user = np.repeat([1, 2, 9], 4000)  # the log does not know user 9
    policy = calibration.logging_policy(tiny, user, known_users.NUM_ITEMS)

    def share(blocked):
        timestep = contract.Timestep(tf.zeros([12000, 0]), None, None, [0, 1], blocked)
        return [
            np.bincount(x, minlength=6) / 4000
            for x in np.split(policy(timestep).numpy()[:, 0], 3)
        ]

    first, second, stranger = share(None)
    np.testing.assert_allclose(first, [0, 0, 3 / 4, 1 / 4, 0, 0], atol=0.03)
    np.testing.assert_allclose(second, [0, 0, 0, 0, 1 / 2, 1 / 2], atol=0.03)
    np.testing.assert_allclose(stranger, [0, 0, 1 / 2, 1 / 6, 1 / 6, 1 / 6], atol=0.03)
    blocked = np.zeros((12000, 12), bool)
    blocked[:, 2] = True  # item 3
    first, second, _ = share(tf.constant(blocked))
    assert first[3] > 0.85 and second[4] == pytest.approx(0.5, abs=0.03)


def test_report_is_whole(model, log, tmp_path):
    calibration.calibrate(model, log)
    some = types.rows(log, np.s_[:60])
    measured = calibration.report(model, some, tmp_path / "out", log=log)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "simulator.json", "simulator.md", "reliability.png", "survival.png", "depth.png",
        "ctr_by_step.png",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "simulator.json").read_text()) == measured
    text = (tmp_path / "out" / "simulator.md").read_text()
    assert "| click |" in text and "| exit |" in text and "(depth.png)" in text
    assert set(measured["heads"]) == {"click", "like", "seconds", "exit"}
    assert set(measured["sessions"]) == {"logged", "simulated"}
    assert measured["sessions"]["logged"]["depth"]["mean"] == pytest.approx(some.length.mean())


def test_scores_by_hand():
    head = calibration.Head(
        "click", "probability", np.array([0.25, 0.25, 0.75, 0.75]), np.array([0.0, 0, 0, 1])
    )
    curve = calibration.reliability.curve(head.expected, head.observed, 2)
    scores = calibration._scores(head, curve)
    assert scores["brier"] == pytest.approx((3 * 0.0625 + 0.5625) / 4)
    assert scores["log_loss"] == pytest.approx(
        -(2 * np.log(0.75) + np.log(0.25) + np.log(0.75)) / 4
    )
    assert scores["constant_log_loss"] == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    assert scores["calibration_error"] == pytest.approx(0.25)
    # Pairs of the click with the three non-clicks: two won, one tied.
    assert scores["auc"] == pytest.approx(2.5 / 3)
