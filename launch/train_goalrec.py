"""Trains GoalRec on prepared sessions, from the log alone or by playing in a world.

    python -m launch.train_goalrec --data=runs/data --out=runs/goalrec_off
    python -m launch.train_goalrec --data=runs/data --world=runs/simulator --out=runs/goalrec

The folder gets `agent_off/` once the rounds on the log are over (GoalRec-off) and, with a
world, `agent/` at the end (GoalRec), beside checkpoints, metrics and TensorBoard logs.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

from launch import flags, worlds
from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config as goalrec_config
from tfgoalrec import learner as goalrec_learner
from tfgoalrec import measurements as goalrec_measurements
from tfgoalrec import validation
from tfrec import outputs
from tfrec.data import item_vectors, storage
from tfrec.errors import UserError
from tfrec.options import MAX_SEED, Options, option
from tfrec.serving import golden
from tfrec.training import loop, summaries
from tfrec.training import run as runs


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
    world = worlds.load(config.world, data) if config.world else None
    log = data.episodes("train")
    vectors = item_vectors.log_vectors(
        log, data.spec.num_items, max(method.embedding, method.frozen_embedding)
    )
    with _naming("--measurements"):
        measurements = goalrec_measurements.Measurements(
            method.measurements, data.spec, vectors[:, : method.frozen_embedding]
        )
    measurements.fit(log)
    with _naming("--goals"):
        goalrec_agent.default_goals(method, data.spec, measurements)

    inputs = worlds.inputs(data, config.world, world)
    run = runs.Run.open(config.out, method, config.seed, inputs=inputs)
    agent = runs.seeded(
        config.seed,
        lambda: goalrec_agent.GoalRecAgent(
            method, data.spec, measurements, vectors, config.seed
        ),
    )
    learner = goalrec_learner.GoalRecLearner(agent, log, world)
    held_out = data.episodes("validation")
    check = validation.Validator(agent, held_out) if len(held_out.length) else None

    def train(units: int) -> None:
        loop.train(learner, run, units, config.save_every, check, config.evaluate_every)

    def keep(name: str) -> None:
        kept = worlds.about(data, inputs) | {"seed": config.seed}
        kept |= {storage.UNTRAINED: data.num_untrained_items}
        trained = agent.trained(data.vocabulary, kept)
        trained.save(run.directory / name)
        golden.tied_goals(trained)  # warns

    train(method.log_rounds)
    off = run.directory / "agent_off"
    if int(learner.unit) == method.log_rounds:
        keep("agent_off")
    if world is not None:
        train(learner.total_units)
        keep("agent")
    summaries.write_projector(
        run.directory / "tensorboard",
        agent.averaged.item_embedding.numpy()[1:],
        data.vocabulary.items.tolist(),
    )
    last = run.directory / "agent" if world else off
    print(f"{last}: goals {', '.join(agent.named_goals)}")


@contextlib.contextmanager
def _naming(flag: str) -> Iterator[None]:
    """Turns what a declaration gets wrong into a message that names its flag."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{flag}: {error}") from error


if __name__ == "__main__":
    flags.run(main)
