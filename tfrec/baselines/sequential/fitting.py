"""Training of a sequential method by its name, with item categories where it reads them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from tfrec.baselines.sequential import learner, methods
from tfrec.data import identity, item_categories, sequences


def fit(
    method: str,
    config: Any,
    train: sequences.Sequences,
    validate: Callable[[learner.Model], float],
    directory: str | os.PathLike,
    seed: int,
    *,
    source: identity.Source,
    protocol: str,
    categories: item_categories.Categories | None = None,
    save_every: int = 1,
    warn: Callable[[str], None],
) -> learner.SequenceLearner:
    """Trains a method in a run's folder, or goes on with the run that is there.

    Args:
      method: its name in `methods.METHODS`.
      config: its configuration.
      train: training events.
      validate: quality of the model's lists, higher is better.
      directory: of the run, see `learner.fit`.
      seed: of weights, batches, negatives, and of clusters that stand for categories.
      source: the log.
      protocol: protocol of the split into training and held-out events.
      categories: categories of the items, for methods with categories; None if the log has
        none.
      save_every: epochs between checkpoints.
      warn: called before training with a sentence for each missing input.

    Returns:
      The learner; its model has the weights of the best epoch.

    Raises:
      UserError: see `learner.fit`.
      SystemExit: likewise.
    """
    parts = methods.METHODS[method]()
    extra = {"method": method, "protocol": protocol}
    given: tuple[Any, ...] = ()
    if parts.categories:
        count = config.num_categories
        of_items, warnings = item_categories.for_training(categories, train, count, seed)
        config = dataclasses.replace(config, num_categories=of_items.num_categories)
        extra["categories"] = identity.fingerprint({"category": of_items.category})
        given = (of_items.category,)
        for warning in warnings:
            warn(warning)
    return learner.fit(
        lambda: parts.build(config, train.num_items, seed, *given),
        train,
        validate,
        directory,
        seed,
        save_every,
        inputs={"log": source},
        extra=extra,
    )
