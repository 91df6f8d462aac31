"""GoalRec's configuration: every option of the method, with its unit."""

import dataclasses
from typing import ClassVar, Literal

from tfgoalrec.stream_config import StreamConfig
from tfrec.methods.log_config import RoundUpdatesConfig, StateConfig
from tfrec.options import option

# Values that tuning tries, by field.
SPACE: dict[str, tuple] = {
    "learning_rate": (1e-3, 3e-4, 1e-4),
    "embedding": (16, 32, 64),
    "units": (32, 64, 128),
    "stream": (64, 128, 256),
    "batch": (128, 256),
    "averaging": (0.0, 0.99, 0.995),
    "keep_log": (True, False),
    "play_learning_rate": (0.5, 0.1),
    "discount": (0.6, 0.8, 1.0),
    "far_windows": ("calibrated", "exit", "learned"),
    "bootstrap_steps": (0, 4),
    "item_input": ("trained", "log"),
    "item_effect": (0.0, 1.0),
}


@dataclasses.dataclass(frozen=True)
class GoalRecConfig(StreamConfig, StateConfig, RoundUpdatesConfig):
    """Model, losses, optimiser, goals and Algorithm 1."""

    network: ClassVar[tuple[str, ...]] = (
        *StreamConfig.network, *StateConfig.network, "measurements", "frozen_embedding",
        "item_input", "item_effect", "far_windows",
    )  # fmt: skip

    # Measurements and goals.
    measurements: tuple[str, ...] = option(
        (),
        "measurements, e.g. click@0,click@1..3,click@4..,exit@0; empty for the default set",
        distinct=True,
    )
    goals: tuple[str, ...] = option(
        (),
        "named goals as weights in raw units, e.g. 'clicks = 1*click@0 + 0.7*click@1..3'; "
        "the first is the target goal; empty for one goal for each feedback column",
        distinct=True,
    )
    goal_columns: tuple[str, ...] = option(
        (), "feedback columns that get a default goal; empty for every column", distinct=True
    )
    discount: float = option(
        0.8,
        "discount of later windows against the first, in the default goals",
        at_least=0,
        at_most=1,
    )
    # Model.
    frozen_embedding: int = option(
        8, "width of the frozen item vectors in measurements", at_least=1
    )
    item_input: Literal["trained", "log"] = option(
        "trained",
        "input of E(a): trained, the item embedding; log, frozen statistics of the item in "
        "the log",
    )
    item_effect: float = option(
        0.0,
        "learning-rate factor of a per-item advantage beside E(a); 0 for none",
        at_least=0,
    )
    # Losses and optimiser.
    auxiliary_weight: float = option(0.1, "weight of DIEN's auxiliary loss", at_least=0)
    weight_decay: float = option(
        1e-4,
        "decoupled weight decay (AdamW): weights shrink by learning_rate x this in an update",
        at_least=0,
        at_most=1,
    )
    far_windows: Literal["calibrated", "exit", "learned"] = option(
        "calibrated",
        "advantages of windows after this step: calibrated, scaled by a regression on held-out "
        "sessions, with the exit's advantage for the rest; exit, the exit's advantage alone; "
        "learned, without calibration",
    )
    bootstrap_steps: int = option(
        0,
        "steps after which V predicts the rest of windows without an end in a target, at least "
        "the first step of each (4 for click@4..); 0: the rest is observed, as in the paper",
        at_least=0,
    )
    held_out: float = option(
        0.1,
        "share of the log's sessions held out of training to calibrate advantages",
        at_least=0,
        below=1,
    )
    averaging: float = option(
        0.995,
        "decay of the exponential average of the weights, which acts and is exported",
        at_least=0,
        below=1,
    )
    # Algorithm 1.
    log_rounds: int = option(
        10, "rounds of learning from the log alone, before any play", at_least=1
    )
    play_rounds: int = option(
        30, "rounds of play and learning, for GoalRec (not GoalRec-off)", at_least=0
    )
    goal_epsilon_share: float = option(
        0.5,
        "share of the play rounds over which the share of random goals falls to 0",
        at_least=0,
        at_most=1,
    )
    goal_epsilon: float = option(
        0.5, "share of random goals in the first round of play", at_least=0, at_most=1
    )
    action_epsilon: float = option(
        0.2, "share of steps at which play explores another good item", at_least=0, at_most=1
    )
    action_pool: float = option(
        0.1,
        "share of the catalogue, best first, from which exploration draws",
        at_least=0,
        at_most=1,
    )

    @property
    def no_new_items(self) -> str:
        """Why an agent cannot take new items; empty if it can."""
        if self.item_input != "log":
            return ""
        return (
            "item_input is log: the agent reads the log's statistics of each item, and a "
            "new item has none; expected an agent trained with item_input=trained"
        )
