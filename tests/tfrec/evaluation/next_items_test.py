"""Ranking of held-out events: lists by hand, and against a slow second implementation."""

import math

import numpy as np
import pytest

from tfrec.data import protocols
from tfrec.data.sequences import Sequences
from tfrec.errors import UserError
from tfrec.evaluation import next_items


def make(rows, num_items):
    offsets = np.cumsum([0, *map(len, rows)])
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(items, offsets, num_items)


class Fixed:
    """Gives prepared scores; histories must come in order."""

    def __init__(self, scores):
        self._scores, self._done = np.asarray(scores, np.float32), 0
        self.batches = []

    def scores(self, history):
        start, self._done = self._done, self._done + len(history)
        self.batches.append(len(history))
        return self._scores[start : self._done].copy()


def test_seen_items_are_left_out_and_ties_keep_the_order_of_the_catalogue():
    history = make([[2], [1, 3]], 5)
    ranker = Fixed([[0, 9, 1, 1, 5], [7, 1, 7, 1, 1]])
    assert next_items.rank(ranker, history, 3).tolist() == [[5, 3, 4], [2, 4, 5]]


def test_a_list_ends_where_no_item_is_left():
    history = make([[1, 2, 4]], 4)
    assert next_items.rank(Fixed([[4, 3, 2, 1]]), history, 9).tolist() == [[3, 0, 0, 0]]


def test_users_are_ranked_in_batches_of_bounded_size(monkeypatch):
    monkeypatch.setattr(next_items, "_SCORES_AT_ONCE", 8)
    scores = np.random.default_rng(0).random([5, 4])
    ranker, history = Fixed(scores), make([[1]] * 5, 4)
    ranked = next_items.rank(ranker, history, 2)
    assert ranker.batches == [2, 2, 1]
    assert ranked.tolist() == next_items.rank(Fixed(scores), make([[1]] * 5, 4), 2).tolist()


def test_a_score_that_is_nan_is_rejected():
    with pytest.raises(FloatingPointError, match="NaN"):
        next_items.rank(Fixed([[0, np.nan]]), make([[1]], 2), 1)


def test_a_seen_target_is_missed_and_a_repeated_one_counts_once():
    held_out = protocols.HeldOut(np.arange(2), make([[1], [2]], 4), make([[1, 2], [3, 3]], 4))
    evaluation = next_items.evaluate(
        Fixed([[9, 8, 7, 6], [9, 8, 7, 6]]), held_out, make([[1], [2]], 4), cutoffs=(2,)
    )
    # User 0 sees 2, 3: one of two targets (1 is seen). User 1 sees 1, 3: all of one target.
    assert evaluation.by_user["recall@2"].tolist() == [1 / 2, 1]
    assert evaluation.by_user["ndcg@2"] == pytest.approx(
        [1 / (1 + 1 / math.log2(3)), 1 / math.log2(3)]
    )
    assert evaluation.coverage == {2: 3 / 4}


def test_novelty_counts_users_and_not_events():
    held_out = protocols.HeldOut(np.arange(1), make([[3]], 3), make([[1]], 3))
    train = make([[1, 1, 1], [1], [2], [3], []], 3)  # the last user has no training event
    evaluation = next_items.evaluate(Fixed([[2, 1, 3]]), held_out, train, cutoffs=(2,))
    # Item 1: two of four users, 1 bit. Item 2: one of four, 2 bits.
    assert evaluation.by_user["novelty@2"].tolist() == [1.5]


def test_an_interval_is_the_mean_and_its_standard_error():
    estimates = next_items.Evaluation(
        np.ones([4, 1], np.int32), {"ndcg@1": np.array([0.0, 1, 1, 0])}, {1: 0.5}
    ).estimates()
    # Standard deviation 1/sqrt(3), standard error 1/sqrt(12).
    half = 3.1824 / math.sqrt(12)  # the 97.5% quantile of t at three degrees of freedom
    assert estimates["ndcg@1"] == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-4)
    assert estimates["coverage@1"] == (0.5, 0.5, 0.5)


def test_a_cutoff_beyond_the_catalogue_is_rejected():
    held_out = protocols.HeldOut(np.arange(1), make([[3]], 3), make([[1]], 3))
    with pytest.raises(UserError, match="cutoffs hold 20; expected at most 3"):
        next_items.evaluate(Fixed([[2, 1, 3]]), held_out, make([[1]], 3))


def slow(scores, history, targets, k):
    """Recall and nDCG at k of one user, from a full sort."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    top = [i + 1 for i in order if i + 1 not in history][:k]
    expected = set(targets)
    gain = sum(1 / math.log2(p + 2) for p, item in enumerate(top) if item in expected)
    best = sum(1 / math.log2(p + 2) for p in range(min(k, len(expected))))
    return len(expected & set(top)) / len(expected), gain / best


def test_against_the_second_implementation():
    rng = np.random.default_rng(2)
    users, num_items = 60, 50
    scores = rng.integers(0, 6, [users, num_items]).astype(float)  # many ties
    history = [
        rng.integers(1, num_items + 1, rng.integers(1, 30)).tolist() for _ in range(users)
    ]
    targets = [
        rng.integers(1, num_items + 1, rng.integers(1, 12)).tolist() for _ in range(users)
    ]
    held_out = protocols.HeldOut(
        np.arange(users), make(history, num_items), make(targets, num_items)
    )
    result = next_items.evaluate(Fixed(scores), held_out, held_out.history, (5, 20)).by_user
    for k in (5, 20):
        rows = zip(scores, history, targets, strict=True)
        expected = np.array([slow(*row, k) for row in rows])
        assert result[f"recall@{k}"] == pytest.approx(expected[:, 0])
        assert result[f"ndcg@{k}"] == pytest.approx(expected[:, 1])
    expected = np.mean(
        [slow(*row, 10)[1] for row in zip(scores, history, targets, strict=True)]
    )
    assert next_items.ndcg_at_10(Fixed(scores), held_out) == pytest.approx(expected)
