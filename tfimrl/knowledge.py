"""What augmentation takes from a simulator: its slots, and graphs of what reaches what.

A simulator describes its parts itself, see `contract.Structure`. Here they become the slots and
the influences that `causal_graph` and `counterfactual` work with.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfimrl import causal_graph
from tfrec.environments import contract

# (observation [B, O], shown [B, A]) -> expected reward [B].
Ask = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Knowledge(NamedTuple):
    """A simulator's parts.

    Attributes:
      slots: of the observation and of what was shown.
      graphs: `heuristic` and `true` influence, where there is one without learning.
      user_columns: of the observation, that say how alike two users are.
      ask: the expected reward of a step; None where it depends on what is hidden.
    """

    slots: causal_graph.Slots
    graphs: dict[str, causal_graph.Influence]
    user_columns: list[int]
    ask: Ask | None


def of(simulator: contract.Simulator) -> Knowledge:
    """What is known of a simulator.

    Raises:
      ValueError: if it does not know its own parts.
    """
    parts = simulator.structure()
    if parts is None:
        name = type(simulator).__name__
        raise ValueError(
            f"nothing is known of the slots of {name}: leave augmentation out, or write "
            f"{name}.structure"
        )
    slots = causal_graph.Slots(parts.state, parts.action)
    graphs = {
        name: (
            causal_graph.always(graph)
            if isinstance(graph, np.ndarray)
            else causal_graph.touched(slots, graph)
        )
        for name, graph in parts.graphs.items()
    }
    return Knowledge(slots, graphs, parts.user_columns, parts.expected_reward)
