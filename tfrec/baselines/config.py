"""Options of the methods that learn from a log and in rounds of play.

Each method has a class of options and a space, field -> choices of tuning. Importing this
module needs no TensorFlow.
"""

import dataclasses
from typing import ClassVar, Literal

from tfrec.methods.log_config import RoundsConfig, RoundUpdatesConfig, StateConfig
from tfrec.options import option

CACHE_LINE = 16  # float32 numbers in a cache line

# Search space of all baselines; `VALUE_SPACE` is that of baselines that bootstrap.
COMMON_SPACE: dict[str, tuple] = {
    "learning_rate": (1e-3, 3e-4, 1e-4),
    "embedding": (16, 32, 64),
    "units": (32, 64),
    "hidden": (64, 128, 256),
    "batch": (128, 256),
    "averaging": (0.0, 0.99, 0.995),
    "keep_log": (True, False),
    "play_learning_rate": (0.5, 0.1),
}
VALUE_SPACE = COMMON_SPACE | {"discount": (0.9, 0.95, 1.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig(RoundsConfig):
    """The schedule of all baselines that learn in rounds."""

    action_epsilon: float = option(
        0.2, "epsilon in the first round of play: share of random items", at_least=0, at_most=1
    )
    action_epsilon_end: float = option(
        0.02, "epsilon in the last round; it falls linearly", at_least=0, at_most=1
    )
    action_pool: float = option(
        1.0,
        "share of the catalogue, best first, that random items are drawn from",
        at_least=0,
        at_most=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineConfig(ScheduleConfig, RoundUpdatesConfig, StateConfig):
    """Common options of the baselines: state tower, updates and replay."""

    network: ClassVar[tuple[str, ...]] = (*StateConfig.network, "hidden")

    hidden: int = option(128, "width of the hidden layer behind the state", at_least=1)
    averaging: float = option(
        0.0,
        "decay of the exponential average of the weights, which acts and is exported; 0: the "
        "latest weights",
        at_least=0,
        below=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemCountsConfig(ScheduleConfig):
    """Options of item counts. They have no updates: counts are not fitted."""

    exploration: Literal["thompson", "uniform"] = option(
        "thompson",
        "exploration in play: a posterior sample for each session, or uniformly random items",
    )
    prior_shows: float = option(
        10.0,
        "weight of the prior, in shows of an item; its means are the rates over all items",
        above=0,
        at_most=1e6,
    )
    draws: int = option(
        64, "posterior samples in a round of play, assigned to the sessions in turn", at_least=1
    )
    action_epsilon: float = option(
        0.0, "epsilon in the first round of play: share of random items", at_least=0, at_most=1
    )
    action_epsilon_end: float = option(
        0.0, "epsilon in the last round; it falls linearly", at_least=0, at_most=1
    )


ITEM_COUNTS_SPACE: dict[str, tuple] = {
    "prior_shows": (1.0, 5.0, 20.0, 100.0),
    "keep_log": (True, False),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClickRankerConfig(BaselineConfig):
    """Additional options of the supervised rankers."""

    weight_decay: float = option(
        0.0,
        "decoupled weight decay (AdamW): weights shrink by learning_rate x this in an update",
        at_least=0,
    )
    embedding_noise: float = option(
        1e-3,
        "standard deviation of the noise added to the initial item embeddings",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WideAndDeepConfig(ClickRankerConfig):
    """Additional options of Wide&Deep."""

    network: ClassVar[tuple[str, ...]] = (*BaselineConfig.network, "buckets", "wide_events")

    buckets: int = option(
        2**18, "hash buckets of the crosses, a multiple of 16", at_least=CACHE_LINE
    )
    wide_events: int = option(10, "latest events crossed with the candidate", at_least=0)
    wide_learning_rate: float = option(
        0.02, "FTRL learning rate of the crosses", above=0, at_most=1
    )
    wide_l1: float = option(0.5, "L1 penalty of a cross, in summed log loss", at_least=0)

    def __post_init__(self):
        super().__post_init__()
        if self.buckets % CACHE_LINE:
            raise ValueError(f"buckets is {self.buckets}; expected a multiple of {CACHE_LINE}")


WIDE_AND_DEEP_SPACE = COMMON_SPACE | {
    "wide_learning_rate": (0.005, 0.02, 0.1),
    "wide_l1": (0.0, 0.5, 2.0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DienConfig(ClickRankerConfig):
    """Additional options of DIEN."""

    network: ClassVar[tuple[str, ...]] = (*BaselineConfig.network, "query")

    query: Literal["latest", "candidate"] = option(
        "latest",
        "query of the attention: the latest interest, or the candidate (slow in play)",
    )
    auxiliary_weight: float = option(0.5, "alpha, weight of DIEN's auxiliary loss", at_least=0)


DIEN_SPACE = COMMON_SPACE | {"auxiliary_weight": (0.0, 0.2, 0.5, 1.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynaQConfig(BaselineConfig):
    """Options of the DQN, its user model and planning."""

    network: ClassVar[tuple[str, ...]] = (*BaselineConfig.network, "planning_steps")

    discount: float = option(0.95, "gamma, the discount factor", at_least=0, at_most=1)
    double_q: bool = option(
        False,
        "whether the online network selects the next item that the target evaluates; else the "
        "target does both",
    )
    averaging: float = option(
        0.98,
        "decay of the averaged weights, which are the target network, act and are exported",
        at_least=0,
        below=1,
    )
    auxiliary_weight: float = option(0.1, "weight of DIEN's auxiliary loss", at_least=0)
    planning_steps: int = option(
        5,
        "K: real and simulated steps of an update per real step; 1 for a plain DQN",
        at_least=1,
    )
    planning_depth: int = option(4, "consecutive simulated steps from a real state", at_least=1)
    planning_epsilon: float = option(
        0.2, "share of random items in simulated steps", at_least=0, at_most=1
    )
    planning_replay: int = option(4096, "capacity in simulated steps", at_least=1)
    warm_up: int = option(120, "updates of the user model before planning", at_least=0)

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.real <= self.batch:
            raise ValueError(
                f"batch is {self.batch}; expected at least planning_steps x planning_depth, "
                f"{self.planning_steps * self.planning_depth}"
            )
        if self.simulated > self.planning_replay:
            raise ValueError(
                f"planning_replay is {self.planning_replay}; expected at least the simulated "
                f"steps of an update, {self.simulated}"
            )

    @property
    def simulated(self) -> int:
        """Simulated steps in a batch: (K - 1) / K of it, in sessions of equal depth."""
        share = (self.planning_steps - 1) / self.planning_steps
        return self.planning_depth * round(self.batch * share / self.planning_depth)

    @property
    def real(self) -> int:
        """Real steps in a batch."""
        return self.batch - self.simulated


DYNA_Q_SPACE = VALUE_SPACE | {
    "planning_steps": (2, 5, 10),
    "planning_depth": (1, 4),
    "averaging": (0.95, 0.99),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RainbowConfig(BaselineConfig):
    """Options of Rainbow and switches of its extensions."""

    network: ClassVar[tuple[str, ...]] = (
        *BaselineConfig.network, "atoms", "v_min", "v_max", "dueling", "tilted", "noisy",
        "noise",
    )  # fmt: skip

    discount: float = option(0.95, "gamma, the discount factor", at_least=0, at_most=1)
    n_steps: int = option(
        3, "steps of reward before the bootstrap; 1 for plain Q-learning", at_least=1
    )
    atoms: int = option(
        51, "atoms of the return's distribution; 1 for its mean alone", at_least=1
    )
    v_min: float = option(0.0, "lowest atom, discounted clicks", at_least=-1e6, at_most=1e6)
    v_max: float = option(
        0.0,
        "highest atom; 0 for the highest discounted return of a training session",
        at_least=-1e6,
        at_most=1e6,
    )
    double_q: bool = option(True, "whether the online network selects the next item")
    dueling: bool = option(True, "whether value and advantage have separate streams")
    tilted: bool = option(
        True,
        "whether an item has one advantage, which tilts the distribution; else one for each "
        "atom: slow",
    )
    noisy: bool = option(True, "whether the head's layers are noisy in play and updates")
    noise: float = option(
        0.1,
        "sigma_0 of the noisy layers; the paper's 0.5 is for play without random actions",
        at_least=0,
    )
    prioritized: bool = option(True, "whether steps with large errors are sampled more often")
    priority_exponent: float = option(0.5, "alpha of the priorities", at_least=0, at_most=1)
    priority_correction: float = option(
        0.4,
        "initial beta of the importance weights; it rises to 1 over the run",
        at_least=0,
        at_most=1,
    )
    tau: float = option(0.02, "soft-update rate of the target network", at_least=0, at_most=1)
    target_period: int = option(1, "updates between two updates of the target", at_least=1)
    auxiliary_weight: float = option(0.1, "weight of DIEN's auxiliary loss", at_least=0)

    def __post_init__(self):
        super().__post_init__()
        if self.v_max and self.v_max <= self.v_min:
            raise ValueError(f"v_max is {self.v_max}; expected more than v_min {self.v_min}")


RAINBOW_SPACE = VALUE_SPACE | {
    "n_steps": (1, 3, 5),
    "noise": (0.1, 0.5),
    "tau": (0.01, 0.03),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Td3Config(BaselineConfig):
    """Options of TD3. Items are on the unit sphere, and noise is in units of its radius."""

    discount: float = option(0.95, "gamma, the discount factor", at_least=0, at_most=1)
    n_steps: int = option(3, "steps of reward before the bootstrap", at_least=1)
    tau: float = option(0.1, "soft-update rate of the target networks", at_least=0, at_most=1)
    actor_update_period: int = option(
        2, "updates of the critics for each of the actor", at_least=1
    )
    actor_rate: float = option(
        1.0, "learning rate of the actor, as a share of the critics'", at_least=0
    )
    target_noise: float = option(
        0.2, "standard deviation of the target's noise, each axis", at_least=0
    )
    target_noise_clip: float = option(
        0.5, "largest absolute value of this noise, each axis", at_least=0
    )
    exploration_noise: float = option(
        0.1, "standard deviation of the noise in play, each axis", at_least=0
    )
    neighbours: float = option(
        0.0,
        "nearest items that the critics evaluate: a number, or below 1 a share of the "
        "candidates; 0 or 1 for the nearest alone",
        at_least=0,
    )
    auxiliary_weight: float = option(0.1, "weight of DIEN's auxiliary loss", at_least=0)

    def __post_init__(self):
        super().__post_init__()
        if self.neighbours > 1 and self.neighbours % 1:
            raise ValueError(
                f"neighbours is {self.neighbours}; expected a whole number, or a share below 1"
            )


TD3_SPACE = VALUE_SPACE | {
    "actor_rate": (0.1, 0.3, 1.0),
    "exploration_noise": (0.1, 0.3),
    "tau": (0.02, 0.05, 0.1),
    "n_steps": (1, 3),
}
