"""Agents of comparisons with and without features of items, trained on a log alone."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.methods import recommender, registry, trained
from tfrec.methods.log_config import StateConfig

_SAVE_EVERY = 10


def check(methods: Sequence[str]) -> None:
    """Rejects methods that read no features.

    Raises:
      UserError: naming the method.
    """
    for name in methods:
        if not issubclass(registry.get(name, registry.LOG).config, StateConfig):
            raise UserError(f"--methods={name}: reads no features of items")


def trained_on_log(
    run: pathlib.Path,
    data: storage.PreparedData,
    name: str,
    features: bool,
    seed: int,
    log_rounds: int,
    **options: Any,
) -> trained.SavedAgent:
    """A method trained on a log alone; an unfinished run is resumed.

    Args:
      run: folder of the run.
      data: the log, with features of items.
      name: name of the method.
      features: whether it reads them.
      seed: of the run.
      log_rounds: rounds on the log.
      **options: other fields of the method's configuration.
    """
    numbers = registry.get(name).config(use_features=features, log_rounds=log_rounds, **options)
    agent = recommender.of(name, numbers, seed, owner="--")
    agent.fit(data, out=run, save_every=_SAVE_EVERY)
    return agent.agent
