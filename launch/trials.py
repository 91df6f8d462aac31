"""What validation users are worth to a policy: the score that tuning and training watch."""

import dataclasses
import gc
import math
from collections.abc import Mapping
from typing import Any

import tf_keras

from launch import methods
from tfrec import options, types
from tfrec.environments import scoring, session
from tfrec.errors import UserError
from tfrec.training import finite, tuning
from tfrec.training import run as runs

SCORED = "clicks per session of validation users"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Trains one configuration of a method and scores it: what a trial of tuning is.

    Attributes:
      method: what is tuned.
      base: its configuration; a trial replaces some fields.
      spec: the log's spec.
      log: training sessions.
      world: who answers in training.
      judge: who answers in scoring: the world without delay or noise.
      starts: of the validation sessions.
      every: units of work between scores.
      seed: of every trial's weights and draws.
    """

    method: methods.Method
    base: Any
    spec: types.DataSpec
    log: types.Episodes
    world: session.World
    judge: session.World
    starts: types.Starts
    every: int
    seed: int = 0

    @property
    def units(self) -> int:
        """Units of work in a whole trial."""
        return self.base.log_rounds + (self.base.play_rounds if self.method.plays else 0)

    def __call__(self, overrides: Mapping[str, Any], trial: tuning.Trial) -> float:
        """The score at the end; reports it on the way.

        Raises:
          DivergedError: if a loss or gradient is not finite.
        """
        # What a trial before this one left: its graphs, and memory that cycles hold.
        tf_keras.backend.clear_session()
        gc.collect()
        config = dataclasses.replace(self.base, **overrides)
        vectors = methods.item_vectors(config, self.log, self.spec)
        learner = runs.seeded(
            self.seed,
            lambda: self.method.make(
                config, self.spec, self.log, self.world, vectors, self.seed
            ),
            deterministic=False,
        )
        score = scoring.Score(self.judge, learner.policy(), self.starts)
        now = 0.0
        for unit in range(1, learner.total_units + 1):
            try:
                learner.advance()
            except finite.NonFiniteError as error:
                raise tuning.DivergedError(str(error)) from error
            if unit % self.every == 0 or unit == learner.total_units:
                now = score()
                if not math.isfinite(now):
                    raise tuning.DivergedError(f"the score of unit {unit} is {now}")
                trial.report(unit, now, updates=unit * config.updates_per_round)
        return now


def tune(
    evaluation: Evaluation,
    name: str,
    trials: int,
    *,
    fields: tuple[str, ...] = (),
    choices: Mapping[str, tuple] | None = None,
    **arguments: Any,
) -> tuning.Tuned:
    """Tunes a method over its space; `tuning.tune` with what is the same for all methods.

    Args:
      evaluation: of the method.
      name: of the study.
      trials: finished trials in all.
      fields: of the space; empty for all of them.
      choices: for some fields, other choices than the space's.
      **arguments: `inputs`, `storage`, `sampler`, `pruner` and `show` of `tuning.tune`.

    Raises:
      UserError: as `tuning.tune`; or if a field is not of the method's space, or one of its
        choices does not fit the log and the goals.
    """
    unknown = [field for field in fields if field not in evaluation.method.space]
    if unknown:
        raise UserError(
            f"{', '.join(unknown)}: not in the space of {evaluation.method.name}, which is "
            f"{', '.join(evaluation.method.space)}"
        )
    if evaluation.units < 1:
        raise UserError("log_rounds and play_rounds are 0; expected at least one round to tune")
    space = evaluation.method.space
    space = {f: (choices or {}).get(f, space[f]) for f in fields or space}
    for field, values in space.items():
        for value in values:
            config = dataclasses.replace(evaluation.base, **{field: value})
            try:
                evaluation.method.check(config, evaluation.spec)
            except ValueError as error:
                raise UserError(
                    f"--fields: {field}={value!r} cannot be tried: {error}; or name the fields "
                    f"to tune without {field}"
                ) from error
    base = options.resolved(evaluation.base)
    told = {
        "method": evaluation.method.name,
        "base": {field: value for field, value in base.items() if field not in space},
        "every": evaluation.every,
        "sessions": len(evaluation.starts.user),
        "seed": evaluation.seed,
    }
    return tuning.tune(
        name,
        space,
        {field: base[field] for field in space},
        evaluation,
        trials=trials,
        units=evaluation.units,
        warmup=min(evaluation.base.log_rounds, evaluation.units - 1),
        about=told,
        seed=evaluation.seed,
        **arguments,
    )
