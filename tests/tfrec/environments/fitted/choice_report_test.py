"""The report of the adversarial user model, by hand."""

import math

import numpy as np
import pytest

from tfrec import types
from tfrec.environments.fitted import choice_report


def held_out(clicked, displayed=2, user=None):
    clicked = np.array(clicked)
    user = np.arange(len(clicked)) if user is None else np.array(user)
    return choice_report.Choices(user, np.ones([len(clicked), displayed], int), clicked, {})


def test_scores_by_hand():
    # Rewards log 2 and log 5: nothing 1/8, the logged item 2/8; log 4 and log 3: 1/8 and 4/8.
    reward = np.log([[2.0, 5.0], [2.0, 5.0], [4.0, 3.0]])
    scores = choice_report.scores(reward, held_out([True, False, True]))
    expected = (math.log(2 / 8) + math.log(1 / 8) + math.log(4 / 8)) / 3
    assert scores["log_likelihood"]["mean"] == pytest.approx(expected)
    assert scores["precision@1"]["mean"] == 0.5  # of two clicks, one is of the best item
    assert "precision@2" not in scores  # two items are displayed


def test_uniform_scores():
    scores = choice_report.scores(np.zeros([4, 3]), held_out([True] * 4, displayed=3))
    assert scores["log_likelihood"]["mean"] == pytest.approx(-math.log(4))
    assert scores["precision@1"]["mean"] == pytest.approx(1 / 3)
    assert scores["precision@2"]["mean"] == pytest.approx(2 / 3)


def test_ties_are_broken_evenly():
    reward = np.array([[1, 2, 0.0], [1, 1, 0], [1, 1, 2], [1, 1, 1]])
    np.testing.assert_allclose(choice_report.first_among(reward, 1), [0, 1 / 2, 0, 1 / 3])
    np.testing.assert_allclose(choice_report.first_among(reward, 2), [1, 1, 1 / 2, 2 / 3])


def test_intervals_are_over_users():
    # Errors of the users: (1 - 2) + (2 - 2) = -1 and 3 - 2 = 1.
    mean = choice_report.mean_over_users(np.array([1.0, 2.0, 3.0]), np.array([7, 7, 9]))
    half = 1.96 * math.sqrt(2) / 3
    assert mean == pytest.approx({"mean": 2.0, "low": 2 - half, "high": 2 + half})


def test_the_popularity_reward_is_the_likeliest_one():
    rng = np.random.default_rng(0)
    x = np.log1p(rng.integers(0, 50, [20_000, 3]))
    reward = 0.7 * x - 1.5
    weight = np.concatenate([np.ones([20_000, 1]), np.exp(reward)], axis=1)
    selected = (
        rng.random([20_000, 1]) > np.cumsum(weight, 1) / weight.sum(1, keepdims=True)
    ).sum(1)
    # Rows where another item than the first was chosen are turned, so that it is the first.
    rows = np.flatnonzero(selected > 1)
    for row in rows:
        x[row, [0, selected[row] - 1]] = x[row, [selected[row] - 1, 0]]
    result = choice_report.popularity_reward(x, selected > 0)
    assert result(np.array(0.0)) == pytest.approx(-1.5, abs=0.12)
    assert result(np.array(1.0)) - result(np.array(0.0)) == pytest.approx(0.7, abs=0.05)


def test_a_log_of_clicks_alone_has_a_popularity_reward():
    reward = choice_report.popularity_reward(
        np.array([[2.0, 0.0], [1.0, 0.0]]), np.array([True] * 2)
    )
    assert np.isfinite(reward(np.array([0.0, 1.0]))).all()


def test_clicks_of_items_by_hand():
    log = types.Episodes(
        *[None] * 3,
        item=np.array([[1, 2, 0], [2, 2, 3]]),
        feedback=np.array([[[1], [0], [0]], [[1], [1], [0]]], np.float32),
        length=np.array([2, 3]),
        exited=None,
    )
    both = choice_report.item_clicks(log, np.array([True, True]), num_items=3)
    assert both.tolist() == [0, 1, 2, 0]
    last = choice_report.item_clicks(log, np.array([False, True]), num_items=3)
    assert last.tolist() == [0, 0, 2, 0]
