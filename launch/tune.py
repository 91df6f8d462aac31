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
import signal
from typing import Any, Literal

import tensorflow as tf

from launch import flags, methods, trials, worlds
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.training import loop, summaries, tuning
from tfrec.training.options import option, required


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """What is tuned, where it plays, and with what budget."""

    method: methods.Name = required(f"what is tuned: {methods.HELP}")
    out: str = required("folder for the results, and for the study unless --storage is given")
    data: str = option("runs/data", "folder of the prepared data")
    world: str = option("runs/simulator", worlds.HELP)
    trials: int = option(20, "finished trials in all, pruned ones and earlier ones included")
    fields: tuple[str, ...] = option((), "fields to tune; empty for all of the method's space")
    storage: str = option(
        "",
        "where the study lives: a database's URL, e.g. sqlite:///tuning.db, or the path of a "
        "journal file; machines that open the same one share it; empty for out/study.db",
    )
    study: str = option("", "name of the study in its storage; empty for the method's name")
    sampler: Literal["tpe", "random", "grid"] = option("tpe", "how trials are chosen")
    pruner: Literal["median", "hyperband", "none"] = option("median", "how trials end early")
    evaluate_every: int = option(5, "rounds between scores, at which a trial may be pruned")
    max_users: int = option(500, "validation users at most")
    sessions_per_user: int = option(4, "sessions that each validation user plays")
    seed: int = option(1000, "seed of each trial and of the sampler; keep it off the tables'")

    def __post_init__(self):
        for name in ("trials", "evaluate_every", "max_users", "sessions_per_user"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


flags.define(TuneConfig)
flags.define_chosen("method", methods.METHODS, lambda name: methods.get(name).config)


def main(_):
    config = flags.read(TuneConfig)
    method = methods.get(config.method)
    base = flags.read(method.config)
    data = storage.PreparedData.open(config.data)
    world = worlds.load(config.world, data)
    starts = trials.starts(data, config.max_users, config.sessions_per_user)
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

    def show(record: tuning.Record) -> None:
        _board(out / "tensorboard" / f"trial-{record.number}", base, record)
        score = "" if record.score is None else f" {record.score:.4g}"
        chosen = ", ".join(f"{field}={value}" for field, value in record.overrides.items())
        print(
            f"trial {record.number}: {record.state}{score} ({record.seconds:.0f} s)  {chosen}",
            flush=True,
        )

    # Each trial traces functions of its own; TensorFlow would warn of that at every one.
    tf.get_logger().setLevel("ERROR")
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tuned = trials.tune(
            evaluation,
            config.study or config.method,
            config.trials,
            fields=config.fields,
            about={"data": data.fingerprint, "world": world.__class__.__name__},
            storage=config.storage or f"sqlite:///{out / 'study.db'}",
            sampler=config.sampler,
            pruner=config.pruner,
            show=show,
        )
    except KeyboardInterrupt:
        print("stopped; finished trials are kept. Run it again to go on", flush=True)
        return loop.EXIT_STOPPED
    except UserError:
        if made and not any(out.iterdir()):
            out.rmdir()
        raise
    trials.write(out, evaluation, tuned)
    if tuned.running:
        print(f"{tuned.running} trials are still running elsewhere; run it again after them")
    print(
        f"{len(tuned.trials)} trials, {tuned.updates:,} updates: {tuned.score:.4g} clicks per "
        f"session of validation users\n{out / 'best.json'}: {_flags(tuned.overrides)}"
    )
    return None


def _flags(overrides: dict[str, Any]) -> str:
    """The overrides as one would type them."""
    return " ".join(f"--{field}={value}" for field, value in overrides.items())


def _board(directory: pathlib.Path, base: Any, record: tuning.Record) -> None:
    """A trial's curve, and its line in TensorBoard's HParams table."""
    writer = tf.summary.create_file_writer(str(directory))
    for unit, score in record.curve.items():
        summaries.write(writer, {"score": score}, unit)
    last = max(record.curve, default=0)
    summaries.write(writer, {"updates": record.updates, "seconds": record.seconds}, last)
    config = dataclasses.asdict(base) | record.overrides | {"state": record.state}
    summaries.write_hparams(writer, config, f"trial {record.number}")
    writer.close()


if __name__ == "__main__":
    flags.run(main)
