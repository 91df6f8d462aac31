"""Options of every method that learns step by step, without TensorFlow."""

import dataclasses
from typing import Literal

from tfrec.options import Options, option

Vectors = Literal["own", "views", "viewers"]
VECTORS_HELP = (
    "what tells of items: own, the features that they come with; views, vectors learned from "
    "what users view while they are played at random; viewers, the same of users alone, in a "
    "few numbers: what is recommended keeps the features that it comes with"
)


@dataclasses.dataclass(frozen=True)
class OnlineConfig(Options):
    """How much is played, learned and tested. The same for every method of a comparison."""

    sessions: int = option(64, "sessions played side by side", at_least=1)
    rollout_steps: int = option(8, "steps of each of them in an iteration", at_least=1)
    updates: int = option(32, "updates in an iteration", at_least=0)
    warm_up: int = option(10_000, "steps of all sessions before the first update", at_least=0)
    total_iterations: int = option(1_000, "iterations in the run", at_least=1)
    test_every: int = option(50, "iterations between tests", at_least=1)
    test_sessions: int = option(256, "sessions of a test, the same in every test", at_least=2)
