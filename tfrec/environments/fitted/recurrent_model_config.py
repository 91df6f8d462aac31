"""Configuration of the recurrent user model; importing it needs no TensorFlow."""

import dataclasses

from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class RecurrentModelConfig(Options):
    """Options of the recurrent user model and of its fit."""

    item_units: int = option(32, "size of an item embedding, dimensions", at_least=1)
    user_units: int = option(16, "size of a user embedding, dimensions", at_least=1)
    hidden_units: int = option(64, "size of the GRU state, dimensions", at_least=1)
    head_units: int = option(64, "hidden units of the state half of each head", at_least=1)
    rank: int = option(16, "dimensions of the inner product of a head's halves", at_least=1)
    repeats: bool | None = option(
        None, "whether an item may be shown twice in a session; by default as in the log"
    )
    batch_size: int = option(256, "sessions in a batch", at_least=1)
    learning_rate: float = option(
        7e-3, "Adam's first step size; falls to a tenth of it", above=0, at_most=1
    )
    max_epochs: int = option(12, "passes over the log at most", at_least=1)
    patience: int = option(
        3, "passes without a better held-out loss before stopping", at_least=1
    )
    held_out_fraction: float = option(
        0.1, "share of sessions held out for stopping", at_least=0, below=1
    )
    dropout: float = option(
        0.1, "share of GRU inputs and states dropped in training", at_least=0, below=1
    )
    weight_decay: float = option(
        0.5,
        "decoupled weight decay (AdamW): weights shrink by learning_rate x this in a step",
        at_least=0,
    )
    unknown_user: float = option(
        0.5, "share of sessions whose user is hidden in training", at_least=0, below=1
    )
    user_penalty: float = option(
        1.0, "squared norm penalty of user embeddings, nats per step", at_least=0
    )
