"""Metrics of ranked lists: relevance of the first k items, coverage and novelty.

Axes: B lists (users), k positions of the list, best first, N items.

A list is given by its hits, bool [B, K], and by the number of relevant items of its user,
which may be larger than the number of hits. Every metric at k reads the first k positions and
is float [B], NaN where a user has no relevant item.
"""

import numpy as np


def recall(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the relevant items among the first k; the hit rate for one relevant item."""
    return ratio(_first(hits, k).sum(axis=1), relevant)


def precision(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the first k positions that are relevant."""
    return np.where(relevant > 0, _first(hits, k).mean(axis=1), np.nan)


def ndcg(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Discounted gain of the first k over that of the best list; gains are 0 or 1.

    DCG = sum_i hit_i / log2(i + 1) over positions i = 1..k (Jarvelin and Kekalainen 2002).
    """
    gain = discounts(k)
    best = np.concatenate([[0.0], np.cumsum(gain)])[np.minimum(relevant, k)]  # [B]
    return ratio(_first(hits, k) @ gain, best)


def mrr(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """One over the position of the first relevant item; 0 if the first k hold none."""
    first = _first(hits, k)
    reciprocal_rank = np.where(first.any(axis=1), 1.0 / (1 + first.argmax(axis=1)), 0.0)
    return np.where(relevant > 0, reciprocal_rank, np.nan)


def average_precision(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Mean precision at the positions of the relevant items; MAP is its mean over users.

    AP@k = sum_i hit_i precision@i / min(relevant, k) over positions i = 1..k.
    """
    first = _first(hits, k)
    precisions = first.cumsum(axis=1) / np.arange(1, k + 1)  # [B, k]
    return ratio((first * precisions).sum(axis=1), np.minimum(relevant, k))


def coverage(items: np.ndarray, num_items: int) -> float:
    """Share of the catalogue in at least one list.

    Args:
      items: int [B, k], dense ids; 0 where a list is shorter.
      num_items: N.
    """
    return len(np.setdiff1d(items, 0)) / num_items


def novelty(items: np.ndarray, users_of_item: np.ndarray, num_users: int) -> np.ndarray:
    """Mean self-information of a list's items, bits: -log2 of the share of users with an item.

    Mean inverse user frequency of Castells, Hurley and Vargas (2015). An item without a
    training user counts as if it had one.

    Args:
      items: int [B, k], dense ids; 0 where a list is shorter.
      users_of_item: int [N], training users of each item; item i at index i - 1.
      num_users: training users.

    Returns:
      float [B], NaN where a list is empty.
    """
    information = -np.log2(np.maximum(users_of_item, 1) / num_users)  # [N]
    listed = items > 0
    bits = np.where(listed, information[np.maximum(items, 1) - 1], 0.0)  # [B, k]
    return ratio(bits.sum(axis=1), listed.sum(axis=1))


def discounts(k: int) -> np.ndarray:
    """1 / log2(i + 1) for positions i = 1..k, float [k]."""
    return 1.0 / np.log2(np.arange(2, k + 2))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    result = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)


def _first(hits: np.ndarray, k: int) -> np.ndarray:
    if not 1 <= k <= hits.shape[1]:
        raise ValueError(f"k is {k}; expected 1 to {hits.shape[1]}, the length of the lists")
    return hits[:, :k]
