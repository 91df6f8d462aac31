"""What the cells of an offline comparison have in common, as flags and as a record."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class OfflineConfig(Options):
    """How methods are trained and evaluated; the same for all of them."""

    protocol: Literal["leave_one_out", "user_ratio"] = option(
        "user_ratio", "held-out events: each user's last one, or last 20%"
    )
    world: Literal["lookup", "fitted", "adversarial"] = option(
        "lookup",
        "users of the training events for reinforcement learning: `lookup`, who click what "
        "the log says that they clicked, or those that launch.fit_simulator fits: `fitted`, of "
        "its recurrent model, or `adversarial`, who choose among displayed items",
    )
    cutoff: int = option(20, "length of the lists, items", at_least=1)
    epochs: int = option(
        200,
        "epochs of a sequential method, and of each part of pgpr_kg, at most",
        at_least=1,
    )
    batch: int = option(128, "users of a batch of a sequential method", at_least=2)
    total_iterations: int | None = option(
        None, "iterations of reinforcement learning; by default those of the preset", at_least=1
    )
    max_steps: int = option(20, "steps of a session of reinforcement learning", at_least=1)
    history_length: int = option(
        20, "events that a method of reinforcement learning reads", at_least=1
    )
