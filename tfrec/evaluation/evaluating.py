"""Evaluation of policies in sessions of the same users, and comparison of their metrics."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrec import types
from tfrec.data import identity, storage
from tfrec.environments import contract, player, scoring, worlds
from tfrec.environments import controls as controls_lib
from tfrec.errors import UserError
from tfrec.methods import trained
from tfrec.metrics import session as metrics
from tfrec.report import evaluation as report
from tfrec.report import plots, results, style, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPLITS = ("test", "validation", "train")
Policies = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Result of an evaluation.

    Attributes:
      document: content of results.json.
      sessions: policy -> its sessions by seed, from `metrics.session.per_session`; those of
        agents are under their first goal.
      spec: names and units of the feedback.
    """

    document: dict[str, Any]
    sessions: Mapping[str, Sequence[metrics.Sessions]]
    spec: types.DataSpec

    @property
    def policies(self) -> Policies:
        """Policy -> metric -> mean, low and high of the 95% interval over users and seeds.

        `reward` is clicks per session, `depth` steps per session, `ctr` clicks per step; those
        of agents are under their first goal.
        """
        return self.document["policies"]

    @property
    def by_goal(self) -> Policies:
        """`agent, goal name` -> metrics, for agents with goals."""
        return self.document["goals"]

    @property
    def share_of_optimum(self) -> Mapping[str, Mapping[str, float]]:
        """Policy -> its reward on the scale from random (0) to the optimum (1).

        Empty unless `random` and `optimum` were evaluated.
        """
        return self.document["share_of_optimum"]

    @property
    def depths(self) -> Mapping[str, np.ndarray]:
        """Policy -> steps of each session of all seeds, [B]."""
        return {
            name: np.concatenate([s["depth"] for s in played])
            for name, played in self.sessions.items()
        }

    def difference(self, policy: str, other: str) -> Mapping[str, Mapping[str, float]]:
        """Difference of two policies on the same users and seeds.

        Args:
          policy: a name in `policies`.
          other: the name of the policy that is subtracted.

        Returns:
          Metric -> mean, low and high of the 95% interval, the two-sided p_value of no
          difference, and detectable: the smallest true difference that as many users and seeds
          detect with 80% power.

        Raises:
          UserError: if there is no such policy, or there are fewer than two users.

        Example:
          >>> result.difference("goalrec", "myopic")["reward"]["low"]
        """
        for name in (policy, other):
            if name not in self.sessions:
                raise UserError(
                    f"difference: no policy {name!r}; there are {', '.join(self.sessions)}"
                )
        return metrics.paired_difference(self.sessions[policy], self.sessions[other])

    def notes(self) -> list[str]:
        """Explanations of the results, one line each."""
        lines = []
        if {"optimum", "exit_averse"} & set(self.policies):
            lines.append(controls_lib.note(self.policies))
        lines += [
            f"{name}: {_percent(share)} of the way from random to the optimum"
            for name, share in self.share_of_optimum.items()
        ]
        by_column = self.document["share_of_optimum_by_column"]
        for column, shares in list(by_column.items())[1:]:  # the first is the reward
            most = self.by_goal[style.under_goal("optimum", column)][column]["mean"]
            lines.append(f"{column}, with an optimum of {most:.4g} per session:")
            for name, share in shares.items():
                earned = ({**self.by_goal, **self.policies})[name][column]["mean"]
                lines.append(
                    f"  {name}: {earned:.4g}, {_percent(share)} of the way from random"
                )
        return lines

    def write(
        self,
        directory: str | pathlib.Path,
        curves: Mapping[str, Sequence[pathlib.Path]] | None = None,
    ) -> pathlib.Path:
        """Writes results.json, report.md, report.html and plots.

        Args:
          directory: output folder, which is created.
          curves: method -> metrics.jsonl of each seed's training.

        Returns:
          The path of report.html.
        """
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        results.write(directory / "results.json", **self.document)
        report.write(
            directory, self.document, self.depths, self.by_goal, curves or {}, self.spec
        )
        return directory / "report.html"

    def plot(self) -> Figure:
        """Reward, CTR and depth of every policy, with intervals.

        A notebook displays the figure after `%matplotlib inline`.
        """
        return plots.policies(self.policies, seeds=self.document["seeds"])

    def __str__(self) -> str:
        return "\n".join([tables.markdown(self.policies), *self.notes()])

    def _repr_html_(self) -> str:
        return tables.html(self.policies) + "".join(f"<div>{x}</div>" for x in self.notes())


def evaluate(
    agents: Mapping[str, Sequence[trained.SavedAgent]],
    controls: Mapping[str, contract.Policy],
    users: worlds.SimulatedUsers,
    data: storage.PreparedData,
    *,
    split: str = "test",
    max_users: int = 2000,
    sessions_per_user: int = 4,
    seed: int = 1,
    config: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Plays the last session of each user of a split, several times, under each policy.

    Args:
      agents: name -> an agent for each seed, equally many for all names. They play under each
        of their goals.
      controls: name -> policy.
      users: the simulated users.
      data: the prepared data.
      split: split of the session starts.
      max_users: users of the split at most.
      sessions_per_user: sessions of each user.
      seed: seed of the played sessions; the i-th agent of a name plays with seed + i.
      config: recorded in the document.

    Raises:
      UserError: if the split has no session, or a response is not finite.
    """
    import tensorflow as tf

    if split not in _SPLITS:
        raise UserError(f"split is {split!r}; expected one of {', '.join(_SPLITS)}")
    world, columns = users.world, data.spec.feedback_names
    environment = users.environment
    starts = scoring.starts(data, split, max_users, sessions_per_user)
    seeds = [seed + i for i in range(len(next(iter(agents.values()), [None])))]
    episodes: dict[tuple[str, str], list[types.Episodes]] = {}  # (policy, goal) -> by seed
    for name, policy in controls.items():
        runner = player.Player(environment, policy)
        episodes[name, ""] = [runner.play(starts, seed) for seed in seeds]
    for name, members in agents.items():
        for play_seed, agent in zip(seeds, members, strict=True):
            goal = tf.Variable(next(iter(agent.named_goals.values())))
            runner = player.Player(environment, agent.policy(goal))
            for goal_name, weights in agent.named_goals.items():
                goal.assign(weights)
                episodes.setdefault((name, goal_name), []).append(
                    runner.play(starts, play_seed)
                )
    per_session = {
        (name, goal): [_measured(name, e, columns) for e in played]
        for (name, goal), played in episodes.items()
    }
    # The table has a method under its target goal, the first one; by_goal has all goals. A
    # method without goals has one, named ''.
    target = {name: next(iter(members[0].named_goals)) for name, members in agents.items()}
    sessions = {
        name: played
        for (name, goal), played in per_session.items()
        if goal == target.get(name, "")
    }
    by_goal = {
        style.under_goal(name, goal): metrics.summarise(played)
        for (name, goal), played in per_session.items()
        if goal
    }
    table = {name: metrics.summarise(played) for name, played in sessions.items()}
    shares = {}
    # Shares need an exact optimum.
    if {"random", "optimum"} <= set(controls):
        shares = {
            name: metrics.share(sessions[name], sessions["random"], sessions["optimum"])
            for name in table
            if name not in ("random", "optimum")
        }
    # Values of one model under other goals, beside the optimum of each column.
    shares_by_column: dict[str, dict[str, dict[str, float]]] = {}
    optima = controls_lib.optima(world, data.spec) if by_goal and "random" in controls else {}
    for column, policy in optima.items():
        runner = player.Player(environment, policy)
        best = [metrics.per_session(runner.play(starts, seed), columns) for seed in seeds]
        by_goal[style.under_goal("optimum", column)] = metrics.summarise(best)
        shares_by_column[column] = {
            style.under_goal(name, goal) if goal else name: metrics.share(
                played, sessions["random"], best, metric=column
            )
            for (name, goal), played in per_session.items()
            if name in agents
        }
    document = results.document(
        table,
        seeds=len(seeds),
        users=len(np.unique(starts.user)),
        world=world.__class__.__name__,
        share_of_optimum=shares,
        goals=by_goal,
        share_of_optimum_by_column=shares_by_column,
        config=dict(config or {}),
        data=data.fingerprint,
        fingerprints={
            **identity.fingerprints(worlds.inputs(data, users.name, world)),
            "agents": {
                name: [agent.fingerprint for agent in members]
                for name, members in agents.items()
            },
        },
    )
    return EvaluationResult(document, sessions, data.spec)


def _measured(
    name: str, played: types.Episodes, feedback_names: tuple[str, ...]
) -> metrics.Sessions:
    try:
        return metrics.per_session(played, feedback_names)
    except ValueError as error:  # a response of the world is not finite
        raise UserError(f"{name}: {error}; its sessions cannot be compared") from error


def _percent(share: Mapping[str, float]) -> str:
    return f"{share['mean']:.1%} [{share['low']:.1%}, {share['high']:.1%}]"
