"""Metrics of rankings by score: recall, precision and nDCG at k; AUC, also within groups.

Axes: B lists (requests), N items, k positions of the list, L examples.

Lists are ranked by score, highest first. Equal scores keep the order of the items, so that a
metric of a constant score depends on that order: break ties first, or use AUC, where a tie
counts one half.
"""

import numpy as np

from tfrec.metrics import lists


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k highest scores, best first, ties by position: int [B, k].

    Args:
      scores: [B, N]; -inf leaves an item last.
      k: 1..N.

    Raises:
      ValueError: if a score is NaN or k is out of range.
    """
    scores = np.asarray(scores)
    if np.isnan(scores).any():
        raise ValueError(f"list {np.argwhere(np.isnan(scores))[0, 0]} has a score that is NaN")
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k is {k}; expected 1 to {scores.shape[1]}, the number of items")
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def recall_at_k(scores: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the relevant items that are among the first k.

    Args:
      scores: [B, N].
      relevant: bool [B, N].
      k: length of the list.

    Returns:
      float [B], NaN where a list has no relevant item: average with `np.nanmean`.
    """
    relevant = _relevance(scores, relevant).astype(bool)
    hits = np.take_along_axis(relevant, top_k(scores, k), axis=1)  # [B, k]
    return lists.recall(hits, relevant.sum(axis=1), k)


def precision_at_k(scores: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the first k that is relevant, float [B]; arguments as in `recall_at_k`."""
    relevant = _relevance(scores, relevant).astype(bool)
    return np.take_along_axis(relevant, top_k(scores, k), axis=1).mean(axis=1)


def ndcg_at_k(scores: np.ndarray, relevance: np.ndarray, k: int) -> np.ndarray:
    """Discounted gain of the first k over that of the best order.

    DCG = sum_i gain_i / log2(i + 1) over positions i = 1..k, with the relevance itself as
    gain (Jarvelin and Kekalainen 2002).

    Args:
      scores: [B, N].
      relevance: [B, N], not negative; 0/1 or graded.
      k: length of the list.

    Returns:
      float [B] in [0, 1], NaN where no item has any relevance.
    """
    relevance = _relevance(scores, relevance).astype(np.float64)
    if (relevance < 0).any():
        raise ValueError("relevance is negative")
    discount = lists.discounts(k)  # [k]
    gained = np.take_along_axis(relevance, top_k(scores, k), axis=1) @ discount
    best = -np.sort(-relevance, axis=1)[:, :k] @ discount
    return lists.ratio(gained, best)


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Chance that a positive example outscores a negative one; a tie counts one half.

    Args:
      scores: [L].
      labels: [L], 0/1.

    Returns:
      The area under the ROC curve, the Mann-Whitney U over its maximum.

    Raises:
      ValueError: if there is no positive or no negative, or a score is NaN.
    """
    value, _ = _auc_by_group(scores, labels, np.zeros(np.shape(scores), np.int64))
    if np.isnan(value[0]):
        raise ValueError("AUC needs both a positive and a negative example")
    return float(value[0])


def grouped_auc(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """AUC within each group, averaged with the groups' example counts as weights.

    A recommender ranks within the list of one user; an AUC over all users also rewards a
    prediction of which users click much (Zhou et al. 2018, GAUC). Groups without both a
    positive and a negative example are left out.

    Args:
      scores: [L].
      labels: [L], 0/1.
      groups: [L], e.g. user or session ids.

    Raises:
      ValueError: if no group has both classes, or a score is NaN.
    """
    values, sizes = _auc_by_group(scores, labels, groups)
    usable = ~np.isnan(values)
    if not usable.any():
        raise ValueError("no group has both a positive and a negative example")
    return float(np.average(values[usable], weights=sizes[usable]))


def _auc_by_group(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUC (NaN without both classes) and example count of each group, each [G]."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if not scores.ndim == 1 or not scores.shape == labels.shape == np.shape(groups):
        raise ValueError(
            f"scores, labels and groups are {scores.shape}, {labels.shape} and "
            f"{np.shape(groups)}; expected three vectors of one length"
        )
    if np.isnan(scores).any():
        raise ValueError(f"score {np.flatnonzero(np.isnan(scores))[0]} is NaN")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    names, group = np.unique(groups, return_inverse=True)
    order = np.lexsort((scores, group))
    score, group, positive = scores[order], group[order], labels[order].astype(bool)
    # Runs of equal score within a group share the mean of the ranks they span.
    starts = np.ones(len(score), bool)
    starts[1:] = (score[1:] != score[:-1]) | (group[1:] != group[:-1])
    run = np.cumsum(starts) - 1  # [L]
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(score)) - 1
    size = np.bincount(group, minlength=len(names))
    before = np.cumsum(size) - size  # examples of earlier groups
    rank = (first + last)[run] / 2 - before[group] + 1  # from 1 within the group
    positives = np.bincount(group, positive, minlength=len(names))
    rank_sum = np.bincount(group, rank * positive, minlength=len(names))
    wins = rank_sum - positives * (positives + 1) / 2
    return lists.ratio(wins, positives * (size - positives)), size


def _relevance(scores: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    relevance = np.asarray(relevance)
    if np.ndim(scores) != 2 or relevance.shape != np.shape(scores):
        raise ValueError(
            f"scores are {np.shape(scores)} and relevance {relevance.shape}; expected both "
            "to be [lists, items]"
        )
    return relevance
