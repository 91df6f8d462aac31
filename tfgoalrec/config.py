"""GoalRec's configuration: every option of the method, with its unit."""

import dataclasses
from typing import Literal

from tfgoalrec import stream_config
from tfrec.options import option

# Values that tuning tries, by field.
SPACE: dict[str, tuple] = {
    "learning_rate": (1e-3, 3e-4, 1e-4),
    "embedding": (16, 32, 64),
    "units": (32, 64, 128),
    "stream": (64, 128, 256),
    "batch": (128, 256),
    "discount": (0.0, 0.8),
    "far_windows": ("calibrated", "exit", "learned"),
    "item_input": ("trained", "log"),
    "item_effect": (0.0, 1.0),
}


@dataclasses.dataclass(frozen=True)
class GoalRecConfig(stream_config.StreamConfig):
    """Model, losses, optimiser, goals and Algorithm 1."""

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
    embedding: int = option(16, "width of an item embedding", at_least=1)
    frozen_embedding: int = option(
        8, "width of the frozen item vectors in measurements", at_least=1
    )
    units: int = option(32, "width of the GRU and the AUGRU", at_least=1)
    state: int = option(64, "width of the state vector S(s)", at_least=1)
    crossed: int = option(
        0, "buckets of hashed feature crosses in the state; 0 for none", at_least=0
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
    use_features: bool = option(
        True, "read the features of items that the data declares; else ids alone"
    )
    id_dropout: float = option(
        0.2,
        "share of the items whose ids are dropped in an update, so that features learn to "
        "stand alone; without features nothing is dropped",
        at_least=0,
        below=1,
    )
    # Losses and optimiser.
    auxiliary_weight: float = option(0.1, "weight of DIEN's auxiliary loss", at_least=0)
    learning_rate: float = option(1e-3, "Adam learning rate", above=0, at_most=1)
    play_learning_rate: float = option(
        0.5, "learning rate during play, as a share of learning_rate", at_least=0, at_most=10
    )
    weight_decay: float = option(
        1e-4, "decoupled weight decay per update", at_least=0, at_most=1
    )
    far_windows: Literal["calibrated", "exit", "learned"] = option(
        "calibrated",
        "advantages of windows after this step: calibrated, scaled by a regression on held-out "
        "sessions, with the exit's advantage for the rest; exit, the exit's advantage alone; "
        "learned, without calibration",
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
    batch: int = option(256, "steps of experience in a batch", at_least=1)
    # Algorithm 1.
    replay_sessions: int = option(20480, "sessions that the replay holds", at_least=1)
    keep_log: bool = option(
        True, "keep the log's sessions in the replay when play begins; else they are dropped"
    )
    sessions_per_round: int = option(2048, "sessions played in a round", at_least=1)
    updates_per_round: int = option(60, "updates in a round", at_least=1)
    log_rounds: int = option(
        10, "rounds of learning from the log alone, before any play", at_least=1
    )
    play_rounds: int = option(
        30, "rounds of play and learning, for GoalRec (not GoalRec-off)", at_least=0
    )
    goal_epsilon_end: float = option(
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

    def __post_init__(self):
        super().__post_init__()
        if self.sessions_per_round > self.replay_sessions:
            raise ValueError(
                f"sessions_per_round is {self.sessions_per_round}; expected at most "
                f"replay_sessions, {self.replay_sessions}: a round must fit into the replay"
            )
