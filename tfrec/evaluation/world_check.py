"""What an environment of simulated users can tell about recommenders.

There are two measurements. The variance of the logits of clicks and exits has parts of users,
items, states and their interactions, and only the interactions are what personalised methods
learn. Policies that ignore the user, the session or both show how much is earned without them.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrec.data import storage
from tfrec.environments import (
    contract,
    controls,
    discrimination,
    embedded,
    embedded_belief,
    embedded_signal,
    exact_values,
    player,
    restricted,
    scoring,
    user_models,
    worlds,
)
from tfrec.environments import users as users_lib
from tfrec.errors import UserError
from tfrec.evaluation.world_check_config import WorldCheckConfig
from tfrec.metrics import session as metrics
from tfrec.metrics import variance_components
from tfrec.report import results
from tfrec.report import world_check as report

PRIVILEGED = ("constant_item", "fixed_list", "memoryless", "myopic", "exit_averse", "optimum")


class Criterion(NamedTuple):
    """One condition of an environment that can rank personalised methods.

    Attributes:
      name: what is measured.
      value: the measurement; None if there is none.
      threshold: in words, such as `at least 25%`.
      met: None where the interval of the measurement includes the threshold.
      note: why the measurement is what it is; may be empty.
    """

    name: str
    value: float | None
    threshold: str
    met: bool | None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class WorldCheck:
    """The measurements of one world.

    Attributes:
      name: the world as it was named.
      kind: class of the user model; refits are of one kind.
      components: variance components of the logits of `click` and `exit`.
      policies: policy -> metric -> mean, low and high over test users.
      reference: the policy at the end of the way: the optimum, or the best of the privileged.
      shares: policy -> share of the way from random to the reference: mean, low and high;
        empty if nothing earns more than random.
      far_effect: effect of items on later clicks in the log; None where it is not known.
    """

    name: str
    kind: str
    components: Mapping[str, variance_components.Components]
    policies: results.Policies
    reference: str
    shares: Mapping[str, Mapping[str, float]]
    far_effect: embedded_signal.FarEffect | None = None

    @property
    def reference_note(self) -> str:
        """What the reference is."""
        if self.reference == "optimum":
            return "the proven optimum (value iteration)"
        return "the best privileged policy tried; no bound"

    def criteria(self, config: WorldCheckConfig) -> list[Criterion]:
        """The conditions of an environment that can rank personalised methods."""
        found = []
        for name, least in (
            ("click", config.click_interaction),
            ("exit", config.exit_interaction),
        ):
            parts = self.components[name]
            note = "" if sum(parts) else f"the {name}'s probability never varies"
            found.append(
                Criterion(
                    f"interactions in the {name}'s variance",
                    parts.interaction,
                    f"at least {least:.0%}",
                    parts.interaction >= least,
                    note,
                )
            )
        most = config.list_share
        name, limit = "share of the fixed list", f"below {most:.0%}"
        if not self.shares:
            return [
                *found,
                Criterion(name, None, limit, False, "nothing earns more than random"),
            ]
        share = self.shares["fixed_list"]
        met = True if share["high"] < most else False if share["low"] >= most else None
        return [*found, Criterion(name, share["mean"], limit, met)]

    def verdict(self, config: WorldCheckConfig) -> str:
        """`admitted`, `undecided`, or `apart` where a condition does not hold."""
        met = [criterion.met for criterion in self.criteria(config)]
        return "apart" if False in met else "undecided" if None in met else "admitted"

    def document(self, config: WorldCheckConfig) -> dict[str, Any]:
        """What check.json holds of the world."""
        return {
            "kind": self.kind,
            "verdict": self.verdict(config),
            "criteria": [criterion._asdict() for criterion in self.criteria(config)],
            "variance_shares": {name: x.shares() for name, x in self.components.items()},
            "variances": {name: x._asdict() for name, x in self.components.items()},
            "reference": self.reference,
            "reference_note": self.reference_note,
            "shares": self.shares,
            "policies": self.policies,
            "far_effect": self.far_effect and self.far_effect.document,
        }


def check(users: worlds.SimulatedUsers, config: WorldCheckConfig) -> WorldCheck:
    """Measures one world on the test users of its data.

    Lists and costs are chosen on training users. Nothing is learned from test users, who are
    unknown to a fitted world too if it was fitted on the training split.

    Raises:
      UserError: if the data has fewer than two test users or items.
    """
    data, world = users.data, users.world
    starts = scoring.starts(data, "test", config.max_users, repeats=1)
    if len(starts.user) < 2 or data.spec.num_candidates < 2:
        raise UserError(
            f"{data.directory}: {len(starts.user)} test users and {data.spec.num_candidates} "
            "items; variance needs at least two of each. Prepare more users or items"
        )
    logits = discrimination.sampled(
        world,
        starts,
        np.asarray(data.episodes("test").length),
        config.states,
        min(config.items, data.spec.num_candidates),
        config.seed,
    )
    played = _played(users, config)
    table = {name: metrics.summarise([sessions]) for name, sessions in played.items()}
    rewards = {name: table[name]["reward"]["mean"] for name in PRIVILEGED if name in table}
    proven = "optimum" in rewards
    reference = "optimum" if proven else max(rewards, key=rewards.__getitem__)
    shares = {}
    if rewards[reference] > table["random"]["reward"]["mean"]:
        shares = {
            name: metrics.share([sessions], [played["random"]], [played[reference]])
            for name, sessions in played.items()
        }
    return WorldCheck(
        users.name,
        type(world).__name__,
        discrimination.components(logits),
        table,
        reference,
        shares,
        _far_effect(world),
    )


def _far_effect(world: user_models.UserModel) -> embedded_signal.FarEffect | None:
    """The effect of items on later clicks under the logging policy, where it is exact."""
    if not isinstance(world, embedded.EmbeddedWorld):
        return None
    return embedded_signal.far_effect(world, world.logging_policy())


def _played(
    users: worlds.SimulatedUsers, config: WorldCheckConfig
) -> dict[str, metrics.Sessions]:
    """Sessions of the same test users under each policy."""
    data, environment = users.data, users.environment
    starts = scoring.starts(data, "test", config.max_users, config.sessions_per_user)

    def play(
        where: users_lib.UserEnvironment, policy: contract.Policy
    ) -> dict[str, np.ndarray]:
        episodes = player.Player(where, policy).play(starts, config.seed)
        return metrics.per_session(episodes, data.spec.feedback_names)

    exit_averse = controls.ExitAverse(sessions=config.training_users)
    chosen: list[controls.Control] = [controls.FixedList(users=config.training_users)]
    if users.world.repeats:
        chosen.append(controls.ConstantItem(users=config.training_users))
    for name, control in controls.standard(users).items():
        chosen.append(exit_averse if name == exit_averse.name else control)
    played: dict[str, metrics.Sessions] = {
        control.name: play(environment, control.policy(data, environment, config.seed))
        for control in chosen
    }
    # The exit-averse policy of users whose probabilities stay those of the session's start.
    at_start = users_lib.UserEnvironment(restricted.AtStart(users.world))
    played["memoryless"] = play(at_start, exit_averse.policy(data, at_start, config.seed))
    played["item_counts"] = play(environment, _item_counts(users, config))
    if controls.is_solvable(users.world):
        played["log_improved"] = play(environment, _log_improved(users.world))
        played["posterior"] = play(*_posterior(users, starts.user))
    return played


def _log_improved(world: user_models.UserModel) -> contract.Policy:
    """The best items, in clicks, if the logging policy is followed after each."""
    assert isinstance(world, embedded.EmbeddedWorld)
    clicks = np.eye(len(world.spec.feedback))[0]
    plan = exact_values.improved_plan(world, clicks, world.logging_policy())
    return exact_values.plan_policy(plan)


def _posterior(
    users: worlds.SimulatedUsers, user: np.ndarray
) -> tuple[users_lib.UserEnvironment, contract.Policy]:
    """The policy that infers users of the embedded world from the log and their answers."""
    world = users.world
    assert isinstance(world, embedded.EmbeddedWorld)
    earlier = worlds.earlier_sessions(users.data.episodes("test"), user)
    observed = embedded_belief.Observed(world, embedded_belief.log_evidence(world, earlier))
    return users_lib.UserEnvironment(observed), embedded_belief.posterior_policy(world)


def _item_counts(users: worlds.SimulatedUsers, config: WorldCheckConfig) -> contract.Policy:
    """Counts of each item's clicks and exits, learned by play alone."""
    import tensorflow as tf

    from tfrec.baselines import recommenders

    counts = recommenders.ItemCounts(
        seed=config.seed,
        log_rounds=1,
        play_rounds=config.play_rounds,
        sessions_per_round=config.sessions_per_round,
        keep_log=False,
    )
    agent = counts.fit(users.data, users).agent
    return agent.policy(tf.constant(next(iter(agent.named_goals.values()))))


def write(
    directory: str | pathlib.Path,
    checks: Sequence[WorldCheck],
    data: storage.PreparedData,
    config: WorldCheckConfig,
) -> pathlib.Path:
    """Writes check.json, table.md, report.md, report.html and a plot.

    Args:
      directory: where to; made if missing.
      checks: the measured worlds.
      data: the prepared data.
      config: as given to `check`.

    Returns:
      The path of report.html.
    """
    document = {
        "worlds": {check.name: check.document(config) for check in checks},
        "config": dataclasses.asdict(config),
        "data": data.fingerprint,
    }
    return report.write(pathlib.Path(directory), document)
