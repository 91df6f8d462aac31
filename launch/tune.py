"""Looks for a method's best numbers: Optuna over its configuration, scored by playing.

    python -m launch.tune --method=rainbow --data=runs/data --world=runs/simulator \
        --trials=20 --out=runs/tuning/rainbow

A trial trains the method and plays sessions of validation users; test users are never
touched. The first trial is the defaults, or what the method's own flags say: they also
fix what is not tuned (`--method=rainbow --help` lists them). The same command goes on with
a study until it has --trials finished trials; several processes, or machines, with one
--storage share them. Writes best.json, tuning.md, tuning.png and TensorBoard logs.
"""

import dataclasses
import pathlib
from typing import Literal

from launch import flags, methods, studies, trials
from tfrec import outputs
from tfrec.data import storage
from tfrec.environments import scoring, worlds
from tfrec.options import MAX_SEED, Options, option, required
from tfrec.training import tuning


@dataclasses.dataclass(frozen=True)
class TuneConfig(Options):
    """What is tuned, where it plays, and with what budget."""

    method: methods.Name = required(f"what is tuned: {methods.HELP}")
    out: str = required("folder for the results, and for the study unless --storage is given")
    data: str = option("runs/data", "folder of the prepared data")
    world: str = option("runs/simulator", worlds.HELP)
    trials: int = option(
        20, "finished trials in all, pruned ones and earlier ones included", at_least=1
    )
    fields: tuple[str, ...] = option(
        (), "fields to tune; empty for all of the method's space", distinct=True
    )
    storage: str = option(
        "",
        "where the study lives: a database's URL, e.g. sqlite:///tuning.db, or the path of a "
        "journal file; machines that open the same one share it; empty for out/study.db",
    )
    study: str = option("", "name of the study in its storage; empty for the method's name")
    sampler: Literal["tpe", "random", "grid"] = option("tpe", "how trials are chosen")
    pruner: Literal["median", "hyperband", "none"] = option("median", "how trials end early")
    evaluate_every: int = option(
        5, "rounds between scores, at which a trial may be pruned", at_least=1
    )
    max_users: int = option(500, "validation users at most", at_least=1)
    sessions_per_user: int = option(4, "sessions that each validation user plays", at_least=1)
    seed: int = option(
        1000,
        "seed of each trial and of the sampler; keep it off the tables'",
        at_least=0,
        at_most=MAX_SEED,
    )


flags.define(TuneConfig)
flags.define_chosen("method", methods.METHODS, lambda name: methods.get(name).config)


def main(_):
    config = flags.read(TuneConfig)
    outputs.check_folder(config.out)
    method = methods.get(config.method)
    base = flags.read(method.config)
    data = storage.PreparedData.open(config.data)
    flags.warn(data.untrained_items)
    world = worlds.load(config.world, data)
    starts = scoring.validation_starts(data, config.max_users, config.sessions_per_user)
    evaluation = trials.Evaluation(
        method=method,
        base=base,
        spec=data.spec,
        log=data.episodes("train"),
        world=world,
        judge=world,
        starts=starts,
        every=config.evaluate_every,
        seed=config.seed,
    )
    out = pathlib.Path(config.out)
    inputs = worlds.inputs(data, config.world, world)
    study = studies.Study(method.name, method.title, base, trials.SCORED, inputs)
    return studies.search(
        out,
        study,
        lambda show: trials.tune(
            evaluation,
            config.study or config.method,
            config.trials,
            fields=config.fields,
            inputs=inputs,
            storage=config.storage or tuning.sqlite_url(out / "study.db"),
            sampler=config.sampler,
            pruner=config.pruner,
            show=show,
        ),
    )


if __name__ == "__main__":
    flags.run(main)
