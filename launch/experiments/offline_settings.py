"""The common settings of the cells of an offline comparison, as flags and as a record."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class OfflineConfig(Options):
    """Training and evaluation, the same for all methods."""

    protocol: Literal["leave_one_out", "user_ratio"] = option(
        "user_ratio", "held-out events: each user's last one, or last 20%"
    )
    world: Literal["adversarial", "fitted", "lookup"] = option(
        "adversarial",
        "users of play, from the training events. Of launch.fit_simulator: `adversarial`, who "
        "choose among displayed items, or `fitted`, of its recurrent model; or `lookup`, who "
        "repeat their clicks of the log and so reject every held-out item",
    )
    cutoff: int = option(20, "length of the lists, items", at_least=1)
    epochs: int = option(
        200,
        "largest number of epochs of a sequential method, and of each part of pgpr_kg",
        at_least=1,
    )
    batch: int = option(128, "users in a batch of a sequential method", at_least=2)
    total_iterations: int | None = option(
        None, "iterations of reinforcement learning; by default those of the preset", at_least=1
    )
    max_steps: int = option(20, "steps of a session of reinforcement learning", at_least=1)
    history_length: int = option(
        20, "events that a method of reinforcement learning reads", at_least=1
    )
