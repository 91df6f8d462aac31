"""Evaluation of models whose paths lead to items: their lists, and how many lack paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tfrec.baselines.paths import pgpr
from tfrec.data import protocols, sequences
from tfrec.evaluation import next_items


class Completed(NamedTuple):
    """How far lists were completed with items to which no path leads.

    Attributes:
      users: share of users with such an item in their list.
      places: share of such items in all lists.
    """

    users: float
    places: float


class MakeLists(Protocol):
    """What makes lists of users, as `pgpr.PathModel.lists` does."""

    def __call__(
        self, users: np.ndarray, history: sequences.Sequences, k: int
    ) -> pgpr.Lists: ...


def validation(
    held_out: protocols.HeldOut, count: int, seed: int
) -> Callable[[MakeLists], float]:
    """The mean nDCG@10 of the lists of some validation users.

    Args:
      held_out: validation events.
      count: users at most, drawn at random.
      seed: of the draw.
    """
    drawn = protocols.drawn_users(held_out, count, seed)
    k = min(10, drawn.history.num_items)

    def validate(lists: MakeLists) -> float:
        return next_items.mean_ndcg(lists(drawn.users, drawn.history, k).items, drawn)

    return validate


def evaluate(
    model: pgpr.PathModel,
    split: protocols.Split,
    cutoffs: Sequence[int] = next_items.CUTOFFS,
) -> tuple[next_items.Evaluation, Completed]:
    """Compares the lists of all test users with their held-out events.

    Args:
      model: trained on the training events.
      split: the events.
      cutoffs: lengths of the list, each at most the number of items.

    Raises:
      UserError: if a cutoff is larger than the catalogue.
    """
    test = split.test
    next_items.check_cutoffs(cutoffs, test.history.num_items)
    found = model.lists(test.users, test.history, max(cutoffs))
    evaluation = next_items.evaluate_lists(found.items, test, split.train, cutoffs)
    return evaluation, completed(found)


def completed(lists: pgpr.Lists) -> Completed:
    """The shares of lists and of places without a path.

    Args:
      lists: of users, arrays.
    """
    without = (lists.items > 0) & ~lists.with_path
    places = max(1, int((lists.items > 0).sum()))
    return Completed(float(without.any(axis=1).mean()), float(without.sum() / places))
