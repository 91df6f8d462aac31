"""Looks for the numbers that suit a method in a live simulator: Optuna, scored by playing.

    python -m launch.tune_live --simulator=recogym --method=slateq --trials=6 \
        --out=runs/tuning/recogym/slateq

A trial learns as `launch.train_imrl` does, for `--total_units` units, and is scored by test
sessions that no run plays. The first trial is the defaults, or what the method's own flags
say; `launch/live.py` has the space. The same command goes on with a study until it has
--trials finished trials; several processes, or machines, with one --storage share them.
Writes best.json, tuning.md, tuning.png and TensorBoard logs.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from launch import flags, live, studies
from tfrec import options, outputs
from tfrec.environments import contract, playing
from tfrec.methods import online_learner
from tfrec.options import MAX_SEED, Options, option, required
from tfrec.training import finite, tuning
from tfrec.training import run as runs

_AT_ONCE = 2_000  # sessions that score; more are played after them
_SEED = 40_000  # of the sessions that score, which neither curves nor final tests play


@dataclasses.dataclass(frozen=True)
class TuneLiveConfig(Options):
    """What is tuned, where, and with what budget."""

    simulator: live.SimulatorName = required("what it learns in")
    method: str = required(f"what is tuned: {live.HELP}")
    out: str = required("folder for the results, and for the study unless --storage is given")
    trials: int = option(
        6, "finished trials in all, pruned ones and earlier ones included", at_least=1
    )
    fields: tuple[str, ...] = option(
        (), "fields to tune; empty for all of the method's space", distinct=True
    )
    storage: str = option(
        "",
        "where the study lives: a database's URL, e.g. sqlite:///tuning.db, or the path of a "
        "journal file; machines that open the same one share it; empty for out/study.db",
    )
    sampler: Literal["tpe", "random", "grid"] = option("random", "how trials are chosen")
    pruner: Literal["median", "hyperband", "none"] = option("median", "how trials end early")
    evaluate_every: int = option(
        10, "units between scores, at which a trial may be pruned", at_least=1
    )
    score_sessions: int = option(2_000, "sessions of a score", at_least=2)
    final_sessions: int = option(10_000, "sessions of a trial's last score", at_least=2)
    seed: int = option(
        1000,
        "seed of each trial and of the sampler; keep it off the curves'",
        at_least=0,
        at_most=MAX_SEED,
    )


_chosen: dict[str, str] = {}


def _sizes(simulator: str) -> type:
    _chosen["simulator"] = simulator
    return live.sizes_class(simulator)


flags.define(TuneLiveConfig)
flags.define(live.SimulatorConfig)
flags.define_chosen("simulator", live.SIMULATORS, _sizes)
if _chosen:
    flags.define_chosen(
        "method", live.METHODS, lambda name: live.config_class(name, _chosen["simulator"])
    )


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Trains one configuration and scores it: what a trial is.

    Attributes:
      config: the study.
      base: the method's configuration; a trial replaces some fields.
      sizes: how much is played and learned.
      simulator: where it learns.
      validation: where it is scored; of simulated users of a log, users of their own.
    """

    config: TuneLiveConfig
    base: Any
    sizes: online_learner.OnlineConfig
    simulator: contract.Simulator
    validation: contract.Simulator

    def __call__(self, overrides: Mapping[str, Any], trial: tuning.Trial) -> float:
        """The score at the end; reports it on the way.

        Raises:
          DivergedError: if a loss or gradient is not finite.
        """
        import tensorflow as tf
        import tf_keras

        # What a trial before this one left: its graphs, and memory that cycles hold.
        tf_keras.backend.clear_session()
        gc.collect()
        config, simulator = self.config, self.simulator
        numbers = live.fitting(dataclasses.replace(self.base, **overrides), self.sizes)
        method = runs.seeded(
            config.seed,
            lambda: live.make(config.method, numbers, simulator, config.seed),
            deterministic=False,
        )
        learner = online_learner.OnlineLearner(self.sizes, simulator, method, config.seed)
        play = tf.function(playing.play)
        metric, now = live.METRIC[config.simulator], 0.0
        for unit in range(1, learner.total_units + 1):
            try:
                learner.advance()
            except finite.NonFiniteError as error:
                raise tuning.DivergedError(str(error)) from error
            last = unit == learner.total_units
            if last or unit % config.evaluate_every == 0:
                sessions = config.final_sessions if last else config.score_sessions
                seed = tf.constant([_SEED, 0], tf.int32)
                played = play(self.validation, method.greedy, sessions, seed, at_once=_AT_ONCE)
                now = playing.rates(played)[metric]
                if not math.isfinite(now):
                    raise tuning.DivergedError(f"the score of unit {unit} is {now}")
                trial.report(unit, now, updates=unit * self.sizes.updates)
        return now


def main(_):
    config = flags.read(TuneLiveConfig)
    outputs.check_folder(config.out)
    known = live.get(config.method)
    at, sizes = flags.read(live.SimulatorConfig), flags.read(live.sizes_class(config.simulator))
    base = flags.read(live.config_class(config.method, config.simulator))
    space = live.space(config.method, config.simulator, config.fields)
    resolved = options.resolved(base)
    simulator = live.simulator(config.simulator, at)
    inputs = live.inputs(at, simulator)
    validation = live.at_split(simulator, "validation")
    evaluation = Evaluation(config, base, sizes, simulator, validation)
    about = {
        **live.form(config.simulator, at),
        "method": config.method,
        "base": {field: value for field, value in resolved.items() if field not in space},
        "sizes": options.resolved(sizes),
        "every": config.evaluate_every,
        "sessions": [config.score_sessions, config.final_sessions],
        "seed": config.seed,
    }
    out = pathlib.Path(config.out)
    where = f"{live.METRIC[config.simulator]} in {live.TITLES[config.simulator]}"
    return studies.search(
        out,
        studies.Study(config.method, known.title, base, where, inputs),
        lambda show: tuning.tune(
            config.method,
            space,
            {field: resolved[field] for field in space},
            evaluation,
            trials=config.trials,
            units=sizes.total_units,
            warmup=max(1, sizes.total_units // 2),
            storage=config.storage or tuning.sqlite_url(out / "study.db"),
            sampler=config.sampler,
            pruner=config.pruner,
            about=about,
            inputs=inputs,
            seed=config.seed,
            show=show,
        ),
    )


if __name__ == "__main__":
    flags.run(main)
