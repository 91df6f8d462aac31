"""GoalRec's world model over the item ids of a log: a DIEN tower and item embeddings.

The streams, the goal network and the losses are those of `streams`.
"""

import numpy as np
import tensorflow as tf

from tfgoalrec import streams
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.relabel import Transition
from tfgoalrec.streams import Code
from tfrec import types
from tfrec.nn import history_crosses
from tfrec.nn.dien import DienTower
from tfrec.nn.item_embedding import ItemEmbedding


class WorldModel(streams.MeasurementModel):
    """Predicts the standardised measurements of a user's future under a goal.

    The model is a Keras model: `compile` it with an optimiser and `fit` it on a dataset of
    transitions, or train it from a replay by `GoalRecAgent`.

    Args:
      config: widths and the advantage head.
      spec: the log's spec.
      size: int [J], columns of each measurement; M = their sum.
      item_vectors: float [N + 1, >= embedding], initial values of the item embeddings.
    """

    config: GoalRecConfig
    tower: DienTower

    def __init__(
        self,
        config: GoalRecConfig,
        spec: types.DataSpec,
        size: np.ndarray,
        item_vectors: np.ndarray,
    ):
        c = config
        noise = tf.random.normal([spec.num_items + 1, c.embedding], stddev=0.05)
        items = ItemEmbedding(spec, item_vectors[:, : c.embedding] + noise)
        tower = DienTower(spec, items, c.units, c.state, c.crossed)
        super().__init__(config, size, tower, c.state, c.embedding)
        self.spec, self.items, self.item_embedding = spec, items, items.ids
        # `calibration` sets these; their initial values leave advantages unchanged.
        self.slope = _constant("advantage_slope", tf.ones([self.dim]))
        self.after = _constant("after", tf.zeros([self.dim]))
        self.origin = _constant("origin", tf.zeros([self.dim]))
        self.exit = _constant("exit", tf.zeros([self.dim]))
        # The input of E(a), and a learned advantage for each item; see the options
        # `item_input` and `item_effect`.
        self.item_input = None
        if c.item_input == "log":
            self.item_input = _constant("item_input", item_vectors[:, : c.embedding])
        if c.item_effect:
            zeros = tf.zeros([spec.num_items + 1, self.dim])
            self.item_effect = tf.Variable(zeros, name="item_effect")
        self.crosses = history_crosses.of_items(items, c.state + c.goal_units, self.dim)

    @property
    def item_tables(self) -> list[tf.Variable]:
        """The variables with a row for each item, beside those of the embedding."""
        return [table for table in (self.item_input, self.item_effect) if table is not None]

    def item_vectors(self, item: tf.Tensor | None = None) -> tf.Tensor:
        """Returns E(a), a 1, with `item_effect` the per-item advantage, and columns of crosses.

        Args:
          item: int32 [...]; None for all candidates, 1..A.

        Returns:
          float [..., W] or [A, W]; W is D + 1, with effects M more, with crosses C more.
        """
        end = self.spec.num_candidates + 1

        def rows(table: tf.Variable) -> tf.Tensor:
            return table[1:end] if item is None else tf.gather(table, item)

        if self.item_input is not None:
            inputs = rows(self.item_input)
        elif item is None:
            inputs = self.items.rows(1, end)
        else:
            inputs = self.items(item)
        parts = [self.encoded_items(inputs)]
        if self.item_effect is not None:
            parts.append(self.config.item_effect * rows(self.item_effect))
        if self.crosses is not None:
            parts.append(self.crosses.vectors(tf.range(1, end) if item is None else item))
        return tf.concat(parts, axis=-1)

    def encode(
        self,
        observation: types.Observation,
        goal: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
    ) -> Code:
        """Encodes states and goals; see `streams.MeasurementModel.encode`."""
        code = super().encode(observation, goal, dropout_seed)
        if self.crosses is None:
            return code
        return code._replace(crosses=self.crosses.history(observation))

    def advantage(self, code: Code, item: tf.Tensor) -> tf.Tensor:
        """Returns A(s, g, a), calibrated, of given candidates.

        Args:
          code: B encoded requests.
          item: int32 [B, A].

        Returns:
          float [B, A, M].
        """
        return self.advantage_of(code, self.item_vectors(item))

    def advantage_of(self, code: Code, vector: tf.Tensor) -> tf.Tensor:
        """Returns A(s, g, a), calibrated, of actions given as item vectors.

        Args:
          code: B encoded requests.
          vector: float [B, A, W], see `item_vectors`; any vectors, not only those of items.

        Returns:
          float [B, A, M].
        """
        learned = self.learned_advantage(code, vector)  # [B, A, M]
        leaving = tf.linalg.matvec(learned, self.exit * self.slope)[..., None]  # [B, A, 1]
        return self.slope * learned - leaving * self._exit_loss(code)[:, None]

    def scores(self, code: Code, goal: tf.Tensor) -> tf.Tensor:
        """Returns Q(s, a, g) = g . M(s, a, g) of all candidates (eqs 7-8), float [B, A]."""
        return self.scores_of(code, goal, self.item_vectors())

    def loss_of(
        self, batch: Transition, seeds: tf.Tensor | None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the weighted sum of eq 9, the value loss and DIEN's auxiliary loss.

        Args:
          batch: B steps of experience.
          seeds: int32 [2, 2], seeds of dropout and of negative items; None for evaluation.

        Returns:
          The loss, and its parts.
        """
        code = self.encode(batch.observation, batch.goal, None if seeds is None else seeds[0])
        vector = self.item_vectors(batch.item[:, None])
        loss, report = self.regression(code, vector, batch.measurement)
        auxiliary = tf.zeros([])
        if seeds is not None:
            auxiliary = self.tower.auxiliary_loss(batch.observation, code.history, seeds[1])
        loss += self.config.auxiliary_weight * auxiliary
        return loss, {"loss": loss, **report, "auxiliary_loss": auxiliary}

    def compute_loss(self, inputs: Transition, training: bool = False) -> tf.Tensor:
        """Returns the loss for Keras' `fit` and `evaluate`."""
        seeds = tf.random.uniform([2, 2], maxval=2**31 - 1, dtype=tf.int32)
        return self.loss_of(inputs, seeds if training else None)[0]

    def _exit_loss(self, code: Code) -> tf.Tensor:
        """Loss of later measurements at an exit, times 1 - slope, float [B, M]."""
        above_zero = self.value(code) - self.origin  # [B, M], 0 for a raw measurement of 0
        exit_rate = tf.clip_by_value(tf.linalg.matvec(above_zero, self.exit), 0.0, 0.9)  # [B]
        return (1.0 - self.slope) * self.after * above_zero / (1.0 - exit_rate[:, None])

    def _readout(self, code: Code, goal: tf.Tensor) -> tf.Tensor:
        weighted_loss = tf.einsum("bm,bm->b", goal, self._exit_loss(code))[:, None]  # [B, 1]
        return self.slope * (goal - weighted_loss * self.exit)


def _constant(name: str, value: tf.Tensor) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)
