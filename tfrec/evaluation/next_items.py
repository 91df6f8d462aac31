"""Ranking evaluation of held-out events: the whole catalogue, without sampled negatives.

The items outside a user's history are ranked by score, and the first ones are compared with the
held-out items. Ties are in the order of the catalogue. A held-out item that is also in the
history cannot be listed and counts as missed, as in the published benchmarks; an item that is
held out twice counts once.

Axes: V users, K positions, N items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrec.data import protocols, sequences
from tfrec.errors import UserError
from tfrec.metrics import intervals, lists

CUTOFFS = (10, 20)
METRICS = {
    "recall": lists.recall,
    "precision": lists.precision,
    "ndcg": lists.ndcg,
    "mrr": lists.mrr,
    "map": lists.average_precision,
}

_SCORES_AT_ONCE = 1 << 24  # numbers of a batch of scores: 64 MiB


class Ranker(Protocol):
    """A trained model or a control."""

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the whole catalogue for each history.

        Args:
          history: V rows.

        Returns:
          float [V, N] in memory that may be overwritten, item i at column i - 1; higher scores
          are ranked first.
        """


class Estimate(NamedTuple):
    """A mean over users with its 95% interval (Student's t over users)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: intervals.Interval) -> Estimate:
        """The mean and the bounds of an interval."""
        return cls(interval.mean, interval.low, interval.high)


class Evaluation(NamedTuple):
    """Lists and metrics of one ranker.

    Attributes:
      items: int32 [V, K], the lists, padded with 0.
      by_user: metric such as `ndcg@10` -> float [V].
      coverage: cutoff -> share of the catalogue in at least one list.
    """

    items: np.ndarray
    by_user: Mapping[str, np.ndarray]
    coverage: Mapping[int, float]

    def estimates(self) -> dict[str, Estimate]:
        """Means over users with intervals; the bounds of coverage equal its value."""
        by_metric = {}
        for name, values in self.by_user.items():
            interval = intervals.of_mean(values)
            by_metric[name] = Estimate.of(interval)
        for k, share in self.coverage.items():
            by_metric[f"coverage@{k}"] = Estimate(share, share, share)
        return by_metric


def rank(ranker: Ranker, history: sequences.Sequences, k: int) -> np.ndarray:
    """Ranks the k items with the highest scores outside a history, best first.

    Args:
      ranker: ranker of the catalogue.
      history: V rows.
      k: length of the lists.

    Returns:
      int32 [V, K], K = min(k, N), padded with 0.

    Raises:
      FloatingPointError: if a score is NaN.
    """
    num_items, users = history.num_items, len(history)
    batch_size = max(1, min(1024, _SCORES_AT_ONCE // num_items))
    batches = [np.zeros([0, min(k, num_items)], np.int32)]
    for start in range(0, users, batch_size):
        part = history.select(np.arange(start, min(start + batch_size, users)))
        batches.append(top_unseen(ranker.scores(part), part, k))
    return np.concatenate(batches)


def top_unseen(scores: np.ndarray, history: sequences.Sequences, k: int) -> np.ndarray:
    """Lists of one batch, see `rank`.

    Args:
      scores: float [B, N]; those of items in the history are overwritten.
      history: B rows.
      k: length of the lists.
    """
    if np.isnan(scores).any():
        raise FloatingPointError(
            f"the ranker's score of row {np.argwhere(np.isnan(scores))[0, 0]} is NaN"
        )
    scores[history.rows, history.items - 1] = -np.inf
    return top(scores, k)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """The k items with the highest scores, best first.

    Args:
      scores: float [B, N]; minus infinity for items that may not be listed.
      k: length of the lists.

    Returns:
      int32 [B, K], K = min(k, N), padded with 0.
    """
    # Ties are in the order of the index, so that lists do not depend on the batch.
    best, index = tf.math.top_k(scores, min(k, scores.shape[1]))  # [B, K]
    return np.where(np.isneginf(best.numpy()), 0, index.numpy() + 1).astype(np.int32)


def evaluate(
    ranker: Ranker,
    held_out: protocols.HeldOut,
    train: sequences.Sequences,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Evaluation:
    """Ranks the catalogue for the users of held-out events and compares the lists with them.

    Args:
      ranker: ranker of the catalogue.
      held_out: histories and held-out events.
      train: training events, for novelty.
      cutoffs: lengths of the list, each at most N.

    Raises:
      UserError: if a cutoff is larger than the catalogue.
    """
    check_cutoffs(cutoffs, held_out.history.num_items)
    items = rank(ranker, held_out.history, max(cutoffs))
    return evaluate_lists(items, held_out, train, cutoffs)


def evaluate_lists(
    items: np.ndarray,
    held_out: protocols.HeldOut,
    train: sequences.Sequences,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Evaluation:
    """Compares lists with held-out events.

    Args:
      items: int32 [V, K], dense ids, best first, 0 for none; K is the largest cutoff.
      held_out: histories and held-out events of the V users.
      train: training events, for novelty.
      cutoffs: lengths of the list, each at most K.
    """
    num_items = held_out.history.num_items
    hits, relevant = compared(items, held_out.targets)
    by_user = {
        f"{name}@{k}": metric(hits, relevant, k)
        for k in cutoffs
        for name, metric in METRICS.items()
    }
    pairs = np.unique(train.rows * (num_items + 1) + train.items)  # each user's items once
    train_users = int(np.count_nonzero(train.lengths))
    users_of_item = np.bincount(pairs % (num_items + 1), minlength=num_items + 1)[1:]
    for k in cutoffs:
        by_user[f"novelty@{k}"] = lists.novelty(items[:, :k], users_of_item, train_users)
    coverage = {k: lists.coverage(items[:, :k], num_items) for k in cutoffs}
    return Evaluation(items, by_user, coverage)


def check_cutoffs(cutoffs: Sequence[int], num_items: int) -> None:
    """Rejects a list that is longer than the catalogue.

    Raises:
      UserError: naming the cutoff.
    """
    if max(cutoffs) > num_items:
        raise UserError(
            f"cutoffs hold {max(cutoffs)}; expected at most {num_items}, the items of the log"
        )


def compared(items: np.ndarray, targets: sequences.Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Compares lists with their targets.

    Args:
      items: int32 [V, K].
      targets: V rows.

    Returns:
      Hits, bool [V, K], and the number of distinct targets, int64 [V].
    """
    width = targets.num_items + 1
    relevant = np.unique(targets.rows * width + targets.items)
    listed = np.arange(len(items))[:, None] * width + items  # [V, K]
    return np.isin(listed, relevant), np.bincount(relevant // width, minlength=len(targets))


def ndcg_at_10(ranker: Ranker, held_out: protocols.HeldOut) -> float:
    """Mean nDCG of the first ten, for early stopping."""
    k = min(10, held_out.history.num_items)
    return mean_ndcg(rank(ranker, held_out.history, k), held_out)


def mean_ndcg(items: np.ndarray, held_out: protocols.HeldOut) -> float:
    """Mean nDCG of complete lists.

    Args:
      items: int32 [V, K], dense ids, best first, 0 for none.
      held_out: held-out events of the V users.
    """
    hits, relevant = compared(items, held_out.targets)
    return float(np.mean(lists.ndcg(hits, relevant, hits.shape[1])))
