"""Training of sequential models: epochs, validation, and early stopping at the best weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines.sequential import batches
from tfrec.data import identity, sequences
from tfrec.errors import UserError
from tfrec.nn import item_embedding
from tfrec.ops import autodiff, target_networks
from tfrec.training import epochs, finite

VALIDATION = epochs.VALIDATION


class Model(Protocol):
    """A sequential model: a `tf.Module` with its loss and its scores."""

    variables: tuple[tf.Variable, ...]
    trainable_variables: tuple[tf.Variable, ...]
    submodules: tuple[tf.Module, ...]
    config: Any

    def read_features(self, sizes: types.FeatureSpec) -> None:
        """Adds embeddings of the items' features to those of their ids."""

    def begin_epoch(self, number: int) -> None:
        """Called before each epoch, with the number of the finished ones."""

    def loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        """Mean loss of a batch; the seed is of dropout and negatives."""

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the catalogue for each history, float [V, N]."""

    def scores_of(self, inputs: batches.Inputs) -> tf.Tensor:
        """The same for packed inputs, float [B, N]. Graph code."""


def fit(
    build: Callable[[], Model],
    train: sequences.Sequences,
    validate: Callable[[Model], float],
    directory: str | os.PathLike,
    seed: int,
    save_every: int,
    inputs: identity.Sources,
    extra: Mapping[str, Any],
) -> SequenceLearner:
    """Trains a model in a run's folder, or goes on with the run that is there.

    Args:
      build: makes the model at its initial weights.
      train: training events.
      validate: quality of the model's lists, higher is better.
      directory: of the run: configuration, metrics, TensorBoard logs and checkpoints.
      seed: of weights, batches, dropout and negatives.
      save_every: epochs between checkpoints.
      inputs: the log, by name.
      extra: further inputs that determine the result, e.g. the protocol.

    Returns:
      The learner; its model has the weights of the best epoch.

    Raises:
      UserError: if no user has two training events, or the folder holds another run.
      SystemExit: see `tfrec.training.loop.train`.
    """
    if not (train.lengths >= 2).any():
        raise UserError(
            "no user has two training events, of which one could follow the other; expected "
            "users of at least four events"
        )
    return epochs.fit(
        lambda: SequenceLearner(build(), train, validate, seed),
        directory,
        seed,
        save_every,
        inputs,
        extra,
    )


class SequenceLearner(epochs.EpochLearner):
    """Trains a model epoch by epoch; a `tfrec.training.loop.Learner`.

    Args:
      model: at its initial weights.
      train: training events.
      validate: function of the quality of the model's lists for validation events, higher is
        better. It selects the best epoch.
      seed: of batches, dropout and negatives.
    """

    model: Model

    def __init__(
        self,
        model: Model,
        train: sequences.Sequences,
        validate: Callable[[Model], float],
        seed: int,
    ):
        super().__init__(model)
        self._train, self._validate, self._seed = train, validate, seed
        config = model.config
        self.optimizer = tf_keras.optimizers.Adam(config.learning_rate, jit_compile=False)
        self.optimizer.build(model.trainable_variables)
        self.step = tf.Variable(0, dtype=tf.int32, trainable=False, name="step")
        self.averaged = [
            tf.Variable(variable, trainable=False, name=f"averaged_{i}")
            for i, variable in enumerate(model.trainable_variables if config.averaging else ())
        ]
        self._names = ["loss", *finite.gradient_names(model.trainable_variables)]

    def advance(self) -> dict[str, float]:
        """One epoch, and a validation if it is due.

        Raises:
          NonFiniteError: if a loss or gradient is not finite.
        """
        config = self.model.config
        self.model.begin_epoch(int(self.iteration))
        losses = []
        for batch in batches.epoch(
            self._train,
            config.batch,
            config.length,
            config.crop,
            self._seed,
            int(self.iteration),
        ):
            loss, bad = self.update(batch)
            finite.check(self._names, bad, batch)
            losses.append(loss)
        self.iteration.assign_add(1)
        with self._averaged_weights():
            validated = self.validated(lambda: self._validate(self.model))
        return {"loss": float(tf.reduce_mean(losses))} | validated

    @contextlib.contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Gives the model its averaged weights, if there are any, during the context."""
        weights = self.model.trainable_variables[: len(self.averaged)]
        latest = [variable.numpy() for variable in weights]
        for variable, average in zip(weights, self.averaged, strict=True):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(weights, latest, strict=True):
                variable.assign(value)

    @tf.function(input_signature=[batches.BATCH_SPEC], autograph=False)
    def update(self, batch: batches.Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of Adam; the loss, and the index of the first bad tensor or -1."""
        variables = self.model.trainable_variables
        # Room for the seeds that a step derives by adding to the second number.
        seed = types.seed_pair(self._seed, 0) + tf.stack([0, self.step * 1024])
        dropping = item_embedding.dropping(
            self.model, self.model.config.id_dropout, tf.cast(self.step, tf.int64)
        )
        with dropping, tf.GradientTape() as tape:
            loss = self.model.loss(batch, seed)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        checked = finite.named(self._names, [loss, *gradients])
        self.step.assign_add(1)
        return loss, finite.guarded(checked, lambda: self._apply(gradients))

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        variables = self.model.trainable_variables
        autodiff.apply_gradients(self.optimizer, gradients, variables)
        if self.averaged:
            earlier = tf.cast(self.step, tf.float32) - 1.0
            target_networks.average_update(
                self.averaged, variables, self.model.config.averaging, earlier
            )
