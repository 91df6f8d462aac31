"""Options of the baselines that learn step by step; importing them needs no TensorFlow.

Common options of several methods come first, then a class for each method. GoalRec's online
form uses three of these classes.
"""

import dataclasses
import math

from tfrec.methods.online_config import (
    VECTORS_HELP,
    RandomStartConfig,
    ReplaySizeConfig,
    Vectors,
)
from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig(Options):
    """Networks, learning rate and state of all online methods; the same as IMRL's."""

    hidden: tuple[int, ...] = option(
        (256, 256), "widths of the hidden layers", at_least=1, min_length=1
    )
    learning_rate: float = option(
        3e-4, "learning rate of Adam, for every network", above=0, at_most=1
    )
    final_rate: float = option(
        1.0,
        "learning rate at the end of the run, as a share of the initial one",
        at_least=0,
        at_most=1,
    )
    discount: float = option(0.99, "gamma, the discount factor", at_least=0, at_most=1)
    # The state, the same for every method, see `tfrec.methods.action_adapter.ActionAdapter`.
    vectors: Vectors = option("own", VECTORS_HELP)
    vector_width: int = option(8, "width of learned vectors", at_least=1)
    vector_sessions: int = option(
        500, "sessions played to learn item vectors, part of the run's", at_least=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineBaselineConfig(NetworkConfig):
    """Options common to the methods that learn a value or a policy of the reward itself."""

    reward_scale: float = option(1.0, "factor of the rewards before learning", above=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateConfig(ReplaySizeConfig):
    """Updates from a replay."""

    batch: int = option(256, "transitions in an update", at_least=1)
    update_factor: int = option(1, "updates per scheduled update", at_least=1)
    tau: float = option(0.005, "soft-update rate of the target networks", at_least=0, at_most=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayConfig(OnlineBaselineConfig, UpdateConfig):
    """Options of the baselines that learn from a replay."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpsilonConfig(Options):
    """Exploration: the share of random slates falls linearly, then stays."""

    epsilon: float = option(
        1.0, "epsilon at the start: share of random slates", at_least=0, at_most=1
    )
    epsilon_end: float = option(0.05, "epsilon afterwards", at_least=0, at_most=1)
    epsilon_share: float = option(
        0.3, "share of the run over which epsilon falls", at_least=0, at_most=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtoConfig(ReplayConfig, RandomStartConfig):
    """Options common to SAC, TD3 and DDPG."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeterministicConfig(ProtoConfig):
    """Options common to TD3 and DDPG."""

    exploration_noise: float = option(
        0.1, "standard deviation of the noise in play, each axis", at_least=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SacConfig(ProtoConfig):
    """Options of SAC."""

    target_entropy: float = option(
        -1.0,
        "target entropy per action dimension, nats",
        at_least=-100,
        below=math.log(2),
    )
    initial_temperature: float = option(1.0, "temperature before the first update", above=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineTd3Config(DeterministicConfig):
    """Options of TD3, as in its authors' code; noise is in units of half a range."""

    actor_update_period: int = option(
        2, "updates of the critics for each of the actor", at_least=1
    )
    target_noise: float = option(
        0.2, "standard deviation of the target's noise, each axis", at_least=0
    )
    target_noise_clip: float = option(
        0.5, "largest absolute value of this noise, each axis", at_least=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DdpgConfig(DeterministicConfig):
    """Options of DDPG, which has no specific ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemQConfig(ReplayConfig, EpsilonConfig):
    """Options common to SlateQ and DEERS."""

    width: int = option(32, "width of an item's encoded features", at_least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlateqConfig(ItemQConfig):
    """Options of SlateQ."""

    choice_model: bool = option(
        True,
        "whether a learned click model weighs the values of a slate's items, and of no click; "
        "without it this is DQN, for slates of one item",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeersConfig(ItemQConfig):
    """Options of DEERS."""

    history: int = option(10, "N, items in each history (usual for DEERS)", at_least=1)
    units: int = option(32, "width of each GRU", at_least=1)
    discount: float = option(
        0.95, "gamma, the discount factor (usual for DEERS)", at_least=0, at_most=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(OnlineBaselineConfig):
    """Options common to REINFORCE, PGPR and TPGR.

    Defaults are this project's where the papers give none.
    """

    learning_rate: float = option(
        1e-3, "learning rate of Adam, for every network", above=0, at_most=1
    )
    pieces: int = option(
        4, "updates from a rollout, each from other sessions of it", at_least=1
    )
    entropy: float = option(
        0.001,
        "weight of the policy's entropy per nat, beside advantages of unit spread",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReinforceConfig(OnPolicyConfig):
    """Options of REINFORCE."""

    width: int = option(32, "width of an item's encoded features", at_least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PgprConfig(ReinforceConfig):
    """Options of PGPR."""

    hidden: tuple[int, ...] = option(
        (512, 256), "widths of the layers both heads share", at_least=1, min_length=1
    )
    action_dropout: float = option(
        0.5,
        "probability that a candidate is left out; 0 where actions are continuous",
        at_least=0,
        at_most=1,
    )
    value_weight: float = option(
        1.0, "weight of the critic's loss beside the actor's", at_least=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TpgrConfig(ReinforceConfig):
    """Options of TPGR; the width of encoded features is not used."""

    hidden: tuple[int, ...] = option(
        (64,), "widths of each node's hidden layers", at_least=1, min_length=1
    )
    entropy: float = option(
        0.01,
        "weight of the policy's entropy per nat, beside returns of unit spread",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class KgrlConfig(ReplayConfig, RandomStartConfig):
    """Options of KGRL; all defaults are this project's."""

    item_graph: bool = option(
        True,
        "whether vectors from a graph of items stand for them; without it this is DDPG. Needs "
        "a fixed catalogue",
    )
    width: int = option(16, "width of an item's vector", at_least=1)
    neighbours: int = option(10, "companions of an item in the graph", at_least=1)
    exploration_noise: float = option(
        0.1, "standard deviation of the noise in play, each axis", at_least=0
    )
