"""GoalRec's world model over observations and item features of a live simulator."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfgoalrec import streams
from tfgoalrec.stream_config import StreamConfig
from tfrec.nn import networks


class State(NamedTuple):
    """An encoded observation.

    Attributes:
      state: float [B, S].
    """

    state: tf.Tensor


class VectorTower(tf.Module):
    """Encodes observations that are vectors, by layers of leaky ReLUs.

    Args:
      inputs: O, width of an observation.
      hidden: widths of the layers; the last one is S.
    """

    def __init__(self, inputs: int, hidden: Sequence[int]):
        super().__init__(name="tower")
        dense = tf_keras.layers.Dense
        self.layers = networks.stack(
            inputs, [dense(units, activation=tf.nn.leaky_relu) for units in hidden]
        )

    def __call__(self, observation: tf.Tensor) -> State:
        """Encodes observations, float [B, O]."""
        return State(networks.apply(self.layers, observation))


class FeatureModel(streams.MeasurementModel):
    """Predicts the standardised measurements of a session's future under a goal.

    The advantage of a slate is the sum over its items, so that the k items of the highest
    g . A are its best slate; see `streams.MeasurementModel.regression`.

    Args:
      config: widths, advantage head and loss weights.
      size: int [J], columns of each measurement.
      observation: O, width of an observation.
      hidden: widths of the state encoder's layers.
      features: D, features of an item.
    """

    def __init__(
        self,
        config: StreamConfig,
        size: np.ndarray,
        observation: int,
        hidden: Sequence[int],
        features: int,
    ):
        tower = VectorTower(observation, hidden)
        super().__init__(config, size, tower, hidden[-1], features)

    def scores(self, observation: tf.Tensor, goal: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Returns Q(s, a, g) of every candidate, float [B, m].

        Args:
          observation: float [B, O].
          goal: g, unit length, float [B, M].
          features: features of the candidates, float [B, m, D], or [m, D] where they are the
            same for all sessions.
        """
        code = self.encode(observation, goal)
        return self.scores_of(code, goal, self.encoded_items(features))

    def loss_of(
        self,
        observation: tf.Tensor,
        goal: tf.Tensor,
        slate: tf.Tensor,
        target: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the sum of eq 9 and the value loss.

        Args:
          observation: float [B, O].
          goal: unit length, float [B, M].
          slate: features of the items of each slate, float [B, k, D].
          target: m, standardised, float [B, M].
          dropout_seed: int32 [2] while training; None switches dropout off.

        Returns:
          The loss, and its parts.
        """
        code = self.encode(observation, goal, dropout_seed)
        return self.regression(code, self.encoded_items(slate), target)
