"""Options of GoalRec on logs and in live simulators; imports no TensorFlow."""

import dataclasses
from typing import ClassVar, Literal

from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class StreamConfig(Options):
    """Widths, advantage head and loss weights, on logs and in live simulators.

    Attributes:
      network: fields that decide the variables of the networks or how they are read.
    """

    network: ClassVar[tuple[str, ...]] = (
        "goal_units", "stream", "advantage", "item_vector", "use_goal",
    )  # fmt: skip

    goal_units: int = option(32, "width of the goal vector G(g)", at_least=1)
    stream: int = option(
        128, "width of the hidden layer of the value and advantage streams", at_least=1
    )
    advantage: Literal["bilinear", "mlp"] = option("bilinear", "advantage head")
    item_vector: int = option(16, "width of an item vector E(a)", at_least=1)
    use_goal: bool = option(True, "False removes the goal input (a control of the label leak)")
    hindsight_share: float = option(
        0.3, "share of a batch relabelled with hindsight goals", at_least=0, at_most=1
    )
    value_weight: float = option(1.0, "weight of the auxiliary value loss", at_least=0)
    log_variance_bound: float = option(
        6.0, "bound on the absolute value of log sigma^2", above=0, at_most=40
    )
    dropout: float = option(
        0.1, "dropout on the state vector inside the streams", at_least=0, below=1
    )
