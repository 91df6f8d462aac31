"""Trains any method of the tables on prepared sessions: on the log, then by playing.

    python -m launch.train_baseline --method=rainbow --data=runs/data --world=runs/simulator \
        --out=runs/rainbow

`--method=rainbow --help` lists Rainbow's own flags too. The folder gets `agent/` at the
end, for `launch.evaluate`, beside checkpoints, metrics and TensorBoard logs. Without a
world it learns from the log alone.
"""

import dataclasses
import pathlib

from launch import flags, methods
from tfrec import outputs
from tfrec.data import storage
from tfrec.environments import worlds
from tfrec.methods import recommender
from tfrec.options import MAX_SEED, Options, option, required


@dataclasses.dataclass(frozen=True)
class TrainBaselineConfig(Options):
    """What learns, from what, and where to."""

    method: methods.Name = required(f"what learns: {methods.HELP}")
    out: str = required("folder of the run; one that is there goes on")
    data: str = option("runs/data", "folder of the prepared data")
    world: str = option("", f"{worlds.HELP}; empty learns from the log alone")
    seed: int = option(0, "seed of weights, batches and play", at_least=0, at_most=MAX_SEED)
    save_every: int = option(10, "rounds between checkpoints", at_least=1)
    evaluate_every: int = option(
        5, "rounds between plays of validation users, where there is a world", at_least=1
    )
    max_users: int = option(500, "validation users at most", at_least=1)


flags.define(TrainBaselineConfig)
flags.define_chosen("method", methods.METHODS, lambda name: methods.get(name).config)


def main(_):
    config = flags.read(TrainBaselineConfig)
    outputs.check_folder(config.out)
    method = methods.get(config.method)
    numbers = flags.read(method.config)
    data = storage.PreparedData.open(config.data)
    flags.warn(data.untrained_items)
    users = worlds.users(config.world, data) if config.world else None
    agent = recommender.Recommender.of(
        numbers, config.seed, config.method, owner=f"--method={config.method}: "
    )
    agent.fit(
        data,
        users,
        out=config.out,
        save_every=config.save_every,
        evaluate_every=config.evaluate_every,
        validation_users=config.max_users,
    )
    rounds = numbers.log_rounds + (numbers.play_rounds if users and method.plays else 0)
    print(f"{pathlib.Path(config.out) / 'agent'}: {method.title} after {rounds} rounds")


if __name__ == "__main__":
    flags.run(main)
