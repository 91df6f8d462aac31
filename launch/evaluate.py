"""Plays test users' sessions under each policy and reports who does best.

    python -m launch.evaluate --data=runs/data --world=runs/simulator --out=runs/evaluation \
        --agents=goalrec_off=runs/a/agent_off,goalrec=runs/a/agent,goalrec=runs/b/agent

Agents of one name are seeds of one method. The controls play too: random, popularity, the
best myopic policy, and the optimum where value iteration finds it, else an exit-averse
greedy policy, which is no bound. The last three read the world's own probabilities.
Writes results.json, report.md, report.html and plots.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from launch import controls, flags, methods, worlds
from tfgoalrec import trained
from tfrec import names, outputs, types
from tfrec.data import identity, storage
from tfrec.environments import player
from tfrec.errors import UserError
from tfrec.metrics import session as metrics
from tfrec.options import MAX_SEED, Options, option
from tfrec.report import evaluation, results, tables
from tfrec.serving import golden


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(Options):
    """What plays, where, and where the report goes."""

    data: str = option("runs/data", "folder of the prepared data")
    world: str = option("runs/simulator", worlds.HELP)
    agents: tuple[str, ...] = option(
        (), "name=folder of a trained agent; a name for each seed", distinct=True
    )
    out: str = option("runs/evaluation", "folder for the report")
    sessions_per_user: int = option(4, "sessions that each test user plays", at_least=1)
    max_users: int = option(2000, "test users at most", at_least=1)
    seed: int = option(1, "seed of the played sessions", at_least=0, at_most=MAX_SEED)


flags.define(EvaluateConfig)


def main(_):
    import tensorflow as tf

    config = flags.read(EvaluateConfig)
    outputs.check_folder(config.out)
    data = storage.PreparedData.open(config.data)
    flags.warn(data.untrained_items)
    world = worlds.load(config.world, data)
    agents = _agents(config, data)
    out = pathlib.Path(config.out)
    out.mkdir(parents=True, exist_ok=True)

    starts = controls.starts(data, "test", config.max_users, config.sessions_per_user)
    seeds = [config.seed + i for i in range(len(next(iter(agents.values()), [None])))]
    episodes = {}  # (policy, goal) -> episodes by seed
    for name, policy in controls.policies(data, world, config.seed).items():
        runner = player.Player(world, policy)
        episodes[name, ""] = [runner.play(starts, seed) for seed in seeds]
    for name, found in agents.items():
        for seed, agent in zip(seeds, found, strict=True):
            goal = tf.Variable(next(iter(agent.named_goals.values())))
            runner = player.Player(world, agent.policy(goal))
            for goal_name, wanted in agent.named_goals.items():
                goal.assign(wanted)
                episodes.setdefault((name, goal_name), []).append(runner.play(starts, seed))
    per_session = {
        (name, goal): [_measured(name, e, data.spec.feedback_names) for e in played]
        for (name, goal), played in episodes.items()
    }
    # A method stands in the table with its target goal, the first; by_goal has the others.
    # A method without goals has one, named ''.
    target = {name: next(iter(found[0].named_goals)) for name, found in agents.items()}
    sessions = {
        name: played
        for (name, goal), played in per_session.items()
        if goal == target.get(name, "")
    }
    by_goal = {
        f"{name}, goal {goal}": metrics.summarise(played)
        for (name, goal), played in per_session.items()
        if goal
    }
    table = {name: metrics.summarise(seeds) for name, seeds in sessions.items()}
    shares = {}
    # Only a proven optimum is a point to measure the way to.
    if "optimum" in table:
        shares = {
            name: metrics.share(sessions[name], sessions["random"], sessions["optimum"])
            for name in table
            if name not in ("random", "optimum")
        }
    # What one model earns under another goal, beside the most that can be earned of it.
    shares_by_column: dict[str, dict[str, dict[str, float]]] = {}
    for column, policy in controls.optima(world, data.spec).items() if by_goal else ():
        runner = player.Player(world, policy)
        best = [
            metrics.per_session(runner.play(starts, seed), data.spec.feedback_names)
            for seed in seeds
        ]
        by_goal[f"optimum, goal {column}"] = metrics.summarise(best)
        shares_by_column[column] = {
            f"{name}, goal {goal}" if goal else name: metrics.share(
                played, sessions["random"], best, metric=column
            )
            for (name, goal), played in per_session.items()
            if name in agents
        }
    document = results.write(
        out / "results.json",
        table,
        seeds=len(seeds),
        users=len(np.unique(starts.user)),
        world=world.__class__.__name__,
        share_of_optimum=shares,
        goals=by_goal,
        share_of_optimum_by_column=shares_by_column,
        config=dataclasses.asdict(config),
        data=data.fingerprint,
        fingerprints={
            **identity.fingerprints(worlds.inputs(data, config.world, world)),
            "agents": {name: [a.fingerprint for a in found] for name, found in agents.items()},
        },
    )
    evaluation.write(
        out,
        document,
        {
            name: np.concatenate([s["depth"] for s in played])
            for name, played in sessions.items()
        },
        by_goal,
        _curves(config),
        data.spec,
    )
    tables.show(table)
    print(controls.note(table))
    for name, share in shares.items():
        print(f"{name}: {_percent(share)} of the way from random to the optimum")
    for column, column_shares in list(shares_by_column.items())[1:]:  # the first is the reward
        most = by_goal[f"optimum, goal {column}"][column]["mean"]
        print(f"{column}, whose own optimum is {most:.4g} a session:")
        for name, share in column_shares.items():
            earned = (by_goal | table)[name][column]["mean"]
            print(f"  {name}: {earned:.4g}, {_percent(share)} of the way from random")
    print(f"report: {out / 'report.html'}")


def _measured(
    name: str, played: types.Episodes, feedback_names: tuple[str, ...]
) -> metrics.Sessions:
    try:
        return metrics.per_session(played, feedback_names)
    except ValueError as error:  # what the world answered is not finite
        raise UserError(f"{name}: {error}; its sessions cannot be compared") from error


def _agents(
    config: EvaluateConfig, data: storage.PreparedData
) -> dict[str, list[methods.Agent]]:
    found: dict[str, list[methods.Agent]] = {}
    given: set[tuple[str, pathlib.Path]] = set()
    for entry in config.agents:
        name, equals, folder = entry.partition("=")
        if (name, pathlib.Path(folder).resolve()) in given:
            raise UserError(
                f"--agents={entry}: {folder} is given twice under {name!r}; expected the "
                "folder of another seed"
            )
        given.add((name, pathlib.Path(folder).resolve()))
        if not equals:
            raise UserError(
                f"--agents={entry}: expected name=folder, e.g. goalrec=runs/a/agent"
            )
        names.check_label("agent", name)
        if name in controls.NAMES:
            raise UserError(
                f"--agents={entry}: {name!r} is the name of a control; choose another"
            )
        agent = methods.load(folder)
        identity.check(agent.origin(folder), data.origin, same_split=True)
        if isinstance(agent, trained.TrainedAgent):
            golden.tied_goals(agent)  # warns
        found.setdefault(name, []).append(agent)
    counts = {name: len(seeds) for name, seeds in found.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"--agents: expected as many seeds of each name, not {counts}")
    return found


def _curves(config: EvaluateConfig) -> dict[str, list[pathlib.Path]]:
    """Where the training of each agent that played left its numbers."""
    found: dict[str, list[pathlib.Path]] = {}
    for entry in config.agents:
        name, _, folder = entry.partition("=")
        if pathlib.Path(folder).name == "agent":  # agent_off never played
            found.setdefault(name, []).append(pathlib.Path(folder).parent / "metrics.jsonl")
    return found


def _percent(share: Mapping[str, float]) -> str:
    return f"{share['mean']:.1%} [{share['low']:.1%}, {share['high']:.1%}]"


if __name__ == "__main__":
    flags.run(main)
