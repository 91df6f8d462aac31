"""Speed of a simulator in Gymnasium's interface, and of Gymnasium's environments in ours.

    python -m benchmarks.gymnasium_adapter --sessions=64,1024

First table: RecSim's interest evolution natively, with all steps of a repetition in one call,
and as a `SimulatorVectorEnv`, with one call a step. Second table: an environment without
computation, as a `GymnasiumSimulator`, in Gymnasium's `SyncVectorEnv`, and in a plain loop over
one environment. All actions are random, and new sessions replace those that end. Needs the
optional package gymnasium.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import command_line, public_simulators, timing
from tfrec.environments.adapters import gymnasium_simulator, gymnasium_vector_env
from tfrec.environments.adapters.gymnasium_package import gymnasium
from tfrec.environments.ports import recsim

_LENGTH = 100  # steps of a session


class Nothing(gymnasium.Env):
    """An environment without computation: four actions, four observed numbers, 100 steps."""

    action_space = gymnasium.spaces.Discrete(4)
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, [4])

    def __init__(self):
        self._observation = np.zeros([4], np.float32)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts a session."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observation, {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes one step."""
        self._steps += 1
        return self._observation, 1.0, self._steps >= _LENGTH, False, {}


_ID = "tfrec-benchmark/Nothing-v0"
gymnasium.register(_ID, entry_point=lambda **_: Nothing())


def vector(envs: Any, steps: int) -> Callable[[], object]:
    """Makes the work of a repetition: `steps` steps of each part of a vector environment."""
    high = envs.single_action_space
    high = high.nvec if isinstance(high, gymnasium.spaces.MultiDiscrete) else high.n
    actions = np.random.default_rng(0).integers(high, size=[steps, *envs.action_space.shape])
    envs.reset(seed=0)

    def work() -> None:
        for action in actions:
            envs.step(action)

    return work


def loop(env: Any, steps: int) -> Callable[[], object]:
    """Makes the work of a repetition: `steps` steps of one environment."""
    actions = np.random.default_rng(0).integers(env.action_space.n, size=steps).tolist()
    env.reset(seed=0)

    def work() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return work


def main(sessions: int, steps: int, repeats: int) -> None:
    """Prints both tables.

    Args:
      sessions: number of parallel sessions.
      steps: steps of each session in a repetition.
      repeats: counted repetitions of each variant.
    """
    count = sessions * steps
    evolution = recsim.InterestEvolution()
    envs = gymnasium_vector_env.SimulatorVectorEnv(evolution, sessions)
    tables: dict[str, dict[str, Callable[[], object]]] = {
        "vector_env": {
            "native": public_simulators.ours(evolution, sessions, steps, compiled=False),
            "vector_env": vector(envs, steps),
        },
        "simulator": {
            "simulator": public_simulators.ours(
                gymnasium_simulator.GymnasiumSimulator(_ID), sessions, steps, compiled=False
            ),
            "SyncVectorEnv": vector(gymnasium.make_vec(_ID, sessions, "sync"), steps),
            "plain loop": loop(gymnasium.make(_ID), count),
        },
    }
    for ours, ways in tables.items():
        print(f"{sessions} sessions")
        took = timing.alternate(ways, repeats)
        timing.show(took, ours, "steps", dict.fromkeys(ways, count))


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument(
        "--sessions",
        type=command_line.separated(command_line.at_least(1)),
        default=(64, 1024),
        help="parallel sessions; one table for each number",
    )
    parser.add_argument(
        "--steps",
        type=command_line.at_least(1),
        default=100,
        help="steps of each session in a repetition",
    )
    parser.add_argument(
        "--repeats",
        type=command_line.at_least(1),
        default=5,
        help="counted repetitions of each variant",
    )
    args = parser.parse_args()
    timing.one_thread()
    for number in args.sessions:
        main(number, args.steps, args.repeats)
