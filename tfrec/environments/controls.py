"""The controls of an environment: reference policies that methods are compared with."""

import abc
import dataclasses
from collections.abc import Collection
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import storage
from tfrec.environments import (
    contract,
    embedded,
    exact_values,
    player,
    restricted,
    scoring,
    user_models,
    worlds,
)
from tfrec.environments import policies as policies_lib
from tfrec.environments import users as users_lib
from tfrec.errors import UserError

NAMES = ("random", "popularity", "myopic", "exit_averse", "optimum")
_EXIT_COSTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def names(exact: bool) -> tuple[str, ...]:
    """Names of the controls of a world.

    Args:
      exact: whether the world's optimum can be computed. It replaces `exit_averse` then.
    """
    return tuple(name for name in NAMES if name != ("exit_averse" if exact else "optimum"))


def note(policies: Collection[str]) -> str:
    """A sentence that explains the last control of a table."""
    if "optimum" in policies:
        return "Optimum: value iteration on the true state; no policy earns more on average."
    return (
        "Exit-averse: greedy on the world's true click probability minus a cost of leaving. It "
        "is privileged and no bound: other policies may earn more."
    )


@dataclasses.dataclass(frozen=True)
class Control(abc.ABC):
    """A control, which is evaluated with agents."""

    name: ClassVar[str]

    @abc.abstractmethod
    def policy(
        self, data: storage.PreparedData, environment: users_lib.UserEnvironment, seed: int
    ) -> contract.Policy:
        """The control as a policy.

        Args:
          data: the prepared data.
          environment: the simulated users.
          seed: seed of sessions that the control plays to choose its parameters.
        """


class Random(Control):
    """Recommends each item that may be shown with equal probability."""

    name = "random"

    def policy(self, data, environment, seed):
        return contract.random_policy(environment)


class Popularity(Control):
    """Recommends the item with the most clicks in the training log."""

    name = "popularity"

    def policy(self, data, environment, seed):
        items = environment.spec.num_candidates
        return policies_lib.popularity(data.episodes("train"), items)


class Myopic(Control):
    """Recommends the item of the highest true click probability; privileged."""

    name = "myopic"

    def policy(self, data, environment, seed):
        return policies_lib.greedy(environment.world, _reward(data))


@dataclasses.dataclass(frozen=True)
class ExitAverse(Control):
    """Greedy on the true click probability minus a cost of leaving; no bound.

    Attributes:
      sessions: of training users, on which each cost is tried.
    """

    name: ClassVar[str] = "exit_averse"
    sessions: int = 2000

    def policy(self, data, environment, seed):
        return _exit_averse(data, environment, _reward(data), seed, self.sessions)


class Optimum(Control):
    """The policy with the most expected clicks, by value iteration on the true state."""

    name = "optimum"

    def policy(self, data, environment, seed):
        exact = _solvable(environment.world)
        if exact is None:
            raise UserError(
                "controls.Optimum: the optimum of these users is unknown; expected the "
                "embedded truth with every item as a candidate"
            )
        return exact_values.optimal_policy(exact_values.solve(exact, _reward(data)))


@dataclasses.dataclass(frozen=True)
class FixedList(Control):
    """One list for all users, built from the true probabilities of training users.

    Attributes:
      users: number of training users at most.
    """

    name: ClassVar[str] = "fixed_list"
    users: int = 500

    def policy(self, data, environment, seed):
        starts = training_starts(data, self.users)
        best = restricted.fixed_list(
            environment.world, starts, _reward(data), _EXIT_COSTS, seed
        )
        return restricted.play_list(best.items)


@dataclasses.dataclass(frozen=True)
class ConstantItem(Control):
    """The item with the highest reward of training users if it is shown at every step.

    Attributes:
      users: number of training users at most.
    """

    name: ClassVar[str] = "constant_item"
    users: int = 500

    def policy(self, data, environment, seed):
        if not environment.world.repeats:
            raise UserError(
                "controls.ConstantItem: an item may be shown once in a session of these users; "
                "expected users with repeats"
            )
        item = restricted.best_constant_item(
            environment, training_starts(data, self.users), seed
        )
        return restricted.play_list(np.array([item]))


CONTROLS: dict[str, type[Control]] = {
    control.name: control
    for control in (Random, Popularity, Myopic, ExitAverse, Optimum, FixedList, ConstantItem)
}


def standard(users: worlds.SimulatedUsers) -> dict[str, Control]:
    """The controls of every evaluation, by name.

    Args:
      users: the simulated users. Their optimum is a control if it can be computed.
    """
    return {name: CONTROLS[name]() for name in names(is_solvable(users.world))}


def policies(
    data: storage.PreparedData, environment: users_lib.UserEnvironment, seed: int
) -> dict[str, contract.Policy]:
    """The policies of an environment's controls, by `names`.

    Random and popularity are not privileged. The others read the world's true probabilities.
    """
    return {
        name: CONTROLS[name]().policy(data, environment, seed)
        for name in names(is_solvable(environment.world))
    }


def _reward(data: storage.PreparedData) -> np.ndarray:
    return np.eye(len(data.spec.feedback))[0]


def optima(world: user_models.UserModel, spec: types.DataSpec) -> dict[str, contract.Policy]:
    """The optimal policy for each feedback column; {} if it cannot be computed.

    Args:
      world: the users.
      spec: names of the feedback columns.
    """
    exact = _solvable(world)
    if exact is None:
        return {}
    weights = np.eye(len(spec.feedback))
    return {
        name: exact_values.optimal_policy(exact_values.solve(exact, weight))
        for name, weight in zip(spec.feedback_names, weights, strict=True)
    }


def is_solvable(world: user_models.UserModel) -> bool:
    """Whether the optimum of a world can be computed."""
    return _solvable(world) is not None


def _solvable(world: user_models.UserModel) -> embedded.EmbeddedWorld | None:
    """The world if value iteration solves it, else None."""
    if isinstance(world, embedded.EmbeddedWorld) and not world.spec.candidates:
        return world
    return None


def training_starts(data: storage.PreparedData, users: int) -> types.Starts:
    """Session starts for the selection of privileged policies, which excludes test users.

    Args:
      data: the prepared data.
      users: number of users at most.
    """
    return scoring.starts(data, "train", users, 1)


def _exit_averse(
    data: storage.PreparedData,
    environment: users_lib.UserEnvironment,
    reward: np.ndarray,
    seed: int,
    sessions: int,
) -> contract.Policy:
    """Greedy on click probability minus a cost of leaving, with the best of `_EXIT_COSTS`.

    It is no bound: it plans one step ahead, and other policies may earn more.
    """
    starts = training_starts(data, sessions)
    repeats = -(-sessions // len(starts.user))
    starts = types.rows(starts, np.repeat(np.arange(len(starts.user)), repeats))
    exit_cost = tf.Variable(0.0)  # one graph for all costs
    world = environment.world
    runner = player.Player(environment, policies_lib.greedy(world, reward, exit_cost))
    mean_reward = {}
    for cost in _EXIT_COSTS:
        exit_cost.assign(cost)
        episodes = runner.play(starts, seed)
        mean_reward[cost] = float((episodes.feedback.sum(axis=1) @ reward).mean())
    return policies_lib.greedy(world, reward, max(mean_reward, key=mean_reward.__getitem__))
