"""The GoalRec agent: a world model that learns from sessions and ranks under a goal."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfgoalrec import bootstrap, calibration, goals, relabel, trained
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.measurements import Measurements
from tfgoalrec.world_model import WorldModel
from tfrec import names, types
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.nn import item_embedding
from tfrec.ops import autodiff, target_networks
from tfrec.replay.episodes import Rows
from tfrec.training import finite


class GoalRecAgent(tf.Module):
    """The world model, its averaged copy, the optimiser and the random state.

    Args:
      config: the method's configuration.
      spec: the log's spec.
      measurements: measurements with statistics of the training sessions.
      item_vectors: float [N + 1, >= embedding], initial values of the item embeddings.
      seed: seed of the weights and of all later random draws.
    """

    def __init__(
        self,
        config: GoalRecConfig,
        spec: types.DataSpec,
        measurements: Measurements,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(name="goalrec")
        self.config, self.spec, self.measurements = config, spec, measurements
        tf_keras.utils.set_random_seed(seed)
        self.world_model = WorldModel(config, spec, measurements.size, item_vectors)
        # The averaged weights act and are exported: an average over many updates ranks
        # better than the last one, because single sessions are noisy.
        self.averaged = WorldModel(config, spec, measurements.size, item_vectors)
        for average, variable in self._pairs():
            average.assign(variable)
        self.optimizer = tf_keras.optimizers.Adam(
            config.learning_rate, weight_decay=config.weight_decay or None, global_clipnorm=10.0
        )
        self.optimizer.exclude_from_weight_decay(var_list=[self.world_model.log_variance])
        self.optimizer.build(self.variables_to_train)
        self.generator = tf.random.Generator.from_seed(seed)
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.set_goals()

    def set_goals(self) -> None:
        """Sets the configured goals under the current statistics of the measurements."""
        self.named_goals = default_goals(self.config, self.spec, self.measurements)

    @property
    def learning_rate(self) -> tf.Variable:
        """The optimiser's variable; Keras copies a variable passed to its constructor."""
        return self.optimizer.learning_rate

    @property
    def variables_to_train(self) -> list[tf.Variable]:
        return self.world_model.trainable_variables

    def trained(
        self, vocabulary: vocabulary_lib.Vocabulary, about: Mapping[str, Any]
    ) -> trained.TrainedAgent:
        """Returns the agent that ranks, with the averaged weights.

        Args:
          vocabulary: the log's ids.
          about: data fingerprint, seed and the like.
        """
        return trained.TrainedAgent(
            self.config,
            self.measurements,
            self.averaged,
            self.named_goals,
            vocabulary,
            {**about, "updates": int(self.updates)},
        )

    def transition(self, rows: Rows) -> relabel.Transition:
        """Returns a batch of replayed steps with the goals that they are trained under.

        Sessions from a log are stored with a zero goal, which is replaced by a new random
        goal in every batch.
        """
        seeds = self.generator.make_seeds(2)  # [2, 2]
        seeds = tf.cast(tf.transpose(seeds), tf.int32)
        random_goals = goals.random(self.measurements, tf.shape(rows.item)[0], seeds[0])
        has_goal = tf.norm(rows.goal, axis=-1, keepdims=True) > 0.5
        batch = relabel.Transition(
            observation=rows.observation,
            item=rows.item,
            measurement=rows.label,
            outcome=rows.first_label,
            goal=tf.where(has_goal, rows.goal, random_goals),
        )
        return relabel.relabel(batch, self.config.hindsight_share, seeds[1])

    def bootstrapped(
        self, label: tf.Tensor, goal: tf.Tensor, later: Rows, goes_on: tf.Tensor
    ) -> tf.Tensor:
        """Returns targets in which V predicts what follows later steps; see `bootstrap`.

        Args:
          label: m_t, standardised, float [B, M].
          goal: g, float [B, M].
          later: the steps `bootstrap_steps` later.
          goes_on: whether the session has them, bool [B].

        Returns:
          float [B, M], standardised.
        """
        value = self.averaged.value(self.averaged.encode(later.observation, goal))
        c = bootstrap.carried(self.measurements.parts, self.config.bootstrap_steps)
        return bootstrap.target(label, later.label, value, goes_on, c, self.measurements.std)

    def seeds(self) -> tf.Tensor:
        """Returns the seeds of an update's random draws, int32 [2, 2]. Graph code."""
        return tf.cast(tf.transpose(self.generator.make_seeds(2)), tf.int32)

    def update(
        self, batch: relabel.Transition, seeds: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Takes one gradient step on eq 9, the value loss and DIEN's auxiliary loss.

        Args:
          batch: B steps.
          seeds: int32 [2, 2], see `seeds`.

        Returns:
          The numbers to report, and the index in `checked` of the first tensor that is not
          finite, or -1. If there is one, no weight changes.
        """
        share = self.config.id_dropout
        with tf.GradientTape() as tape:
            with item_embedding.dropping(self.world_model, share, self.updates):
                loss, report = self.world_model.loss_of(batch, seeds)
        gradients = tape.gradient(loss, self.variables_to_train)
        parts = (report["model_loss"], report["value_loss"], report["auxiliary_loss"])
        named = dict(zip(self.checked, (*parts, *gradients), strict=True))
        return report, finite.guarded(named, lambda: self._apply(gradients))

    @property
    def checked(self) -> list[str]:
        """Names of the tensors that must stay finite, in the order of `update`."""
        names = [f"gradient of {v.name.removesuffix(':0')}" for v in self.variables_to_train]
        return ["measurement loss", "value loss", "auxiliary loss", *names]

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        autodiff.apply_gradients(self.optimizer, gradients, self.variables_to_train)
        self.updates.assign_add(1)
        target_networks.average_update(
            self.averaged.trainable_variables,
            self.world_model.trainable_variables,
            self.config.averaging,
            tf.cast(self.updates, tf.float32),
        )

    def _pairs(self):
        return zip(
            self.averaged.trainable_variables, self.world_model.trainable_variables, strict=True
        )


def default_goals(
    config: GoalRecConfig, spec: types.DataSpec, measurements: Measurements
) -> Mapping[str, np.ndarray]:
    """Returns the configured goals, or one for each column of `goal_columns` or of the log.

    A default goal weighs a column's windows from now to the end by 1, d, d^2, ...
    with d the configured discount, because far windows are mostly noise for a single step.

    Raises:
      ValueError: if a goal is not well formed, names a column that is not measured, or
        weighs a column that `far_windows` leaves without an advantage.
    """
    weights_of = _weights(config, spec, measurements)
    unranked = calibration.discarded(config.far_windows, measurements)
    for name, weights in weights_of.items():
        calibration.check_goal(name, weights, unranked)
    return {name: goals.named(measurements, weights) for name, weights in weights_of.items()}


def _weights(
    config: GoalRecConfig, spec: types.DataSpec, measurements: Measurements
) -> dict[str, dict[str, float]]:
    """The goals of `default_goals`, as weights of measurements in raw units."""
    if config.goals:
        parsed = [goals.parse(text) for text in config.goals]
        names.check_distinct("goal", (name for name, _ in parsed))
        return dict(parsed)
    weights_of = {}
    for column in config.goal_columns or spec.feedback_names:
        spec.feedback_index(column)  # raises unless the log has it
        windows = [p for p in measurements.parts if p.kind == "sum" and p.column == column]
        weights = {
            part.name: config.discount**rank
            for rank, part in enumerate(sorted(windows, key=lambda part: part.first))
        }
        if weights:
            weights_of[column] = weights
        elif config.goal_columns:
            raise ValueError(f"goal_columns names {column!r}, but no window of it is measured")
    return weights_of
