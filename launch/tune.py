r"""Tunes a method's configuration by Optuna, with scores from play.

    python -m launch.tune --method=rainbow --data=runs/data --world=runs/simulator \
        --trials=20 --out=runs/tuning/rainbow
    python -m launch.tune --method=slateq --environment=recogym --trials=6 \
        --out=runs/tuning/recogym/slateq

A trial trains the method as `launch.train` does and scores it on validation users or on
sessions outside all tests. The first trial has the values of the method's flags, or their
defaults; these are also the values of fields that are not tuned (`--method=rainbow --help`
lists them). The same command continues a study until it has --trials finished trials; several
processes or machines with one --storage share a study. Writes best.json, tuning.md, tuning.png
and TensorBoard logs.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal

from launch import flags, methods
from tfrec import outputs
from tfrec.environments import registry as environments
from tfrec.environments import worlds
from tfrec.methods import registry
from tfrec.options import MAX_SEED, Options, option, required


@dataclasses.dataclass(frozen=True)
class TuneConfig(Options):
    """The method, its environment, and the budget of the study."""

    method: str = required(f"the method: {methods.HELP}")
    out: str = required("folder for the results, and for the study unless --storage is given")
    environment: methods.EnvironmentName = option(
        "log", "environment in which the method learns"
    )
    trials: int = option(
        20, "total number of finished trials, including pruned and earlier ones", at_least=1
    )
    fields: tuple[str, ...] = option(
        (), "fields to tune; empty for all of the method's space", distinct=True
    )
    storage: str = option(
        "",
        "storage of the study: a database's URL, e.g. sqlite:///tuning.db, or the path of a "
        "journal file; machines with the same storage share the study; empty for out/study.db",
    )
    study: str = option("", "name of the study in its storage; empty for the method's name")
    sampler: Literal["tpe", "random", "grid"] = option("tpe", "sampler of trials")
    pruner: Literal["median", "hyperband", "none"] = option(
        "median", "pruner, which ends trials early"
    )
    evaluate_every: int = option(
        5, "iterations between scores, at which a trial may be pruned", at_least=1
    )
    seed: int = option(
        1000,
        "seed of each trial and of the sampler; should differ from the seeds of tables",
        at_least=0,
        at_most=MAX_SEED,
    )


@dataclasses.dataclass(frozen=True)
class LogScoreConfig(Options):
    """The prepared log, its users, and the sessions of a score."""

    data: str = option("runs/data", "folder of the prepared data")
    world: str = option("runs/simulator", worlds.HELP)
    max_users: int = option(500, "largest number of validation users", at_least=1)
    sessions_per_user: int = option(4, "sessions of each validation user", at_least=1)


@dataclasses.dataclass(frozen=True)
class OnlineScoreConfig(Options):
    """The sessions of a score of a method that learns step by step."""

    score_sessions: int = option(2_000, "sessions of a score", at_least=2)
    final_sessions: int = option(10_000, "sessions of a trial's last score", at_least=2)


flags.define(TuneConfig)
methods.define_dependent({"log": (LogScoreConfig,)}, otherwise=(OnlineScoreConfig,))


def main(_):
    config = flags.read(TuneConfig)
    outputs.check_folder(config.out)
    registry.get(config.method, config.environment)
    on_log = config.environment == registry.LOG
    study, tune = _on_log(config) if on_log else _online(config)

    from tfrec.methods import studies
    from tfrec.training import tuning

    out = pathlib.Path(config.out)
    return studies.search(
        out,
        study,
        lambda show: tune(
            name=config.study or config.method,
            trials=config.trials,
            fields=config.fields,
            inputs=study.inputs,
            storage=config.storage or tuning.sqlite_url(out / "study.db"),
            sampler=config.sampler,
            pruner=config.pruner,
            show=show,
        ),
    )


def _on_log(config: TuneConfig) -> tuple[Any, Callable]:
    """Returns the study of a method that learns from a log, and its tuner."""
    import functools

    from tfrec.data import storage
    from tfrec.environments import scoring
    from tfrec.methods import log_config, studies, trials

    score = flags.read(LogScoreConfig)
    method = registry.get(config.method)
    base = flags.read(method.config)
    data = storage.PreparedData.open(score.data)
    flags.warn(data.untrained_items)
    flags.warn(log_config.unread_sessions(base, data.num_sessions("train")))
    world = worlds.load(score.world, data)
    evaluation = trials.LogEvaluation(
        method=method,
        base=base,
        spec=data.spec,
        log=data.episodes("train"),
        world=world,
        evaluation_world=world,
        starts=scoring.validation_starts(data, score.max_users, score.sessions_per_user),
        every=config.evaluate_every,
        seed=config.seed,
        features=data.item_features(),
    )
    inputs = worlds.inputs(data, score.world, world)
    study = studies.Study(method.name, method.title, base, trials.CLICKS, inputs)
    return study, functools.partial(trials.tune_on_log, evaluation)


def _online(config: TuneConfig) -> tuple[Any, Callable]:
    """Returns the study of a method that learns step by step, and its tuner."""
    import functools

    from tfrec.methods import online_run, presets, studies, trials

    score, place = flags.read(OnlineScoreConfig), environments.get(config.environment)
    form = flags.read(place.config)
    simulator = environments.simulator(place.name, form)
    base = flags.read(presets.config_class(config.method, place.name))
    task = online_run.Task(
        environment=place.name,
        method=config.method,
        seed=config.seed,
        form=form,
        play=flags.read(presets.play_config_class(place.name)),
        numbers=base,
    )
    evaluation = trials.OnlineEvaluation(
        task, simulator, config.evaluate_every, score.score_sessions, score.final_sessions
    )
    title = registry.get(config.method).title
    scored = f"{place.metric} in {place.title}"
    study = studies.Study(config.method, title, base, scored, simulator.inputs())
    return study, functools.partial(trials.tune_online, evaluation)


if __name__ == "__main__":
    flags.run(main)
