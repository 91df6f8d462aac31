"""Adapter of agents that score the catalogue, without goals or measurements, for the export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.serving import ranker

COLUMN = "score"  # the one measurement column, and the name of the one goal


class Scorer(Protocol):
    """Model that scores the items of a catalogue."""

    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """Float [B, A], column i for item i + 1. Graph code."""


class _Score:
    """The score as the only measurement, in the unit `score`."""

    columns: Sequence[str] = (COLUMN,)
    size: Any = (1,)
    units: Sequence[str] = ("score",)
    mean: Any = (0.0,)
    std: Any = (1.0,)


class ScoreRanker:
    """An agent that ranks for one goal, its score; a `tfrec.serving.ranker.Ranker`.

    Args:
      scorer: scores the catalogue.
      weights: owns every variable that the scorer reads.
      spec: spec of the log.
      vocabulary: raw ids.
    """

    def __init__(
        self,
        scorer: Scorer,
        weights: tf.Module,
        spec: types.DataSpec,
        vocabulary: ranker.Vocabulary,
    ):
        self.spec, self.vocabulary, self.measurements = spec, vocabulary, _Score()
        self.named_goals = {COLUMN: np.ones([1], np.float32)}
        self.discarded: dict[str, str] = {}
        self.world_model = _Scores(scorer, weights)


class _Scores:
    """A world model made of scores: V is 0, and A is the score.

    Scores of the whole catalogue are computed once for a request.
    """

    bilinear: bool = False

    def __init__(self, scorer: Scorer, weights: tf.Module):
        self._scorer = scorer
        self.variables: Sequence[tf.Variable] = tuple(weights.variables)

    def encode(self, observation: types.Observation, goal: tf.Tensor) -> tf.Tensor:
        """Scores of the catalogue, float [B, A]."""
        del goal
        return self._scorer.scores(observation, None)

    def value(self, code: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(code[:, :1])

    def advantage(self, code: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        by_id = tf.pad(code, [[0, 0], [1, 0]])  # [B, A + 1], 0 for an unknown item
        valid_item = tf.where(item < tf.shape(by_id)[1], item, 0)
        return tf.gather(by_id, valid_item, batch_dims=1)[..., None]  # [B, A, 1]

    def scores(self, code: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
        return code * goal

    def query(self, code: Any, goal: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError("not bilinear")

    def item_vectors(self) -> tf.Tensor:
        raise NotImplementedError("not bilinear")
