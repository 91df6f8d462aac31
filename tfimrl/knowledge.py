"""Slots, causal graphs and expected rewards that a simulator declares, for augmentation.

A simulator declares its structure, see `contract.Structure`. This module converts it to the
slots and influences of `causal_graph` and `counterfactual`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfimrl import causal_graph
from tfrec.environments import contract

# (observation [B, O], shown [B, A]) -> expected reward [B].
ExpectedReward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Knowledge(NamedTuple):
    """The declared structure of a simulator.

    Attributes:
      slots: slots of the observation and of the shown items' features.
      graphs: `heuristic` and `true` influence, as far as declared.
      user_columns: columns of the observation that measure the similarity of users.
      expected_reward: expected reward of a step; None where it depends on hidden state.
    """

    slots: causal_graph.Slots
    graphs: dict[str, causal_graph.Influence]
    user_columns: list[int]
    expected_reward: ExpectedReward | None


def of(simulator: contract.Simulator) -> Knowledge:
    """Returns the declared structure of a simulator.

    Raises:
      ValueError: if the simulator declares none.
    """
    parts = simulator.structure()
    if parts is None:
        name = type(simulator).__name__
        raise ValueError(
            f"{name} declares no slots; expected augmentation=none, or a simulator that "
            f"implements {name}.structure"
        )
    slots = causal_graph.Slots(parts.state, parts.action)
    graphs = {
        name: (
            causal_graph.constant(graph)
            if isinstance(graph, np.ndarray)
            else causal_graph.heuristic(slots, graph)
        )
        for name, graph in parts.graphs.items()
    }
    return Knowledge(slots, graphs, parts.user_columns, parts.expected_reward)
