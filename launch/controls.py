"""Which controls stand beside the methods, and where do the judged users start?"""

import numpy as np
import tensorflow as tf

from launch import worlds
from tfrec import types
from tfrec.baselines import controls
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.simulators import embedded, playing, session

NAMES = ("random", "popularity", "myopic", "oracle")
_EXIT_COSTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


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
    """Random, popularity, the best myopic policy and a long-term oracle for the reward."""
    reward = np.eye(len(data.spec.feedback))[0]
    candidates = world.spec.num_candidates
    return {
        "random": controls.random(candidates),
        "popularity": controls.popularity(data.episodes("train"), candidates),
        "myopic": controls.greedy(world, reward),
        "oracle": _oracle(data, world, reward, seed),
    }


def _oracle(
    data: storage.PreparedData, world: session.World, reward: np.ndarray, seed: int
) -> session.Policy:
    """The exact optimum where the truth is known, else the best of a privileged family."""
    if isinstance(world, embedded.EmbeddedWorld) and not world.spec.candidates:
        return embedded.oracle(embedded.solve(world, reward))
    # Chosen on training users, so that the choice does not see the test users.
    from_training = starts(data, "train", 500, 1)
    exit_cost = tf.Variable(0.0)  # one graph for all costs
    player = playing.Player(world, controls.greedy(world, reward, exit_cost))
    worth = {}
    for cost in _EXIT_COSTS:
        exit_cost.assign(cost)
        episodes = player.play(from_training, seed)
        worth[cost] = float((episodes.feedback.sum(axis=1) @ reward).mean())
    return controls.greedy(world, reward, max(worth, key=worth.__getitem__))


def oracle_kind(world: session.World) -> str:
    """What the oracle is in this world, in words."""
    exact = isinstance(world, embedded.EmbeddedWorld) and not world.spec.candidates
    return "exact optimum" if exact else "best privileged exit-averse policy (an estimate)"
