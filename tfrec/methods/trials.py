"""Trials of tuning: training with one configuration, and scores of played sessions."""

from __future__ import annotations

import abc
import dataclasses
import gc
import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from tfrec import options, types
from tfrec.environments import contract, playing, scoring, user_models, users
from tfrec.environments import registry as environments
from tfrec.errors import UserError
from tfrec.methods import online_learner, online_run, presets, registry
from tfrec.training import finite, tuning
from tfrec.training import run as runs

CLICKS = "clicks per session of validation users"
_AT_ONCE = 2_000  # parallel sessions of a score
_SEED = 40_000  # of the sessions of a score, unlike those of curves and final tests


def free_models() -> None:
    """Frees the graphs of unused models, and the memory of reference cycles."""
    tf_keras.backend.clear_session()
    gc.collect()


class Evaluation(abc.ABC):
    """Trains one configuration of a method and scores it on validation users.

    Attributes:
      base: the configuration; a trial replaces some of its fields.
      iterations: iterations in a trial.
      every: iterations between scores, at which a trial may be pruned.
    """

    base: Any
    every: int

    @property
    @abc.abstractmethod
    def iterations(self) -> int:
        """Iterations in a complete trial."""

    @abc.abstractmethod
    def learner(self, config: Any) -> registry.Learner:
        """A learner of a configuration, with seeded weights."""

    @abc.abstractmethod
    def scorer(self, learner: Any) -> Callable[[bool], float]:
        """Function that scores a learner's weights; its argument marks the last score."""

    @abc.abstractmethod
    def updates(self, config: Any, iteration: int) -> int:
        """Number of updates in the first iterations."""

    def __call__(self, overrides: Mapping[str, Any], trial: tuning.Trial) -> float:
        """Runs a trial, reports intermediate scores and returns the last one.

        Raises:
          DivergedError: if a loss, a gradient or a score is not finite.
        """
        free_models()
        config = dataclasses.replace(self.base, **overrides)
        learner = self.learner(config)
        score, value = self.scorer(learner), 0.0
        for iteration in range(1, learner.total_iterations + 1):
            try:
                learner.advance()
            except finite.NonFiniteError as error:
                raise tuning.DivergedError(str(error)) from error
            last = iteration == learner.total_iterations
            if last or iteration % self.every == 0:
                value = score(last)
                if not math.isfinite(value):
                    raise tuning.DivergedError(f"the score of iteration {iteration} is {value}")
                trial.report(iteration, value, updates=self.updates(config, iteration))
        return value


@dataclasses.dataclass(frozen=True)
class LogEvaluation(Evaluation):
    """Evaluates a method that learns from a log, then in rounds of complete sessions.

    Attributes:
      method: the method.
      base: its configuration.
      spec: the log's spec.
      log: training sessions.
      world: the users of training.
      evaluation_world: the users of scoring: `world` without delay or noise.
      starts: starts of the validation sessions.
      every: rounds between scores.
      seed: seed of every trial.
      features: features of the items; None if models read ids alone.
    """

    method: registry.Method
    base: Any
    spec: types.DataSpec
    log: types.Episodes
    world: user_models.UserModel
    evaluation_world: user_models.UserModel
    starts: types.Starts
    every: int
    seed: int = 0
    features: types.Features | None = None

    @property
    def iterations(self) -> int:
        return self.base.log_rounds + (self.base.play_rounds if self.method.plays else 0)

    def learner(self, config: Any) -> registry.Learner:
        return runs.seeded(
            self.seed,
            lambda: self.method.make(
                config, self.spec, self.log, self.world, None, self.seed, self.features
            ),
            deterministic=False,
        )

    def scorer(self, learner: registry.Learner) -> Callable[[bool], float]:
        environment = users.UserEnvironment(self.evaluation_world)
        score = scoring.Score(environment, learner.policy(), self.starts)
        return lambda last: score()

    def updates(self, config: Any, iteration: int) -> int:
        return iteration * self.method.updates_per_round(config)


@dataclasses.dataclass(frozen=True)
class OnlineEvaluation(Evaluation):
    """Evaluates a method that learns step by step in a simulator.

    Attributes:
      task: the run; its `numbers` are the base configuration.
      simulator: the simulator of training; scores use the users of its validation split.
      every: iterations between scores.
      score_sessions: sessions of each score.
      final_sessions: sessions of the last score.
    """

    task: online_run.Task
    simulator: contract.Simulator
    every: int
    score_sessions: int
    final_sessions: int

    @property
    def base(self) -> Any:  # type: ignore[override]
        return self.task.numbers

    @property
    def iterations(self) -> int:
        return self.task.play.total_iterations

    def learner(self, config: Any) -> Any:
        task = dataclasses.replace(self.task, numbers=config)
        method = online_run.method_of(task, self.simulator)
        return online_learner.OnlineLearner(task.play, self.simulator, method, task.seed)

    def __call__(self, overrides: Mapping[str, Any], trial: tuning.Trial) -> float:
        """As `Evaluation`; UserError if an environment of the user fails."""
        with contract.failures(self.simulator):
            return super().__call__(overrides, trial)

    def scorer(self, learner: online_learner.OnlineLearner) -> Callable[[bool], float]:
        metric = environments.get(self.task.environment).metric
        validation = self.simulator.of_split("validation")
        play = tf.function(playing.play, autograph=False)

        def score(last: bool) -> float:
            sessions = self.final_sessions if last else self.score_sessions
            seed = tf.constant([_SEED, 0], tf.int32)
            policy = learner.method.greedy
            return playing.rates(play(validation, policy, sessions, seed, at_once=_AT_ONCE))[
                metric
            ]

        return score

    def updates(self, config: Any, iteration: int) -> int:
        return iteration * self.task.play.updates


def tune_on_log(
    evaluation: LogEvaluation,
    name: str,
    trials: int,
    *,
    fields: tuple[str, ...] = (),
    choices: Mapping[str, tuple] | None = None,
    **arguments: Any,
) -> tuning.Tuned:
    """Tunes a method that learns from a log over its space.

    Args:
      evaluation: evaluation of the method.
      name: name of the study.
      trials: number of finished trials, including earlier ones.
      fields: tuned fields of the space; empty for all of them.
      choices: field -> choices that replace those of the space.
      **arguments: `inputs`, `storage`, `sampler`, `pruner` and `show` of `tuning.tune`.

    Raises:
      UserError: as `tuning.tune`; or if a field is not of the method's space, or one of its
        choices does not fit the log and the goals.
    """
    method = evaluation.method
    unknown = [field for field in fields if field not in method.space]
    if unknown:
        raise UserError(
            f"{', '.join(unknown)}: not in the space of {method.name}, which is "
            f"{', '.join(method.space)}"
        )
    if evaluation.iterations < 1:
        raise UserError("log_rounds and play_rounds are 0; expected at least one round to tune")
    space = method.space
    space = {f: (choices or {}).get(f, space[f]) for f in fields or space}
    for field, values in space.items():
        for value in values:
            config = dataclasses.replace(evaluation.base, **{field: value})
            try:
                method.check(config, evaluation.spec)
            except ValueError as error:
                raise UserError(
                    f"--fields: {field}={value!r} cannot be tried: {error}; or name the fields "
                    f"to tune without {field}"
                ) from error
    return _tune(
        evaluation,
        name,
        space,
        trials=trials,
        warmup=min(evaluation.base.log_rounds, evaluation.iterations - 1),
        about={
            "method": method.name,
            "every": evaluation.every,
            "sessions": len(evaluation.starts.user),
            "seed": evaluation.seed,
        },
        seed=evaluation.seed,
        **arguments,
    )


def tune_online(
    evaluation: OnlineEvaluation,
    name: str,
    trials: int,
    *,
    fields: tuple[str, ...] = (),
    **arguments: Any,
) -> tuning.Tuned:
    """Tunes a method that learns step by step; arguments and errors as in `tune_on_log`."""
    task = evaluation.task
    environment = environments.get(task.environment)
    return _tune(
        evaluation,
        name,
        presets.space(task.method, task.environment, fields),
        trials=trials,
        warmup=max(1, evaluation.iterations // 2),
        about={
            **environment.identity(task.form),
            "method": task.method,
            "play": options.resolved(task.play),
            "every": evaluation.every,
            "sessions": [evaluation.score_sessions, evaluation.final_sessions],
            "seed": task.seed,
        },
        seed=task.seed,
        **arguments,
    )


def _tune(
    evaluation: Evaluation,
    name: str,
    space: Mapping[str, tuple],
    *,
    about: Mapping[str, Any],
    **arguments: Any,
) -> tuning.Tuned:
    base = options.resolved(evaluation.base)
    fixed = {field: value for field, value in base.items() if field not in space}
    return tuning.tune(
        name,
        space,
        {field: base[field] for field in space},
        evaluation,
        iterations=evaluation.iterations,
        about={**about, "base": fixed},
        **arguments,
    )
