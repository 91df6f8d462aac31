"""Metrics of lists: by hand, and against a second implementation on random lists."""

import math

import numpy as np
import pytest

from tfrec.metrics import lists

# Hits at positions 1 and 3 of four; three relevant items. No hit, one relevant. None relevant.
HITS = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
RELEVANT = np.array([3, 1, 0])


def test_by_hand():
    log3 = 1 / math.log2(3)
    expected = {
        lists.recall: ([1 / 3, 0], [2 / 3, 0]),
        lists.precision: ([1 / 2, 0], [2 / 4, 0]),
        lists.ndcg: ([1 / (1 + log3), 0], [1.5 / (1 + log3 + 0.5), 0]),
        lists.mrr: ([1, 0], [1, 0]),
        # At 2: precision 1 at position 1, of two that fit. At 4: (1 + 2/3) of three.
        lists.average_precision: ([1 / 2, 0], [(1 + 2 / 3) / 3, 0]),
    }
    for metric, at in expected.items():
        for k, values in zip((2, 4), at, strict=True):
            actual = metric(HITS, RELEVANT, k)
            assert actual[:2] == pytest.approx(values), metric.__name__
            assert np.isnan(actual[2]), metric.__name__


def test_reciprocal_rank_of_a_later_hit():
    hits = np.array([[0, 0, 1, 1]], bool)
    assert lists.mrr(hits, np.array([2]), 4) == pytest.approx([1 / 3])
    assert lists.mrr(hits, np.array([2]), 2).tolist() == [0]


def test_coverage_counts_items_once_and_no_padding():
    assert lists.coverage(np.array([[1, 2], [2, 0]]), 8) == 2 / 8


def test_novelty_is_self_information():
    # Items 1, 2 of 4 and 1 of 4 users: 1 and 2 bits. Item 3 has no user and counts as one.
    items = np.array([[1, 2], [3, 0], [0, 0]])
    novelty = lists.novelty(items, np.array([2, 1, 0]), 4)
    assert novelty[:2].tolist() == [1.5, 2]
    assert np.isnan(novelty[2])


def test_a_cutoff_beyond_the_lists_is_rejected():
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 4"):
            lists.recall(HITS, RELEVANT, k)


# The second implementation: one list at a time, from items and not from hits.


def reference(items, relevant, k):
    top = items[:k]
    hits = [item in relevant for item in top]
    dcg = sum(1 / math.log2(i + 2) for i, hit in enumerate(hits) if hit)
    best = sum(1 / math.log2(i + 2) for i in range(min(k, len(relevant))))
    positions = [i + 1 for i, hit in enumerate(hits) if hit]
    return {
        lists.recall: len(set(top) & relevant) / len(relevant),
        lists.precision: len(set(top) & relevant) / k,
        lists.ndcg: dcg / best,
        lists.mrr: 1 / positions[0] if positions else 0.0,
        lists.average_precision: sum(
            len(set(items[:place]) & relevant) / place for place in positions
        )
        / min(k, len(relevant)),
    }


def test_against_the_second_implementation():
    rng = np.random.default_rng(1)
    items = np.array([rng.permutation(40)[:15] for _ in range(200)])
    relevant = [set(rng.permutation(40)[: rng.integers(1, 20)].tolist()) for _ in items]
    pairs = list(zip(items.tolist(), relevant, strict=True))
    hits = np.array([[item in targets for item in row] for row, targets in pairs])
    counts = np.array([len(r) for r in relevant])
    for k in (1, 5, 15):
        expected = [reference(row, targets, k) for row, targets in pairs]
        for metric in expected[0]:
            actual = metric(hits, counts, k)
            assert actual == pytest.approx([e[metric] for e in expected]), metric.__name__
