r"""Plays test users' sessions under each policy and compares the policies.

    python -m launch.evaluate --data=runs/data --world=runs/simulator --out=runs/evaluation \
        --agents=goalrec_off=runs/a/agent_off,goalrec=runs/a/agent,goalrec=runs/b/agent

Agents of one name are seeds of one method. The controls play too: random, popularity, the
best myopic policy, and the optimum where value iteration finds it, else an exit-averse
greedy policy, which is no bound. The last three read the world's probabilities.
Writes results.json, report.md, report.html and plots.
"""

from __future__ import annotations

import dataclasses
import pathlib

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
from launch import flags
from tfrec import names, outputs
from tfrec.data import identity, storage
from tfrec.environments import controls, worlds
from tfrec.errors import UserError
from tfrec.evaluation import evaluating
from tfrec.methods import registry, trained
from tfrec.options import MAX_SEED, Options, option
from tfrec.report import tables


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(Options):
    """The agents, their world and the report."""

    data: str = option("runs/data", "folder of the prepared data")
    world: str = option("runs/simulator", worlds.HELP)
    agents: tuple[str, ...] = option(
        (), "name=folder of a trained agent; repeat a name for further seeds", distinct=True
    )
    out: str = option("runs/evaluation", "folder for the report")
    sessions_per_user: int = option(4, "sessions of each test user", at_least=1)
    max_users: int = option(2000, "largest number of test users", at_least=1)
    seed: int = option(1, "seed of the played sessions", at_least=0, at_most=MAX_SEED)


flags.define(EvaluateConfig)


def main(_):
    config = flags.read(EvaluateConfig)
    outputs.check_folder(config.out)
    data = storage.PreparedData.open(config.data)
    flags.warn(data.untrained_items)
    users = worlds.users(config.world, data)
    agents = _agents(config, data)
    out = pathlib.Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    result = evaluating.evaluate(
        agents,
        controls.policies(data, users.environment, config.seed),
        users,
        data,
        max_users=config.max_users,
        sessions_per_user=config.sessions_per_user,
        seed=config.seed,
        config=dataclasses.asdict(config),
    )
    report = result.write(out, _curves(config))
    tables.show(result.policies)
    for line in result.notes():
        print(line)
    print(f"report: {report}")


def _agents(
    config: EvaluateConfig, data: storage.PreparedData
) -> dict[str, list[trained.SavedAgent]]:
    agents: dict[str, list[trained.SavedAgent]] = {}
    folders_of_names: set[tuple[str, pathlib.Path]] = set()
    for entry in config.agents:
        name, equals, folder = entry.partition("=")
        if (name, pathlib.Path(folder).resolve()) in folders_of_names:
            raise UserError(
                f"--agents={entry}: {folder} is given twice under {name!r}; expected the "
                "folder of another seed"
            )
        folders_of_names.add((name, pathlib.Path(folder).resolve()))
        if not equals:
            raise UserError(
                f"--agents={entry}: expected name=folder, e.g. goalrec=runs/a/agent"
            )
        names.check_label("agent", name)
        if name in controls.NAMES:
            raise UserError(
                f"--agents={entry}: {name!r} is the name of a control; expected another name"
            )
        agent = registry.load(folder)
        identity.check(agent.origin(folder), data.origin, same_split=True)
        agent.warn()
        agents.setdefault(name, []).append(agent)
    counts = {name: len(seeds) for name, seeds in agents.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"--agents: expected as many seeds of each name, not {counts}")
    return agents


def _curves(config: EvaluateConfig) -> dict[str, list[pathlib.Path]]:
    """Returns the metrics files of the training runs of agents that played."""
    metrics_files: dict[str, list[pathlib.Path]] = {}
    for entry in config.agents:
        name, _, folder = entry.partition("=")
        if pathlib.Path(folder).name == "agent":  # agent_off never played
            metrics_files.setdefault(name, []).append(
                pathlib.Path(folder).parent / "metrics.jsonl"
            )
    return metrics_files


if __name__ == "__main__":
    flags.run(main)
