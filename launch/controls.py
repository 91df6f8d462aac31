"""Which controls stand beside the methods, and where do the judged users start?"""

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from launch import worlds
from tfrec import types
from tfrec.baselines import controls
from tfrec.data import storage
from tfrec.environments import embedded, player, session
from tfrec.errors import UserError

NAMES = ("random", "popularity", "myopic", "exit_averse", "optimum")
_EXIT_COSTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_COST_SESSIONS = 2000  # of training users, that each cost is judged by


def names(exact: bool) -> tuple[str, ...]:
    """The controls of a world: with its proven optimum if that is known exactly."""
    return tuple(name for name in NAMES if name != ("exit_averse" if exact else "optimum"))


def note(policies: Collection[str]) -> str:
    """What the last control of a table is, in words."""
    if "optimum" in policies:
        return "Optimum: value iteration on the true state; no policy earns more on average."
    return (
        "Exit-averse: greedy on the world's own click probability minus a cost of leaving. It "
        "is privileged and no bound: other policies may earn more."
    )


def starts(data: storage.PreparedData, split: str, users: int, repeats: int) -> types.Starts:
    """The last session of each of a split's first users, several times over; arrays.

    Raises:
      UserError: if the split has no session.
    """
    if not data.num_sessions(split):
        raise UserError(
            f"{data.directory}: no {split} session is left; prepare it with more users, more "
            "items, or a lower min_steps"
        )
    episodes = worlds.last_sessions(data.episodes(split))
    found = session.starts_of(types.Episodes(*(part[:users] for part in episodes)))
    return types.Starts(*(np.repeat(part, repeats, axis=0) for part in found))


def policies(
    data: storage.PreparedData, world: session.World, seed: int
) -> dict[str, session.Policy]:
    """The controls of a world, for the reward; the keys are `names`.

    Random and popularity are honest. The others read the world's own probabilities.
    """
    reward = np.eye(len(data.spec.feedback))[0]
    candidates = world.spec.num_candidates
    found = {
        "random": controls.random(candidates),
        "popularity": controls.popularity(data.episodes("train"), candidates),
        "myopic": controls.greedy(world, reward),
    }
    exact = _solvable(world)
    if exact is not None:
        found["optimum"] = embedded.optimal_policy(embedded.solve(exact, reward))
    else:
        found["exit_averse"] = _exit_averse(data, world, reward, seed)
    return found


def optima(world: session.World, spec: types.DataSpec) -> dict[str, session.Policy]:
    """The policy that earns most of each feedback column; {} where none is proven.

    Args:
      world: the environment.
      spec: names of the feedback columns.
    """
    exact = _solvable(world)
    if exact is None:
        return {}
    weights = np.eye(len(spec.feedback))
    return {
        name: embedded.optimal_policy(embedded.solve(exact, weight))
        for name, weight in zip(spec.feedback_names, weights, strict=True)
    }


def is_solvable(world: session.World) -> bool:
    """Whether the optimum of a world is known."""
    return _solvable(world) is not None


def _solvable(world: session.World) -> embedded.EmbeddedWorld | None:
    """The world itself if value iteration solves it, else None."""
    if isinstance(world, embedded.EmbeddedWorld) and not world.spec.candidates:
        return world
    return None


def _exit_averse(
    data: storage.PreparedData, world: session.World, reward: np.ndarray, seed: int
) -> session.Policy:
    """Greedy on click probability minus a cost of leaving: the best of some costs.

    It is no bound: it looks one step ahead, and other policies may earn more.
    """
    # Chosen on training users, so that the choice does not see the test users.
    found = starts(data, "train", _COST_SESSIONS, 1)
    repeats = -(-_COST_SESSIONS // len(found.user))
    from_training = types.Starts(*(np.repeat(part, repeats, axis=0) for part in found))
    exit_cost = tf.Variable(0.0)  # one graph for all costs
    runner = player.Player(world, controls.greedy(world, reward, exit_cost))
    worth = {}
    for cost in _EXIT_COSTS:
        exit_cost.assign(cost)
        episodes = runner.play(from_training, seed)
        worth[cost] = float((episodes.feedback.sum(axis=1) @ reward).mean())
    return controls.greedy(world, reward, max(worth, key=worth.__getitem__))
