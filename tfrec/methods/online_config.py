"""Options of all methods that learn step by step; importing them needs no TensorFlow."""

import dataclasses
from typing import Literal

from tfrec.options import Options, option

Vectors = Literal["own", "views", "viewers"]
VECTORS_HELP = (
    "features of items: own, those of the environment; views, vectors learned from the views "
    "of users under random recommendations; viewers, such vectors only for the encoding of "
    "users, while items have those of the environment"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplaySizeConfig(Options):
    """The replay of a method that learns from one; a run limits it to its steps."""

    replay_size: int = option(200_000, "capacity of the replay, transitions", at_least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomStartConfig(Options):
    """Random actions at the start of play; a run extends them to its warm-up."""

    random_steps: int = option(10_000, "initial steps with random actions", at_least=0)


@dataclasses.dataclass(frozen=True)
class OnlineConfig(Options):
    """Amounts of play, learning and testing, equal for all methods of a comparison."""

    sessions: int = option(64, "parallel sessions", at_least=1)
    rollout_steps: int = option(8, "steps of each session in an iteration", at_least=1)
    updates: int = option(32, "updates in an iteration", at_least=0)
    warm_up: int = option(10_000, "steps of all sessions before the first update", at_least=0)
    total_iterations: int = option(1_000, "iterations in the run", at_least=1)
    test_every: int = option(50, "iterations between tests", at_least=1)
    test_sessions: int = option(256, "sessions of a test, the same in every test", at_least=2)
