"""Training of a sequential method by its name, with item categories where it reads them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, cast

import tensorflow as tf

from tfrec import types
from tfrec.baselines.sequential import learner, methods
from tfrec.data import identity, item_categories, sequences
from tfrec.nn import item_embedding


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
    features: types.Features | None = None,
    sizes: types.FeatureSpec | None = None,
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
      features: encoded features of the items; None if the log has none.
      sizes: their sizes.
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

    def build() -> learner.Model:
        model = parts.build(config, train.num_items, seed, *given)
        if config.use_features and features is not None and sizes is not None:
            model.read_features(sizes)
            item_embedding.set_features(cast(tf.Module, model), features)
        return model

    return learner.fit(
        build,
        train,
        validate,
        directory,
        seed,
        save_every,
        inputs={"log": source},
        extra=extra,
    )
