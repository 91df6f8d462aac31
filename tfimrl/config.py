"""IMRL's configuration: every option of the method, its unit and its source.

In a field's help, `paper` marks a value printed in Chen et al. (arXiv:2209.08228), and `ours`
a value that the paper does not give.
"""

import dataclasses
import math
from typing import Literal

from tfrec.methods.online_config import VECTORS_HELP, ReplaySizeConfig, Vectors
from tfrec.options import option

# Values that tuning tries, by field.
SPACE: dict[str, tuple] = {
    "learning_rate": (1e-3, 3e-4, 1e-4),
    "beta": (1e-3, 1e-2, 1e-1),
    "discount": (0.9, 0.95, 0.99),
    "batch": (128, 256),
    "tau": (0.005, 0.02),
}


@dataclasses.dataclass(frozen=True)
class ImrlConfig(ReplaySizeConfig):
    """Networks, optimiser, intrinsic motivation and the threshold of augmentation."""

    # Soft actor-critic.
    hidden: tuple[int, ...] = option(
        (256, 256),
        "widths of the hidden layers (256: paper; two layers: ours)",
        at_least=1,
        min_length=1,
    )
    learning_rate: float = option(
        3e-4, "Adam learning rate of all networks (paper)", above=0, at_most=1
    )
    discount: float = option(0.99, "gamma, the discount factor (paper)", at_least=0, at_most=1)
    replay_size: int = option(
        1_000_000, "capacity of the replay, transitions (paper)", at_least=1
    )
    batch: int = option(256, "transitions in an update (ours)", at_least=1)
    tau: float = option(
        0.005,
        "soft-update rate of the target of V (ours)",
        at_least=0,
        at_most=1,
    )
    target_q: Literal["min", "mean"] = option(
        "min",
        "Q of eqs 11 and 13 from the twin critics (the paper has one): min, as in SAC, against "
        "overestimation; mean, for noisy rewards, where the pessimism of min accumulates",
    )
    critic: Literal["perceptron", "bilinear"] = option(
        "perceptron",
        "form of Q: perceptron, of the concatenated state and action; bilinear, a linear "
        "function of the state for each column of the action, for rare noisy rewards (ours)",
    )
    critic_decay: float = option(
        0.0, "weight of the L2 penalty of the critics (ours)", at_least=0
    )
    reward_scale: float = option(
        1.0,
        "alpha of eq 9: factor of the rewards before learning (ours)",
        above=0,
    )
    target_entropy: float = option(
        -1.0,
        "H of eq 15: target entropy per action dimension, nats; must be below log 2 (ours)",
        at_least=-100,
        below=math.log(2),
    )
    initial_temperature: float = option(
        1.0, "alpha of eq 15 before the first update (ours)", above=0
    )
    # Intrinsic motivation.
    mode: Literal["faithful", "fixed"] = option(
        "fixed",
        "faithful: beta weighs all of g as printed, and no temperature is learned; "
        "fixed: beta weighs log p(a|s',s) and the temperature weighs -log pi (ours)",
    )
    exploration: Literal["empowerment", "entropy", "kl"] = option(
        "empowerment",
        "empowerment: IMRL; entropy: IMRL-E, without log p(a|s',s); "
        "kl: IMRL-KL (our reading), a penalty on the distance of s' to s in V's representation",
    )
    beta: float = option(
        0.01, "weight of the intrinsic reward, in scaled reward per nat (ours)", at_least=0
    )
    bonus_share: float = option(
        0.0,
        "size of the intrinsic reward as a share of the reward, in place of beta: the weight "
        "of log p(a|s',s) follows from the means of each batch; 0 for beta (ours)",
        at_least=0,
        at_most=1,
    )
    successor: Literal["replay", "forward"] = option(
        "replay",
        "s' of eq 12: replay takes the stored a and s'; forward draws a from the policy and "
        "s' from a learned Gaussian model (ours)",
    )
    # The threshold of augmented transitions, eq 16.
    threshold_start: float = option(
        1.0, "sigma, the first threshold, in reward (paper)", above=0
    )
    threshold_max: float = option(
        1.0,
        "T_max, the highest reward of a step: 1 for a click, 10 for VirtualTB (per "
        "environment)",
        above=0,
    )
    threshold_ramp: float = option(
        0.5,
        "share of the training episodes over which the threshold rises to threshold_max (ours)",
        at_least=0,
        at_most=1,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.bonus_share and (self.exploration != "empowerment" or self.mode != "fixed"):
            raise ValueError(
                f"bonus_share is {self.bonus_share} with exploration={self.exploration} and "
                f"mode={self.mode}; expected 0, or exploration=empowerment and mode=fixed"
            )

    @property
    def uses_inverse(self) -> bool:
        """Whether a loss has log p_xi(a|s',s)."""
        return self.exploration == "empowerment" and bool(self.beta or self.bonus_share)


@dataclasses.dataclass(frozen=True)
class OnlineImrlConfig(ImrlConfig):
    """Options of the agent, and of augmentation during play, which are all ours."""

    augmentation: Literal["learned", "heuristic", "true", "copies", "none"] = option(
        "learned",
        "causal graph of exchanges: learned, by attention during play; heuristic or true, as "
        "the simulator declares it; copies repeats informative transitions without an exchange "
        "(a control); none adds no transitions (IMRL-A)",
    )
    partner: Literal["uniform", "nearest"] = option(
        "uniform",
        "second transition of a pair: uniform, any transition; nearest, one of a similar user",
    )
    neighbours: int = option(
        50, "number of nearest users from which a partner is drawn", at_least=1
    )
    pool: int = option(
        512, "number of transitions among which nearest users are searched", at_least=1
    )
    pairs: int = option(
        512,
        "largest number of informative transitions of a rollout that are augmented",
        at_least=1,
    )
    copies: int = option(
        1, "exchanges tried per informative transition (CoDA: up to 2)", at_least=1
    )
    synthetic_size: int = option(
        100_000, "capacity of the replay of synthetic transitions", at_least=1
    )
    mask_threshold: float = option(
        0.05,
        "influence above which two slots are linked (CoDA: .02, which links more)",
        at_least=0,
        at_most=1,
    )
    mask_units: int = option(32, "width of the graph network", at_least=1)
    mask_heads: int = option(2, "attention heads of the graph network", at_least=1)
    mask_batch: int = option(128, "transitions in an update of the graph network", at_least=1)
    mask_updates: int = option(8, "updates of the graph network in an iteration", at_least=1)
    mask_warm_up: int = option(
        800,
        "updates of the graph network before its graph is used; untrained, it links all slots",
        at_least=0,
    )
    update_factor: int = option(
        1,
        "updates of the agent per scheduled update; regularised critics tolerate more",
        at_least=1,
    )
    final_rate: float = option(
        1.0,
        "learning rate at the end of the run, as a share of learning_rate",
        at_least=0,
        at_most=1,
    )
    # Items.
    critic_input: Literal["shown", "proto"] = option(
        "shown",
        "critic input where items are recommended: shown, the features of the shown items; "
        "proto, the proto-action that selected them",
    )
    softness: float = option(
        0.2,
        "temperature of the softmax of scores through which the policy's gradient flows "
        "(critic_input=shown)",
        above=0,
    )
    refined: int = option(
        1,
        "number of candidates nearest to the proto-action from which the critics select at "
        "test (Wolpertinger, arXiv:1512.07679), all if there are fewer; above 1 for slates of "
        "one item only",
        at_least=1,
    )
    vectors: Vectors = option("own", VECTORS_HELP)
    vector_width: int = option(8, "width of learned vectors", at_least=1)
    vector_sessions: int = option(
        500, "sessions played to learn item vectors, counted as part of the run", at_least=1
    )
    jit_compile: bool = option(False, "compile updates with XLA")

    def __post_init__(self):
        super().__post_init__()
        if self.critic_input == "shown" and self.vectors == "views":
            raise ValueError(
                "vectors is views with critic_input=shown: critics read the simulator's item "
                "features; expected own or viewers, or critic_input=proto"
            )
        if self.neighbours > self.pool:
            raise ValueError(
                f"neighbours is {self.neighbours}; expected at most pool, {self.pool}"
            )
