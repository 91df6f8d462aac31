"""Configuration of the adversarial user model; importing it needs no TensorFlow."""

import dataclasses
from typing import Literal

from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class ChoiceModelConfig(Options):
    """Options of the adversarial user model and of its fit."""

    alternatives: int = option(
        9,
        "items displayed with the logged one, sampled from those that the log never shows to "
        "the user; 0 to use the log's impressions as displays",
        at_least=0,
    )
    state: Literal["position_weights", "lstm"] = option(
        "position_weights", "encoder of the latest clicks"
    )
    clicks: int = option(20, "latest clicks in the state", at_least=1)
    positions: int = option(
        4, "weightings of the clicks' positions; unused by an LSTM", at_least=1
    )
    lstm_units: int = option(20, "size of the LSTM state, dimensions", at_least=1)
    item_units: int = option(32, "size of an item embedding, dimensions", at_least=1)
    item_start: Literal["best", "random", "factors"] = option(
        "best",
        "where item embeddings start: random; factors of the users' clicks (PureSVD); or best, "
        "the fit from either that is better for held-out users",
    )
    hidden_units: int = option(64, "hidden units of the reward network", at_least=1)
    eta: float = option(1.0, "weight of the reward against the entropy of the choice", above=0)
    repeats: bool | None = option(
        None, "whether an item may be shown twice in a session; by default as in the log"
    )
    batch_size: int = option(32, "sessions in a batch", at_least=1)
    learning_rate: float = option(
        5e-3,
        "Adam's first step size of the maximum-likelihood fit; falls to a tenth of it",
        above=0,
        at_most=1,
    )
    max_epochs: int = option(
        100, "passes over the log of the maximum-likelihood fit at most", at_least=1
    )
    patience: int = option(
        8, "passes without a better held-out loss before stopping", at_least=1
    )
    adversarial_epochs: int = option(
        3, "mini-max passes over the log at most; 0 for maximum likelihood alone", at_least=0
    )
    adversarial_learning_rate: float = option(
        5e-4, "Adam's first step size in the mini-max passes", above=0, at_most=1
    )
    held_out_fraction: float = option(
        0.1,
        "share of users held out for stopping, and as many again for the report",
        above=0,
        below=0.5,
    )
    weight_decay: float = option(
        1.0,
        "decoupled weight decay (AdamW): weights shrink by learning_rate x this in a step",
        at_least=0,
    )
