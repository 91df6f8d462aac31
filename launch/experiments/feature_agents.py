"""Agents of comparisons with and without features of items, trained on a log alone."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from tfrec import options as options_lib
from tfrec.baselines.sequential import methods as sequential
from tfrec.data import protocols, sequences, storage
from tfrec.errors import UserError
from tfrec.evaluation import rankers
from tfrec.methods import recommender, registry, trained
from tfrec.methods.log_config import FeaturesConfig

_SAVE_EVERY = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedsConfig(options_lib.Options):
    """The seeds of a comparison."""

    seeds: int = options_lib.option(
        3, "seeds, each with new items and weights of its own", at_least=2, at_most=100
    )
    first_seed: int = options_lib.option(
        0, "the first of them; the others follow", at_least=0, at_most=options_lib.MAX_SEED
    )

    def __post_init__(self):
        super().__post_init__()
        options_lib.check_last_seed(self.first_seed, self.seeds)

    @property
    def each(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


def check(methods: Sequence[str]) -> None:
    """Rejects methods that read no features.

    Raises:
      UserError: naming the method.
    """
    for name in methods:
        if not issubclass(registry.get(name, registry.LOG).config, FeaturesConfig):
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


def trained_sequence(
    run: pathlib.Path,
    data: storage.PreparedData,
    name: str,
    features: bool,
    seed: int,
    epochs: int,
    length: int,
) -> trained.SavedAgent:
    """A sequential method trained on a log, but for each user's last two events.

    The last but one validates: training ends when it brings nothing better. Settings are those
    of SASRec's best results on MovieLens-1M (docs/sequential.md).

    Args:
      run: folder of the run, which is resumed.
      data: the log, with features of items.
      name: name of the method.
      features: whether it reads them.
      seed: of the run.
      epochs: passes over the users at most.
      length: latest events that are read.
    """
    numbers = sequential.METHODS[name]().config(
        use_features=features,
        epochs=epochs,
        length=length,
        batch=32,
        crop="random",
        averaging=0.999,
        patience=8,
    )
    log = sequences.of_prepared(data)
    task = rankers.Task(
        split=protocols.leave_one_out(log),
        protocol="leave_one_out",
        vocabulary=data.vocabulary,
        source=data.source,
        folder=run,
        seed=seed,
        features=data.item_features(),
    )
    return rankers.get(name).train(numbers, task).agent
