"""Trains GoalRec-off with and without hindsight goals and measures how much they leak.

    python -m launch.check_leak --data=runs/data --world=truth --out=runs/leak --seeds=3

A hindsight goal is a copy of the outcome, so a model may read the outcome there and
ignore the item (docs/label_leak.md). Arms: hindsight goals alone, half of them, the
configured share, none, and no goal input at all; each learns from the log alone with
the same number of updates. Writes leak.json, report.md, report.html and leak.png.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import rich

import tfgoalrec  # noqa: F401  registers GoalRec
from launch import flags
from tfgoalrec import acting, goals, leak, leak_report, leak_truth
from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config as goalrec_config
from tfgoalrec import learner as goalrec_learner
from tfgoalrec import measurements as goalrec_measurements
from tfrec import options, outputs, types
from tfrec.data import identity, item_vectors, storage
from tfrec.environments import (
    contract,
    embedded,
    exact_values,
    player,
    policies,
    user_models,
    users,
    worlds,
)
from tfrec.errors import UserError
from tfrec.methods import registry
from tfrec.metrics import session as metrics
from tfrec.options import MAX_SEED, Options, option
from tfrec.report import results
from tfrec.training import finite

if TYPE_CHECKING:
    from tfgoalrec.world_model import WorldModel


@dataclasses.dataclass(frozen=True)
class CheckLeakConfig(Options):
    """Data, world, arms and sample sizes of the check."""

    data: str = option("runs/data", "folder of the prepared data")
    world: str = option(
        worlds.TRUTH,
        "simulated users: a folder written by fit_simulator, or `truth` for the ground truth "
        "of the embedded log",
    )
    out: str = option("runs/leak", "folder for the report")
    shares: tuple[float, ...] = option(
        (1.0, 0.5, 0.0),
        "further shares of hindsight goals beside --hindsight_share",
        at_least=0,
        at_most=1,
        distinct=True,
    )
    seeds: int = option(3, "number of seeds of each arm", at_least=1)
    first_seed: int = option(
        0, "the first seed; the others follow", at_least=0, at_most=MAX_SEED
    )
    steps: int = option(
        20000,
        "largest number of steps of test users on which predictions are evaluated",
        at_least=1,
    )
    states: int = option(
        2000, "largest number of states of these steps in which items are ranked", at_least=1
    )
    candidates: int = option(120, "largest number of items ranked in each state", at_least=2)
    max_users: int = option(2000, "largest number of test users in play", at_least=1)
    sessions_per_user: int = option(2, "sessions of each test user in play", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        options.check_last_seed(self.first_seed, self.seeds)


flags.define(CheckLeakConfig)
flags.define(goalrec_config.GoalRecConfig)


def main(_):
    config = flags.read(CheckLeakConfig)
    outputs.check_folder(config.out)
    method = flags.read(goalrec_config.GoalRecConfig)
    if not method.use_goal:
        raise UserError(
            "--nouse_goal: expected the goal input, as one of the arms is without it"
        )
    data = storage.PreparedData.open(config.data)
    flags.warn(data.untrained_items)
    try:
        registry.get("goalrec").check(method, data.spec)
    except ValueError as error:
        raise UserError(f"--{error}") from error
    if config.world == worlds.LOOKUP:
        raise UserError(
            f"--world={config.world}: the check compares click probabilities, and the log has "
            f"none; expected {worlds.TRUTH} or a folder written by fit_simulator"
        )
    world = worlds.load(config.world, data)
    out = pathlib.Path(config.out)
    out.mkdir(parents=True, exist_ok=True)

    log = data.episodes("train")
    vectors = item_vectors.log_vectors(
        log, data.spec.num_items, max(method.embedding, method.frozen_embedding)
    )
    measurements = goalrec_measurements.Measurements(
        method.measurements, data.spec, vectors[:, : method.frozen_embedding]
    )
    measurements.fit(log)
    check = _Check(config, data, world, measurements)
    arms = _arms({*config.shares, method.hindsight_share})
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    trials = [(name, seed) for name in arms for seed in seeds]
    outcomes: dict[str, list[_Outcome]] = {name: [] for name in arms}
    for number, (name, seed) in enumerate(trials, 1):
        changed = dataclasses.replace(method, **arms[name])
        agent = goalrec_agent.GoalRecAgent(changed, data.spec, measurements, vectors, seed)
        _train(agent, log, f"{name}, seed {seed}")
        outcome = check.assess(agent, seed)
        outcomes[name].append(outcome)
        clicks = np.mean(outcome.played["reward"])
        rich.print(f"{number} of {len(trials)}: {name}, seed {seed}: {clicks:.2f} clicks")

    document = _document(config, method, check, arms, outcomes, seeds)
    document["fingerprints"] = identity.fingerprints(worlds.inputs(data, config.world, world))
    policies = document.pop("policies")
    document = results.write(out / "leak.json", policies, **document)
    leak_report.write(out, document)
    print(leak_report.table(document["arms"]))
    print(f"report: {out / 'report.html'}")


def _arms(shares: set[float]) -> dict[str, dict[str, Any]]:
    """Returns the changes of each arm to the method's configuration."""
    arms: dict[str, dict[str, Any]] = {
        f"hindsight {share:.0%}": {"hindsight_share": share}
        for share in sorted(shares, reverse=True)
    }
    return arms | {"no goal input": {"hindsight_share": 0.0, "use_goal": False}}


def _train(agent: goalrec_agent.GoalRecAgent, log: types.Episodes, what: str) -> None:
    """Trains an agent on the log, as launch.train does."""
    learner = goalrec_learner.GoalRecLearner(agent, log)
    for _ in range(learner.total_iterations):
        try:
            learner.advance()
        except finite.NonFiniteError as error:
            raise UserError(f"{what}: {error}; try a lower --learning_rate") from error


class _Outcome(NamedTuple):
    """Measures of a trained agent; rows are the held-out steps or states.

    Attributes:
      ranking: name -> concordance in each state, [B].
      explained: hindsight or random goals -> term of R^2 of each step, [L, J].
      bias: largest |mean A| / std(m).
      bias_column: the measurement column with that bias.
      played: sessions of the agent under the target goal.
    """

    ranking: dict[str, np.ndarray]
    explained: dict[str, np.ndarray]
    bias: float
    bias_column: str
    played: metrics.Sessions


class _Check:
    """The held-out steps with their true values, and the evaluation of agents on them."""

    def __init__(
        self,
        config: CheckLeakConfig,
        data: storage.PreparedData,
        world: user_models.UserModel,
        measurements: goalrec_measurements.Measurements,
    ):
        self.config, self.spec, self.world = config, data.spec, world
        self.environment = users.UserEnvironment(world)
        self.measurements = measurements
        episodes = data.episodes("test")
        last = worlds.last_sessions(episodes)
        starts = user_models.starts_of(types.rows(last, slice(config.max_users)))
        self.starts = types.rows(
            starts, np.repeat(np.arange(len(starts.user)), config.sessions_per_user)
        )
        self.held = leak.held_out(episodes, measurements, config.steps, seed=0)
        self.states = leak.first_states(self.held, config.states)
        self.candidates = leak_truth.candidates(
            episodes, self.states, data.spec.num_items, config.candidates, world.repeats, seed=0
        )
        self.truth = leak_truth.of(world, episodes, self.states, self.candidates)
        click = f"{data.spec.feedback_names[0]}@0"
        try:
            self.click_now = goals.named(measurements, {click: 1.0})
        except ValueError as error:
            raise UserError(f"--measurements: the check needs {click}: {error}") from error

    def assess(self, agent: goalrec_agent.GoalRecAgent, seed: int) -> _Outcome:
        import tensorflow as tf

        model, held = agent.averaged, self.held
        target = next(iter(agent.named_goals.values()))
        ranking = {"ranking_click": self._ranking(model, self.click_now, self.truth.click)}
        if self.truth.optimal is not None:
            ranking["ranking_optimal"] = self._ranking(model, target, self.truth.optimal)
        explained = {}
        for name, share in (("hindsight", 1.0), ("random", 0.0)):
            goal = leak.mixed_goals(held, self.measurements, share, seed=0)
            value = leak.predict(model, held, goal).value
            explained[name] = leak.explained(value, held.measurement, self.measurements.size)
        goal = leak.mixed_goals(held, self.measurements, agent.config.hindsight_share, seed=0)
        advantage = leak.predict(model, held, goal).advantage
        bias = leak.advantage_bias(advantage, held.measurement)
        return _Outcome(
            ranking,
            explained,
            float(bias.max()),
            self.measurements.columns[int(bias.argmax())],
            self.play(acting.greedy(model, tf.constant(target)), seed),
        )

    def _ranking(self, model: WorldModel, goal: np.ndarray, truth: np.ndarray) -> np.ndarray:
        scores = leak.scores_of(model, self.states, goal, self.candidates)
        return leak.concordance(scores, truth)

    def play(self, policy: contract.Policy, seed: int) -> metrics.Sessions:
        """Plays test users; a seed has the same users and random draws in every arm."""
        played = player.Player(self.environment, policy).play(self.starts, seed)
        return metrics.per_session(played, self.spec.feedback_names)


def _document(
    config: CheckLeakConfig,
    method: goalrec_config.GoalRecConfig,
    check: _Check,
    arms: Mapping[str, Mapping[str, Any]],
    outcomes: Mapping[str, Sequence[_Outcome]],
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Returns the content of leak.json."""
    spec, world = check.spec, check.world
    reward = np.eye(len(spec.feedback))[0]
    played = {name: [one.played for one in of_arm] for name, of_arm in outcomes.items()}
    controls = {
        "random": contract.random_policy(check.environment),
        "myopic": policies.greedy(world, reward),
    }
    if isinstance(world, embedded.EmbeddedWorld):
        controls["optimum"] = exact_values.optimal_policy(exact_values.solve(world, reward))
    for name, policy in controls.items():
        played[name] = [check.play(policy, seed) for seed in seeds]
    default = f"hindsight {method.hindsight_share:.0%}"
    summaries = {}
    for name, of_arm in outcomes.items():
        summary = _summary(check, of_arm)
        summary["reward"] = metrics.summarise(played[name])["reward"]
        summary["beyond_default"] = {
            **leak.differences(
                *_rankings(check, of_arm), _rankings(check, outcomes[default])[1]
            ),
            "reward": metrics.paired_difference(played[name], played[default])["reward"],
        }
        if "optimum" in controls:
            summary["share"] = metrics.share(played[name], played["random"], played["optimum"])
        summaries[name] = {**arms[name], **summary}
    return {
        "policies": {name: metrics.summarise(by_seed) for name, by_seed in played.items()},
        "arms": summaries,
        "default": default,
        "seeds": list(seeds),
        "users": len(np.unique(check.starts.user)),
        "updates": method.log_rounds * method.updates_per_round,
        "steps": len(check.held.item),
        "states": len(check.states.item),
        "candidates": check.candidates.shape[1],
        "config": dataclasses.asdict(config),
        "method": dataclasses.asdict(method),
    }


def _summary(check: _Check, outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    """Returns means and intervals of one arm."""
    summary: dict[str, Any] = leak.intervals(*_rankings(check, outcomes))
    summary |= leak.intervals(
        check.held.user,
        [
            {f"explained_{name}": np.nanmean(x, axis=1) for name, x in one.explained.items()}
            for one in outcomes
        ],
    )
    bias = [one.bias for one in outcomes]
    return summary | {
        "explained_by_measurement": {
            measurement: {
                name: float(np.mean([one.explained[name][:, j] for one in outcomes]))
                for name in outcomes[0].explained
            }
            for j, measurement in enumerate(check.measurements.names)
        },
        "advantage_bias": leak.seed_interval(bias),
        "advantage_bias_by_seed": bias,
        "advantage_bias_column": outcomes[int(np.argmax(bias))].bias_column,
    }


def _rankings(
    check: _Check, outcomes: Sequence[_Outcome]
) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Returns user and concordance, by seed, of the states with an order of items."""
    ranked = ~np.isnan(outcomes[0].ranking["ranking_click"])
    by_seed = [{name: x[ranked] for name, x in one.ranking.items()} for one in outcomes]
    return check.states.user[ranked], by_seed


if __name__ == "__main__":
    flags.run(main)
