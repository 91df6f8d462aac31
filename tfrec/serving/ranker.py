"""Protocols of an agent that can be exported.

The goal-conditioned world model of GoalRec (eqs 7-8) satisfies them, as can any model that
predicts measurements of the future as V(s, g) + A(s, g, a).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import state_encoding

StateGoal = Any  # a nest of tensors, each [B, ...]; private to the world model


class Measurements(Protocol):
    """The predicted measurements. Raw units = standardised * std + mean, column by column.

    Attributes:
      columns: [M] names of the measurement columns, e.g. `click@0`.
      size: int [J], number of columns of each measurement; the sum is M.
      units: [J] the unit of each measurement, e.g. `clicks`.
      mean: float [M], in those units.
      std: float [M], in those units; the divisor of standardisation.
    """

    columns: Sequence[str]
    size: Any
    units: Sequence[str]
    mean: Any
    std: Any


class Vocabulary(Protocol):
    """The item ids of the log: `items[i]` is the raw id of dense item i + 1."""

    @property
    def items(self) -> np.ndarray: ...

    @property
    def state_encoder(self) -> state_encoding.StateEncoder:
        """Encoders of the features of users and contexts; read if the spec has them."""


class WorldModel(Protocol):
    """The predictor. All methods are graph code, in standardised units.

    Attributes:
      variables: every variable that the methods read.
      bilinear: whether g.A(s, g, a) is the inner product of `query` and an item
        vector. If not, `query` and `item_vectors` are never called.
    """

    variables: Sequence[tf.Variable]
    bilinear: bool

    def encode(self, observation: types.Observation, goal: tf.Tensor) -> StateGoal:
        """State and goal, once per request; goal is float32 [B, M], unit length."""

    def value(self, code: StateGoal) -> tf.Tensor:
        """V, float32 [B, M]."""

    def advantage(self, code: StateGoal, item: tf.Tensor) -> tf.Tensor:
        """A of dense items, int32 [B, A] -> float32 [B, A, M]."""

    def scores(self, code: StateGoal, goal: tf.Tensor) -> tf.Tensor:
        """g.(V + A) of every item that may be recommended, float32 [B, A].

        Column i is item i + 1; A is the spec's `num_candidates`.
        """

    def query(self, code: StateGoal, goal: tf.Tensor) -> tf.Tensor:
        """float32 [B, D] such that query . item_vectors()[i] = g.A of item i + 1."""

    def item_vectors(self) -> tf.Tensor:
        """float32 [A, D]."""


class Ranker(Protocol):
    """Interface of a trained agent for the export.

    Attributes:
      spec: feedback columns and sizes of its log.
      vocabulary: raw item ids.
      measurements: the predicted measurements.
      named_goals: business goals by name, each a float [M] direction in
        standardised units.
      world_model: the predictor.
      discarded: columns that goals may not weight because all items have the same advantage
        there, each with the responsible option.
    """

    @property
    def spec(self) -> types.DataSpec: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def measurements(self) -> Measurements: ...

    @property
    def named_goals(self) -> Mapping[str, np.ndarray]: ...

    @property
    def world_model(self) -> WorldModel: ...

    @property
    def discarded(self) -> Mapping[str, str]: ...
