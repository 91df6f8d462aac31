"""GoalRec's configuration: every number of the method, with its unit."""

import dataclasses

from tfrec.training.options import option

_COUNTS = (
    "embedding",
    "frozen_embedding",
    "units",
    "state",
    "goal_units",
    "stream",
    "item_vector",
    "batch",
    "replay_sessions",
    "sessions_per_round",
    "updates_per_round",
    "log_rounds",
)

# What tuning tries, field by field.
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
class GoalRecConfig:
    """Model, losses, optimiser, goals and Algorithm 1."""

    # Measurements and goals.
    measurements: tuple[str, ...] = option(
        (), "measurements, e.g. click@0,click@1..3,click@4..,exit@0; empty for the default set"
    )
    goals: tuple[str, ...] = option(
        (),
        "named goals as weights in raw units, e.g. 'clicks = 1*click@0 + 0.7*click@1..3'; "
        "the first is the target goal; empty for one goal for each feedback column",
    )
    goal_columns: tuple[str, ...] = option(
        (), "feedback columns that get a default goal; empty for every column"
    )
    discount: float = option(
        0.8, "worth of a unit in later windows against one now, in the default goals"
    )
    hindsight_share: float = option(
        0.3, "share of a batch relabelled with hindsight goals, 0..1"
    )
    # Model.
    embedding: int = option(16, "width of an item embedding")
    frozen_embedding: int = option(8, "width of the frozen item vectors in measurements")
    units: int = option(32, "width of the GRU and the AUGRU")
    state: int = option(64, "width of the state vector S(s)")
    crossed: int = option(0, "buckets of hashed feature crosses in the state; 0 for none")
    goal_units: int = option(32, "width of the goal vector G(g)")
    stream: int = option(128, "width of the hidden layer of the value and advantage streams")
    advantage: str = option("bilinear", "advantage head: bilinear or mlp")
    item_vector: int = option(16, "width of an item vector E(a)")
    item_input: str = option(
        "trained",
        "what E(a) is computed from: trained, the item embedding; log, what the log says of "
        "the item, frozen, so that items are told apart by that alone",
    )
    item_effect: float = option(
        0.0, "speed of an advantage that each item learns for itself, beside E(a); 0 for none"
    )
    use_goal: bool = option(True, "False removes the goal input (a control of the label leak)")
    # Losses and optimiser.
    value_weight: float = option(1.0, "weight of the auxiliary value loss")
    auxiliary_weight: float = option(0.1, "weight of DIEN's auxiliary loss")
    log_variance_bound: float = option(6.0, "log sigma^2 is kept within plus and minus this")
    learning_rate: float = option(1e-3, "Adam learning rate")
    play_learning_rate: float = option(
        0.5, "learning rate during play, as a share of the above"
    )
    weight_decay: float = option(1e-4, "decoupled weight decay, for each update")
    dropout: float = option(0.1, "dropout on the state vector inside the streams")
    far_windows: str = option(
        "calibrated",
        "advantages of windows after this step: calibrated, scaled by how much of them comes "
        "true in held-out sessions, the exit's advantage for the rest; exit, the exit's alone; "
        "learned, as they are learned",
    )
    held_out: float = option(
        0.1, "share of the log's sessions kept from learning, to calibrate advantages on"
    )
    averaging: float = option(0.995, "decay of the averaged weights that act and are exported")
    batch: int = option(256, "steps of experience in a batch")
    # Algorithm 1.
    replay_sessions: int = option(20480, "sessions that the replay holds")
    keep_log: bool = option(
        True, "keep the log's sessions in the replay when play begins; else they are dropped"
    )
    sessions_per_round: int = option(2048, "sessions played in a round")
    updates_per_round: int = option(60, "updates in a round")
    log_rounds: int = option(10, "rounds of learning from the log alone, before any play")
    play_rounds: int = option(30, "rounds of play and learning, for GoalRec (not GoalRec-off)")
    goal_epsilon_end: float = option(
        0.5, "share of the play rounds over which the share of random goals falls to 0"
    )
    goal_epsilon: float = option(0.5, "share of random goals in the first round of play")
    action_epsilon: float = option(0.2, "share of steps at which play tries another good item")
    action_pool: float = option(0.1, "share of the catalogue, best first, that it tries")

    def __post_init__(self):
        if self.advantage not in ("bilinear", "mlp"):
            raise ValueError(f"advantage is {self.advantage!r}; expected bilinear or mlp")
        if self.item_input not in ("trained", "log"):
            raise ValueError(f"item_input is {self.item_input!r}; expected trained or log")
        if self.far_windows not in ("calibrated", "exit", "learned"):
            raise ValueError(
                f"far_windows is {self.far_windows!r}; expected calibrated, exit or learned"
            )
        if self.item_effect < 0:
            raise ValueError(f"item_effect is {self.item_effect}; expected at least 0")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.sessions_per_round > self.replay_sessions:
            raise ValueError(
                f"sessions_per_round is {self.sessions_per_round}; expected at most "
                f"replay_sessions, {self.replay_sessions}: a round must fit into the replay"
            )
        if self.crossed < 0:
            raise ValueError(f"crossed is {self.crossed}; expected at least 0")
        for name in (
            "hindsight_share",
            "dropout",
            "averaging",
            "action_epsilon",
            "action_pool",
        ):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}; expected a number from 0 to 1")
