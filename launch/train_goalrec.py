"""Trains GoalRec on prepared sessions, from the log alone or by playing in a world.

    python -m launch.train_goalrec --data=runs/data --out=runs/goalrec_off
    python -m launch.train_goalrec --data=runs/data --world=runs/simulator --out=runs/goalrec

The folder gets `agent_off/` once the rounds on the log are over (GoalRec-off) and, with a
world, `agent/` at the end (GoalRec), beside checkpoints, metrics and TensorBoard logs.
"""

import dataclasses
import pathlib

from launch import flags
from tfgoalrec import GoalRec
from tfgoalrec import config as goalrec_config
from tfrec import outputs
from tfrec.data import storage
from tfrec.environments import worlds
from tfrec.options import MAX_SEED, Options, option


@dataclasses.dataclass(frozen=True)
class TrainGoalRecConfig(Options):
    """Where to learn from and where to write."""

    data: str = option("runs/data", "folder of the prepared data")
    world: str = option("", f"{worlds.HELP}; empty learns from the log alone (GoalRec-off)")
    out: str = option("runs/goalrec", "folder of the run; one that is there goes on")
    seed: int = option(0, "seed of weights, batches and play", at_least=0, at_most=MAX_SEED)
    save_every: int = option(10, "rounds between checkpoints", at_least=1)
    evaluate_every: int = option(2, "rounds between checks on held-out users", at_least=1)


flags.define(TrainGoalRecConfig)
flags.define(goalrec_config.GoalRecConfig)


def main(_):
    config = flags.read(TrainGoalRecConfig)
    outputs.check_folder(config.out)
    method = flags.read(goalrec_config.GoalRecConfig)
    data = storage.PreparedData.open(config.data)
    flags.warn(data.untrained_items)
    agent = GoalRec.of(method, config.seed, owner="--")  # messages name the flag
    agent.fit(
        data,
        worlds.users(config.world, data) if config.world else None,
        out=config.out,
        save_every=config.save_every,
        evaluate_every=config.evaluate_every,
    )
    last = pathlib.Path(config.out) / ("agent" if config.world else "agent_off")
    print(f"{last}: goals {', '.join(agent.goals)}")


if __name__ == "__main__":
    flags.run(main)
