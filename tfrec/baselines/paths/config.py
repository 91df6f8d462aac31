"""Options of PGPR on a knowledge graph, without TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfrec.options import Options, option

METHOD = "pgpr_kg"  # in flags, folders and tables

Actor = Literal["edges", "positions"]


@dataclasses.dataclass(frozen=True)
class PgprKgConfig(Options):
    """Embeddings, policy and search."""

    width: int = option(100, "width of the embeddings", at_least=1, at_most=4096)
    embedding_epochs: int = option(
        30, "passes over the edges that train the embeddings", at_least=1
    )
    embedding_batch: int = option(512, "edges of a batch", at_least=1)
    embedding_rate: float = option(0.1, "step size of Adagrad for the embeddings", above=0)
    negatives: int = option(5, "negative tails of an edge", at_least=1)
    path_length: int = option(3, "steps of a path", at_least=2, at_most=8)
    max_acts: int = option(
        250, "edges that a path chooses among, the best by the user's multi-hop score",
        at_least=1,
    )  # fmt: skip
    max_degree: int = option(
        1000,
        "edges of a node that are scored at most, those to the nodes with most edges; bounds "
        "the memory",
        at_least=1,
    )
    history: int = option(
        1, "hops before the current node that the policy reads", at_least=0, at_most=7
    )
    hidden: tuple[int, ...] = option(
        (512, 256), "widths of the policy's layers", at_least=1, min_length=1
    )
    actor: Actor = option(
        "edges",
        "edges: actions are scored by relation, node and multi-hop score; positions: the "
        "paper's, by their position in the list of actions",
    )
    keys: int = option(32, "width of the actor's vectors of actions", at_least=1)
    dropout: float = option(
        0.5, "share of the policy's units dropped in training", at_least=0, below=1
    )
    action_dropout: float = option(
        0.5, "probability that an edge is left out in training", at_least=0, below=1
    )
    discount: float = option(0.99, "discount of a step", at_least=0, at_most=1)
    entropy_weight: float = option(1e-3, "weight of the policy's entropy (nats)", at_least=0)
    learning_rate: float = option(
        1e-3, "step size of Adam for the policy; falls linearly to 0", above=0
    )
    batch: int = option(128, "users of a batch", at_least=1)
    epochs: int = option(50, "passes over the users that train the policy at most", at_least=1)
    patience: int = option(
        10, "validations without a better one before training stops", at_least=1
    )
    validate_every: int = option(1, "epochs between validations", at_least=1)
    validation_users: int = option(
        1000, "number of random users in a validation at most", at_least=1
    )
    beam: tuple[int, ...] = option(
        (25, 5, 1), "most probable actions that the search follows, a number a step",
        at_least=1,
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        if len(self.beam) != self.path_length:
            raise ValueError(
                f"beam is {self.beam}; expected {self.path_length} numbers, one for each step "
                "of path_length"
            )
        if max(self.beam) > self.max_acts + 1:
            raise ValueError(
                f"beam is {self.beam}; expected at most max_acts + 1 = {self.max_acts + 1}"
            )
        if self.max_acts > self.max_degree:
            raise ValueError(
                f"max_acts is {self.max_acts}; expected at most max_degree, {self.max_degree}"
            )


CONFIGS = {METHOD: PgprKgConfig}  # the options of each method that walks a graph
SPACE = {
    "embedding_rate": (0.03, 0.1, 0.3),
    "width": (32, 64, 100),
    "learning_rate": (3e-4, 1e-3, 3e-3),
    "actor": ("edges", "positions"),
}  # search space of tuning
