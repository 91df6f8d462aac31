"""Ranking metrics against numbers worked by hand, and AUC against scipy's rank statistic."""

import math

import numpy as np
import pytest
import scipy.stats

from tfrec.metrics import ranking

SCORES = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.2, 0.1]])  # orders 0231 and 1023


def test_top_k_is_best_first_and_keeps_order_among_ties():
    assert ranking.top_k(SCORES, 3).tolist() == [[0, 2, 3], [1, 0, 2]]


def test_recall_and_precision_at_k():
    relevant = np.array([[1, 0, 0, 1], [1, 0, 1, 1]], bool)
    # First two: items 0, 2 hold one of two relevant; items 1, 0 hold one of three.
    assert ranking.recall_at_k(SCORES, relevant, 2) == pytest.approx([1 / 2, 1 / 3])
    assert ranking.precision_at_k(SCORES, relevant, 2) == pytest.approx([1 / 2, 1 / 2])
    assert ranking.recall_at_k(SCORES, relevant, 4).tolist() == [1, 1]


def test_a_list_without_relevant_items_has_no_recall():
    nothing = np.zeros([2, 4], bool)
    nothing[1, 1] = True
    assert np.isnan(ranking.recall_at_k(SCORES, nothing, 1)).tolist() == [True, False]
    assert np.isnan(ranking.ndcg_at_k(SCORES, nothing, 1)).tolist() == [True, False]
    assert ranking.precision_at_k(SCORES, nothing, 1).tolist() == [0, 1]


def test_ndcg_discounts_by_log2_of_the_position():
    graded = np.array([[1, 0, 3, 2], [0, 1, 0, 0]])
    # Order 0, 2, 3: gains 1, 3, 2. Best order: 3, 2, 1.
    got = 1 + 3 / math.log2(3) + 2 / 2
    best = 3 + 2 / math.log2(3) + 1 / 2
    assert ranking.ndcg_at_k(SCORES, graded, 3) == pytest.approx([got / best, 1.0])
    # At 1 the best order also has one position: 1 of 3.
    assert ranking.ndcg_at_k(SCORES, graded, 1) == pytest.approx([1 / 3, 1.0])


def test_lists_that_cannot_be_ranked_are_rejected():
    with pytest.raises(ValueError, match="list 1 has a score that is NaN"):
        ranking.top_k(np.array([[1.0, 2.0], [0.0, np.nan]]), 1)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 4"):
            ranking.top_k(SCORES, k)
    with pytest.raises(ValueError, match=r"relevance \(2, 3\)"):
        ranking.recall_at_k(SCORES, np.ones([2, 3]), 1)
    with pytest.raises(ValueError, match="negative"):
        ranking.ndcg_at_k(SCORES, -np.ones([2, 4]), 1)


def test_auc_counts_pairs_won_and_half_of_the_ties():
    # Positives .8, .5; negatives .5, .1. Pairs: .8 wins 2, .5 ties 1 and wins 1: 3.5 of 4.
    assert ranking.auc([0.8, 0.5, 0.5, 0.1], [1, 1, 0, 0]) == 3.5 / 4
    assert ranking.auc([1, 1, 1, 1], [1, 0, 0, 1]) == 0.5
    assert ranking.auc([3, 2, 1], [0, 0, 1]) == 0.0


def test_auc_is_scipys_mann_whitney_u():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 20, 500) / 20  # many ties
    labels = rng.random(500) < 0.2 + 0.5 * scores
    u = scipy.stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert ranking.auc(scores, labels) == pytest.approx(u / labels.sum() / (~labels).sum())


def test_grouped_auc_weighs_groups_by_their_examples():
    scores = [0.1, 0.9, 0.5, 0.4, 0.3, 0.9]
    labels = [1, 0, 1, 0, 0, 1]
    groups = ["a", "a", "b", "b", "b", "c"]
    # a: the positive loses, 0 of 2 examples; b: wins both, 1 of 3; c has no negative.
    assert ranking.grouped_auc(scores, labels, groups) == pytest.approx((0 * 2 + 1 * 3) / 5)


def test_grouped_auc_is_the_loop_over_groups():
    rng = np.random.default_rng(1)
    scores, groups = rng.integers(0, 9, 400), rng.integers(0, 30, 400)
    labels = rng.integers(0, 2, 400)
    total = weight = 0.0
    for group in range(30):
        mine = groups == group
        if 0 < labels[mine].sum() < mine.sum():
            total += ranking.auc(scores[mine], labels[mine]) * mine.sum()
            weight += mine.sum()
    assert ranking.grouped_auc(scores, labels, groups) == pytest.approx(total / weight)


def test_grouped_auc_ignores_levels_between_groups():
    # Across groups the scores look perfect, within each they are reversed.
    scores, labels = [0.9, 0.8, 0.2, 0.1], [0, 1, 0, 1]
    assert ranking.grouped_auc(scores, labels, [1, 1, 2, 2]) == 0.0


def test_auc_needs_both_classes_and_numbers():
    with pytest.raises(ValueError, match="both a positive and a negative"):
        ranking.auc([1.0, 2.0], [1, 1])
    with pytest.raises(ValueError, match="no group has both"):
        ranking.grouped_auc([1.0, 2.0], [1, 0], [1, 2])
    with pytest.raises(ValueError, match="score 1 is NaN"):
        ranking.auc([1.0, np.nan], [1, 0])
    with pytest.raises(ValueError, match="must be 0 or 1"):
        ranking.auc([1.0, 2.0], [0, 2])
    with pytest.raises(ValueError, match="three vectors of one length"):
        ranking.auc([1.0, 2.0], [0, 1, 1])
