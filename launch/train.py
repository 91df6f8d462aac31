r"""Trains any method in any environment where it can learn.

    python -m launch.train --method=goalrec --data=runs/data --out=runs/goalrec_off
    python -m launch.train --method=rainbow --data=runs/data --world=runs/simulator \
        --out=runs/rainbow
    python -m launch.train --method=imrl --environment=recsim --out=runs/imrl

With `--environment=log`, the default, a method learns from prepared sessions and, with
`--world`, then in rounds of whole sessions with simulated users. The folder gets `agent/`, for
`launch.evaluate`, `launch.recommend_all` and `launch.export_model`. GoalRec writes `agent_off/`
(GoalRec-off) when its rounds on the log end, and `agent/` only with `--world`.

In the other environments a method plays many parallel sessions and learns step by step. The
folder gets `policy`, a SavedModel with an `act` that selects actions, and `result.json`, the
final test.

`--method=rainbow --help` also lists the flags of Rainbow, and `--environment=recsim --help`
those of an environment. Every run writes `metrics.jsonl`, TensorBoard logs and checkpoints;
the same command continues a run that was stopped.
"""

import dataclasses
import pathlib

from launch import flags, methods
from tfrec import outputs
from tfrec.environments import registry as environments
from tfrec.methods import registry
from tfrec.options import MAX_SEED, Options, option, required


@dataclasses.dataclass(frozen=True)
class TrainConfig(Options):
    """The method, its environment and the folder of the run."""

    method: str = required(f"the method: {methods.HELP}")
    out: str = required("folder of the run; an unfinished run in it is continued")
    environment: methods.EnvironmentName = option(
        "log", "environment in which the method learns"
    )
    seed: int = option(0, "seed of weights, batches and play", at_least=0, at_most=MAX_SEED)
    save_every: int | None = option(
        None,
        "iterations between checkpoints; by default 10 on a log and 100 elsewhere",
        at_least=1,
    )


@dataclasses.dataclass(frozen=True)
class LogConfig(Options):
    """The prepared log, the users to play with, and the checks on validation users."""

    data: str = option("runs/data", "folder of the prepared data")
    world: str = option(
        "",
        "simulated users: a folder that fit_simulator wrote; `truth` for the ground truth of "
        "the embedded log; `lookup`, for users that repeat their clicks of the log; empty to "
        "learn from the log alone",
    )
    start: str = option(
        "",
        "warm start: the agent of another run that learning begins with; empty for none",
    )
    evaluate_every: int = option(5, "rounds between checks on validation users", at_least=1)
    max_users: int = option(500, "largest number of validation users", at_least=1)


@dataclasses.dataclass(frozen=True)
class FinalTestConfig(Options):
    """The final test of a method that learns step by step."""

    final_sessions: int = option(1_000, "sessions of the final test", at_least=2)
    original_sessions: int = option(
        0,
        "sessions of a final test in the original environment, where it is installed",
        at_least=0,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.original_sessions == 1:
            raise ValueError(
                "original_sessions is 1; expected 0, or at least 2 for a standard error"
            )


flags.define(TrainConfig)
methods.define_dependent({"log": (LogConfig,)}, otherwise=(FinalTestConfig,))


def main(_):
    config = flags.read(TrainConfig)
    outputs.check_folder(config.out)
    registry.get(config.method, config.environment)
    if config.environment == registry.LOG:
        _train_on_log(config, flags.read(LogConfig))
    else:
        _train_online(config, flags.read(FinalTestConfig))


def _train_on_log(config: TrainConfig, log: LogConfig) -> None:
    from tfrec.data import storage
    from tfrec.environments import worlds
    from tfrec.methods import recommender

    method = registry.get(config.method)
    numbers = flags.read(method.config)
    data = storage.PreparedData.open(log.data)
    flags.warn(data.untrained_items)
    users = worlds.users(log.world, data) if log.world else None
    agent = recommender.of(config.method, numbers, config.seed, owner="--")  # names the flag
    agent.fit(
        data,
        users,
        start=log.start or None,
        out=config.out,
        save_every=config.save_every or 10,
        evaluate_every=log.evaluate_every,
        validation_users=log.max_users,
    )
    out = pathlib.Path(config.out)
    last = next(path for path in (out / "agent", out / "agent_off") if path.is_dir())
    print(f"{last}: {method.title}, goals {', '.join(map(repr, agent.goals))}")


def _train_online(config: TrainConfig, test: FinalTestConfig) -> None:
    from tfrec.methods import online_result, online_run, presets

    place = config.environment
    online_run.run(
        config.out,
        online_run.Task(
            environment=place,
            method=config.method,
            seed=config.seed,
            form=flags.read(environments.get(place).config),
            play=flags.read(presets.play_config_class(place)),
            numbers=flags.read(presets.config_class(config.method, place)),
            save_every=config.save_every or 100,
            final_sessions=test.final_sessions,
            original_sessions=test.original_sessions,
            controls=True,
        ),
    )
    print(online_result.OnlineResult.open(config.out))


if __name__ == "__main__":
    flags.run(main)
