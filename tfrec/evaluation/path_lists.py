"""Evaluation of models of paths: their lists, and the shares of items without a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from tfrec.baselines.paths import pgpr
from tfrec.data import protocols, sequences
from tfrec.evaluation import next_items


class Completed(NamedTuple):
    """Shares of items without a path, which complete lists.

    Attributes:
      users: share of users with such an item in their list.
      places: share of such items in all lists.
    """

    users: float
    places: float


class MakeLists(Protocol):
    """Function with the interface of `pgpr.PathModel.lists`."""

    def __call__(
        self, users: np.ndarray, history: sequences.Sequences, k: int
    ) -> pgpr.Lists: ...


def validation(
    held_out: protocols.HeldOut, count: int, seed: int
) -> Callable[[MakeLists], float]:
    """Function that computes the mean nDCG@10 of lists for sampled validation users.

    Args:
      held_out: validation events.
      count: number of sampled users at most.
      seed: seed of the sample.
    """
    sample = protocols.drawn_users(held_out, count, seed)
    k = min(10, sample.history.num_items)

    def validate(lists: MakeLists) -> float:
        return next_items.mean_ndcg(lists(sample.users, sample.history, k).items, sample)

    return validate


def completed(lists: pgpr.Lists) -> Completed:
    """The shares of lists and of places without a path.

    Args:
      lists: lists of users, arrays.
    """
    without = (lists.items > 0) & ~lists.with_path
    places = max(1, int((lists.items > 0).sum()))
    return Completed(float(without.any(axis=1).mean()), float(without.sum() / places))
