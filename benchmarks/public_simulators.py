"""Steps thousands of sessions of a public simulator at once, beside its original.

    python -m benchmarks.public_simulators --simulator=recsim

recsim    interest evolution, 10 candidates, slates of 2; ours compiled by XLA
recogym   v1, 100 products, 50 flips

Both sides take random actions at the lowest cost, and start a new session when one ends. Only
steps with feedback count: for RecoGym, recommendations. The original is installed by
`pip install --no-deps -r requirements-simulators.txt`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import command_line, timing
from tfrec.environments import contract
from tfrec.environments.ports import originals, recogym, recsim


def ours(
    simulator: contract.Simulator, sessions: int, steps: int, compiled: bool
) -> Callable[[], object]:
    """Makes the work of a repetition: `steps` steps of all sessions, replaced when they end."""
    # Positions may repeat, as in the originals: distinct ones would cost a sort.
    candidates = simulator.candidates(simulator.reset(1, tf.constant([0, 0])))
    assert candidates is not None, "a benchmark of slates"
    choices = candidates.shape[1]
    shape = [sessions, simulator.slate_size]

    @tf.function(jit_compile=compiled)
    def play(state: contract.State, seed: tf.Tensor) -> tuple[contract.State, tf.Tensor]:
        def advance(t, state, clicks):
            seeds = tf.unstack(
                tf.random.experimental.stateless_split(
                    tf.random.experimental.stateless_fold_in(seed, t), 3
                )
            )
            action = tf.random.stateless_uniform(shape, seeds[0], 0, choices, tf.int32)
            outcome = simulator.step(state, action, seeds[1])
            state = contract.restarted(simulator, outcome.state, outcome.done, seeds[2])
            return t + 1, state, clicks + tf.reduce_sum(outcome.clicks)

        loop = (tf.constant(0), state, tf.constant(0.0))
        return tf.while_loop(lambda t, *_: t < steps, advance, loop)[1:]

    begin = tf.function(lambda seed: simulator.reset(sessions, seed))
    states = [begin(tf.constant([0, 0]))]

    def work() -> object:
        states[0], clicks = play(states[0], tf.constant([1, len(states)]))
        return clicks.numpy()

    return work


def recsim_original(simulator: recsim.InterestEvolution, steps: int) -> Callable[[], object]:
    """Makes the work of a repetition: `steps` steps of one original environment."""
    module = originals.recsim_module("interest_evolution")
    config = simulator.config
    settings = {
        "num_candidates": config.candidates,
        "slate_size": config.slate,
        "resample_documents": True,
        "seed": 0,
    }
    env = module.create_environment(settings)
    slates = np.random.default_rng(0).integers(config.candidates, size=[steps, config.slate])
    env.reset()

    def work() -> None:
        for slate in slates:
            if env.step(slate)[2]:
                env.reset()

    return work


def recogym_original(simulator: recogym.RecoGymV1, steps: int) -> Callable[[], object]:
    """Makes the work of a repetition: `steps` recommendations of one original environment."""
    config = simulator.config
    env = originals.recogym_module().RecoEnv1()
    env.init_gym(originals.recogym_settings(config, config.seed))
    products = np.random.default_rng(0).integers(config.products, size=steps)

    def begin() -> None:
        env.reset(0)
        while env.step(None)[2]:
            env.reset(0)

    def work() -> None:
        for product in products:
            if env.step(int(product))[2]:
                begin()

    begin()
    return work


def ways(name: str, sessions: int, steps: int, original_steps: int) -> dict[str, Any]:
    """The timed work: implementation -> one repetition.

    Raises:
      UserError: if the original is not installed.
    """
    if name == "recsim":
        evolution = recsim.InterestEvolution()
        return {
            "ours": ours(evolution, sessions, steps, compiled=True),
            "original": recsim_original(evolution, original_steps),
        }
    gym = recogym.RecoGymV1()
    return {
        "ours": ours(gym, sessions, steps, compiled=False),
        "original": recogym_original(gym, original_steps),
    }


def main() -> None:
    """Measures both in turn and prints a table."""
    parser = command_line.parser(__doc__)
    parser.add_argument("--simulator", choices=("recsim", "recogym"), required=True)
    parser.add_argument(
        "--sessions",
        type=command_line.at_least(1),
        default=4096,
        help="sessions that ours steps at once",
    )
    parser.add_argument(
        "--steps",
        type=command_line.at_least(1),
        default=20,
        help="steps of all sessions in a repetition",
    )
    parser.add_argument(
        "--original_steps",
        type=command_line.at_least(1),
        default=500,
        help="steps of the original in a repetition",
    )
    parser.add_argument(
        "--repeats",
        type=command_line.at_least(1),
        default=5,
        help="counted repetitions of each",
    )
    args = parser.parse_args()
    timing.one_thread()
    took = timing.alternate(
        ways(args.simulator, args.sessions, args.steps, args.original_steps), args.repeats
    )
    counts = {"ours": args.sessions * args.steps, "original": args.original_steps}
    timing.show(took, "ours", "steps", counts)


if __name__ == "__main__":
    main()
