"""Trains any method of the tables on prepared sessions: on the log, then by playing.

    python -m launch.train_baseline --method=rainbow --data=runs/data --world=runs/simulator \
        --out=runs/rainbow

`--method=rainbow --help` lists Rainbow's own flags too. The folder gets `agent/` at the
end, for `launch.evaluate`, beside checkpoints, metrics and TensorBoard logs. Without a
world it learns from the log alone.
"""

import dataclasses

from launch import flags, methods, trials, worlds
from tfrec import outputs
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.options import MAX_SEED, Options, option, required
from tfrec.training import loop
from tfrec.training import run as runs


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
    world = worlds.load(config.world, data) if config.world else None
    starts = trials.starts(data, config.max_users) if world else None
    log = data.episodes("train")
    vectors = methods.item_vectors(numbers, log, data.spec)
    # Made before the folder is, so that a configuration that does not fit leaves nothing.
    try:
        learner = runs.seeded(
            config.seed,
            lambda: method.make(numbers, data.spec, log, world, vectors, config.seed),
        )
    except ValueError as error:
        raise UserError(f"--method={config.method}: {error}") from error

    inputs = worlds.inputs(data, config.world, world)
    run = runs.Run.open(config.out, numbers, config.seed, {"method": config.method}, inputs)
    score = trials.Score(world, learner.policy(), starts) if world and starts else None
    loop.train(
        learner,
        run,
        learner.total_units,
        config.save_every,
        (lambda: {"reward_clicks": score()}) if score else None,
        config.evaluate_every,
    )
    folder = run.directory / "agent"
    kept = {
        "method": config.method,
        **worlds.about(data, inputs),
        "seed": config.seed,
        storage.UNTRAINED: data.num_untrained_items,
    }
    methods.save(folder, config.method, numbers, data.spec, learner, data.vocabulary, kept)
    print(f"{folder}: {method.title} after {int(learner.unit)} rounds")


if __name__ == "__main__":
    flags.run(main)
