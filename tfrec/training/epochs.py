"""Training in epochs with validation: early stopping, and the weights of the best epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import tensorflow as tf

from tfrec.data import identity
from tfrec.training import finite, loop, memory
from tfrec.training import run as runs

VALIDATION = "validation_ndcg@10"  # the name of validations in a run's metrics


class EpochLearner(tf.Module):
    """What learners of epochs share; a subclass has `advance`.

    Args:
      model: at its initial weights: a `tf.Module` with a `config` that has `epochs`, `patience`
        and `validate_every`.

    Attributes:
      iteration: int64 scalar variable, epochs done.
      best_score: the best validation so far, -1 before the first.
      best_epoch: its epoch.
    """

    def __init__(self, model: Any):
        super().__init__(name="learner")
        self.model = model
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False, name="iteration")
        self.best_score = tf.Variable(-1.0, trainable=False, name="best_score")
        self.best_epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="best_epoch")
        self.best = [
            tf.Variable(variable, trainable=False, name=f"best_{i}")
            for i, variable in enumerate(self.weights_of_model())
        ]

    def weights_of_model(self) -> Sequence[tf.Variable]:
        """The variables of the model of which those of the best epoch are kept."""
        return self.model.variables

    @property
    def total_iterations(self) -> int:
        """Epochs of the whole run at most."""
        return self.model.config.epochs

    @property
    def finished(self) -> bool:
        """Whether the last validations brought nothing better, or all epochs are done."""
        config, epoch = self.model.config, int(self.iteration)
        waited = (epoch - int(self.best_epoch)) // config.validate_every
        return epoch >= self.total_iterations or (epoch > 0 and waited >= config.patience)

    def validated(self, validate: Callable[[], float], last: bool = False) -> dict[str, float]:
        """Validates if it is due, and keeps the weights if they are the best so far.

        Args:
          validate: quality of the model, higher is better.
          last: whether the epoch is the last one of a part of the training, so that a
            validation is due.

        Returns:
          The validation by its name in the run's metrics; nothing if it was not due.

        Raises:
          NonFiniteError: if a score of the model is NaN.
        """
        epoch = int(self.iteration)
        last = last or epoch == self.total_iterations
        if epoch % self.model.config.validate_every and not last:
            return {}
        try:
            score = validate()
        except FloatingPointError as error:
            raise finite.NonFiniteError("a score of the model", {}) from error
        # In the precision of the variable, or an equal score could be larger.
        if np.float32(score) > self.best_score.numpy():
            self.best_score.assign(score)
            self.best_epoch.assign(self.iteration)
            for kept, variable in zip(self.best, self.weights_of_model(), strict=True):
                kept.assign(variable)
        return {VALIDATION: score}

    def use_best(self) -> None:
        """Gives the model the weights of its best epoch."""
        for kept, variable in zip(self.best, self.weights_of_model(), strict=True):
            variable.assign(kept)


Learner = TypeVar("Learner", bound=EpochLearner)


def fit(
    build: Callable[[], Learner],
    directory: str | os.PathLike,
    seed: int,
    save_every: int,
    inputs: identity.Sources,
    extra: Mapping[str, Any],
) -> Learner:
    """Trains a learner in a run's folder, or goes on with the run that is there.

    Args:
      build: makes the learner at its first epoch.
      directory: of the run: configuration, metrics, TensorBoard logs and checkpoints.
      seed: of everything that is random.
      save_every: epochs between checkpoints.
      inputs: what is learned from, by name.
      extra: what else decides the result, e.g. the protocol.

    Returns:
      The learner, whose model has the weights of its best epoch.

    Raises:
      UserError: if the folder holds another run.
      SystemExit: see `tfrec.training.loop.train`.
    """
    memory.keep_freed()
    learner = runs.seeded(seed, build)
    run = runs.Run.open(directory, learner.model.config, seed, dict(extra), inputs)
    loop.train(
        cast(loop.Learner, learner),  # a subclass has `advance`
        run,
        learner.total_iterations,
        save_every,
        finished=lambda: learner.finished,
    )
    learner.use_best()
    return learner
