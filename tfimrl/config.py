"""IMRL's configuration: every number of the method, its unit, and whose it is.

`paper` in a field's help: printed in Chen et al. (arXiv:2209.08228). `ours`: the paper gives
no value, and this one is a choice of this project.
"""

import dataclasses
import math
from typing import Literal

from tfrec.options import Options, option

# What tuning tries, field by field.
SPACE: dict[str, tuple] = {
    "learning_rate": (1e-3, 3e-4, 1e-4),
    "beta": (1e-3, 1e-2, 1e-1),
    "discount": (0.9, 0.95, 0.99),
    "batch": (128, 256),
    "tau": (0.005, 0.02),
}


@dataclasses.dataclass(frozen=True)
class ImrlConfig(Options):
    """Networks, optimiser, intrinsic motivation and the threshold of augmentation."""

    # Soft actor-critic.
    hidden: tuple[int, ...] = option(
        (256, 256),
        "widths of the hidden layers (256 is the paper's, two of them ours)",
        at_least=1,
        min_length=1,
    )
    learning_rate: float = option(
        3e-4, "Adam's learning rate of every part (paper)", above=0, at_most=1
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
        "overestimation; mean, where rewards are noisy and the pessimism of min adds up",
    )
    critic: Literal["perceptron", "bilinear"] = option(
        "perceptron",
        "what Q is: perceptron, of state and action side by side; bilinear, a linear function "
        "of the state for each column of the action, where rewards are few and noisy (ours)",
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
        "faithful: beta weighs all of g as printed, the learned temperature enters nothing; "
        "fixed: beta weighs log p(a|s',s) and the temperature weighs -log pi (ours)",
    )
    exploration: Literal["empowerment", "entropy", "kl"] = option(
        "empowerment",
        "empowerment: IMRL; entropy: IMRL-E, without log p(a|s',s); "
        "kl: IMRL-KL, our reading of it, a penalty on states far apart in V's representation",
    )
    beta: float = option(
        0.01, "weight of the intrinsic reward, in scaled reward per nat (ours)", at_least=0
    )
    successor: Literal["replay", "forward"] = option(
        "replay",
        "s' of eq 12: replay takes the stored a and s'; forward draws a from the policy and "
        "s' from a learned Gaussian model (ours)",
    )
    # Which transitions are augmented, eq 16.
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

    @property
    def uses_inverse(self) -> bool:
        """Whether log p_xi(a|s',s) enters anything."""
        return self.exploration == "empowerment" and self.beta > 0
