"""Options of the sequential methods, without TensorFlow.

Each method has a class of options and a space, field -> the choices of tuning.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfrec.methods import log_config
from tfrec.options import Options, option

Crop = Literal["last", "random", "prefixes"]


@dataclasses.dataclass(frozen=True)
class TrainingConfig(log_config.FeaturesConfig):
    """How a sequential model is trained."""

    learning_rate: float = option(1e-3, "step size of Adam", above=0)
    batch: int = option(128, "users of a batch", at_least=1)
    crop: Crop = option(
        "last",
        "window of a user's events. last: the last ones; random: a random one anew in each "
        "epoch, of users with more events than are read; prefixes: one that ends at each event "
        "of the user, each a row of a batch",
    )
    epochs: int = option(200, "passes over the training users at most", at_least=1)
    patience: int = option(
        10, "validations without a better one before training stops", at_least=1
    )
    validate_every: int = option(1, "epochs between validations", at_least=1)
    averaging: float = option(
        0.0,
        "decay of the exponential average of the weights over updates, which is validated and "
        "saved; 0 for the weights themselves",
        at_least=0,
        below=1,
    )


@dataclasses.dataclass(frozen=True)
class NextItemConfig(TrainingConfig):
    """Sizes and losses of every sequential model."""

    width: int = option(64, "width of item embeddings", at_least=1, at_most=4096)
    length: int = option(200, "latest events that are read", at_least=1, at_most=4096)
    loss: Literal["auto", "bce", "gbce", "softmax", "sampled_softmax"] = option(
        "auto",
        "bce: SASRec's binary cross-entropy, one negative; gbce: gSASRec's; softmax: "
        "cross-entropy over the catalogue; sampled_softmax: over negatives; auto: softmax up "
        "to 60,000 items, then sampled_softmax",
    )
    negatives: int = option(
        3_000, "negatives of gbce and sampled_softmax, uniform, shared by a batch", at_least=1
    )
    trust: float = option(0.75, "t of gbce, 0 as bce to 1 unbiased", at_least=0, at_most=1)
    own_negatives: bool = option(
        False,
        "softmax: whether the other training items of a user are negatives of the user; with "
        "the sampled losses they never are",
    )


# Common search space of all methods, to which each method adds fields.
NEXT_ITEM_SPACE: dict[str, tuple] = {"learning_rate": (3e-4, 1e-3, 3e-3)}


@dataclasses.dataclass(frozen=True)
class SelfAttentionConfig(NextItemConfig):
    """Sizes of a stack of attention blocks."""

    blocks: int = option(2, "blocks of attention", at_least=1, at_most=8)
    heads: int = option(1, "attention heads; a divisor of width", at_least=1)
    dropout: float = option(0.1, "share of numbers dropped in training", at_least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(
                f"heads is {self.heads}; expected a divisor of width, which is {self.width}"
            )


SELF_ATTENTION_SPACE = NEXT_ITEM_SPACE | {"dropout": (0.1, 0.3, 0.5), "width": (64, 128)}


@dataclasses.dataclass(frozen=True)
class SasrecConfig(SelfAttentionConfig):
    """The network."""

    inner: int = option(64, "inner width of a block's position-wise network", at_least=1)


@dataclasses.dataclass(frozen=True)
class HstuConfig(SelfAttentionConfig):
    """The network; the paper's HSTU-large has 8 blocks and 2 heads."""

    dropout: float = option(0.2, "share of numbers dropped in training", at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class StampConfig(NextItemConfig):
    """Options with the paper's sizes; items of the session may repeat and are negatives."""

    width: int = option(100, "width of embeddings and layers", at_least=1, at_most=4096)
    length: int = option(
        50, "latest events that are read; memory grows with its square", at_least=1, at_most=500
    )
    learning_rate: float = option(3e-3, "step size of Adam", above=0)
    own_negatives: bool = option(
        True,
        "softmax: whether the other training items of a user are negatives of the user; with "
        "the sampled losses they never are",
    )


STAMP_SPACE = NEXT_ITEM_SPACE | {"width": (50, 100, 200), "own_negatives": (True, False)}


@dataclasses.dataclass(frozen=True)
class CauseRecConfig(NextItemConfig):
    """The network and the counterfactuals; sizes of the authors' code."""

    length: int = option(20, "latest events that are read", at_least=1, at_most=4096)
    batch: int = option(256, "users of a batch", at_least=2)
    crop: Crop = option(
        "prefixes",
        "window of a user's events, the last of which is the next item. prefixes: one that "
        "ends at each event, as in the authors' code; last, random: one for each user",
    )
    concepts: int = option(20, "concepts of a user", at_least=2, at_most=1024)
    hidden: int = option(
        256, "hidden units of the attention and of the user network", at_least=1
    )
    indispensable: float = option(
        0.5, "share of concepts that the next item needs", above=0, below=1
    )
    negative_users: int = option(4, "negative counterfactual users of each user", at_least=1)
    positive_users: int = option(1, "positive counterfactual users of each user", at_least=1)
    bank: int = option(1024, "concepts in the memory bank", at_least=1)
    user_weight: float = option(1.0, "weight of L_co; 0 leaves it out", at_least=0)
    item_weight: float = option(1.0, "weight of L_ii; 0 leaves it out", at_least=0)
    margin: float = option(1.0, "margin of L_co, a distance of user vectors", at_least=0)
    item_margin: float = option(0.5, "margin of L_ii, a cosine", at_least=-1, at_most=1)


CAUSEREC_SPACE = NEXT_ITEM_SPACE | {
    "user_weight": (0.1, 0.3, 1.0),
    "item_weight": (0.1, 0.3, 1.0),
    "concepts": (10, 20),
}


@dataclasses.dataclass(frozen=True)
class CounterfactualConfig(Options):
    """The counterfactual sequences."""

    counterfactual_weight: float = option(
        1.0,
        "weight of the loss on counterfactual sequences; 0 trains the anchor alone",
        at_least=0,
    )
    replacement: Literal["random", "data", "model"] = option(
        "data",
        "how an event is replaced. random: by any item; data: by one near to it that makes the "
        "sampler doubt; model: by one near to it that raises the anchor's loss",
    )
    confidence: float = option(
        0.0,
        "probability that the sampler must give its prediction for the sequence to be used",
        at_least=0,
        at_most=1,
    )
    kept: float = option(
        0.5,
        "share of a batch's counterfactual sequences that are used, those of which the sampler "
        "is surest (ours)",
        above=0,
        at_most=1,
    )
    warm_up: int = option(3, "epochs of real data alone", at_least=0)
    steps: int = option(
        2, "steps of gradient descent to a changed embedding", at_least=1, at_most=100
    )
    step_size: float = option(
        0.5, "length of such a step, in lengths of the event's embedding", above=0
    )
    alpha: float = option(
        1.0, "weight of the prediction beside the squared length of the change", above=0
    )


@dataclasses.dataclass(frozen=True)
class CasrStampConfig(CounterfactualConfig, StampConfig):
    """STAMP with counterfactual sequences."""


@dataclasses.dataclass(frozen=True)
class CasrSasrecConfig(CounterfactualConfig, SasrecConfig):
    """SASRec with counterfactual sequences."""


# Beside the space of the anchor.
_CASR_SPACE: dict[str, tuple] = {
    "counterfactual_weight": (0.1, 0.3, 1.0),
    "replacement": ("random", "data", "model"),
}
CASR_STAMP_SPACE = STAMP_SPACE | _CASR_SPACE
CASR_SASREC_SPACE = SELF_ATTENTION_SPACE | _CASR_SPACE


@dataclasses.dataclass(frozen=True)
class CocorecConfig(NextItemConfig):
    """The network and its memory."""

    length: int = option(50, "latest events that are read", at_least=1, at_most=4096)
    num_categories: int = option(
        50,
        "clusters of item vectors that stand for categories; where the log or a file gives "
        "categories, their number takes its place",
        at_least=1,
        at_most=100_000,
    )
    recent: int = option(10, "latest events that tell the next category", at_least=1)
    neighbours: int = option(
        10, "similar patterns of other users that are read; 0 for none", at_least=0
    )
    memory: int = option(1024, "stored patterns of other users", at_least=1)
    category_weight: float = option(1.0, "weight of the loss of the next category", at_least=0)
    dropout: float = option(0.1, "share of numbers dropped in training", at_least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        if self.neighbours > self.memory:
            raise ValueError(
                f"neighbours is {self.neighbours}; expected at most memory, {self.memory}"
            )


COCOREC_SPACE = NEXT_ITEM_SPACE | {
    "dropout": (0.1, 0.3, 0.5),
    "category_weight": (0.1, 0.3, 1.0),
    "neighbours": (5, 10, 20),
}
