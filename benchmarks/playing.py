"""Simulates random sessions of a catalogue's users, with and without recording them.

    python -m benchmarks.playing --sessions=4096 --repeats=5

The users of the embedded log are simulated in three ways:

recorded      `playing.rollout`: sessions as sequences of item ids, for methods that learn in
              rounds; users who have left are dropped
totals        `playing.play` under the same policy: totals alone; new sessions replace those
              that ended
observed      `playing.play` under a policy that reads the observation of fixed width, as
              methods that learn step by step do

Printed: sessions per second by the median repetition, and the ratio of the first to the others.
"""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf

import tfrec
from benchmarks import command_line, timing
from tfrec import types
from tfrec.environments import contract, log_users, player, playing, user_models
from tfrec.ops import selection


def main(sessions: int, repeats: int) -> None:
    """Measures them in turn and prints a table."""
    with tempfile.TemporaryDirectory() as folder:
        data, simulated_users = tfrec.embedded(pathlib.Path(folder) / "data", num_users=500)
        environment = log_users.LogUsers(simulated_users, item_width=16)
        log = user_models.starts_of(data.episodes("train"))
    sampled = np.random.default_rng(0).integers(0, len(log.user), sessions)
    starts = types.rows(log, sampled)

    def at_random(timestep: contract.Timestep) -> tf.Tensor:
        rows, items = tf.shape(timestep.observation)[0], environment.spec.num_candidates
        item = selection.random_item(rows, items, timestep.blocked, timestep.seed)
        return contract.action_of(item)

    def observing(timestep: contract.Timestep) -> tf.Tensor:
        """Moves the random item by a sum over the observation, which must be computed."""
        read = tf.reduce_sum(timestep.observation, axis=1, keepdims=True)
        moved = at_random(timestep) + tf.cast(read, tf.int32)
        return tf.math.floormod(moved, environment.spec.num_candidates)

    def totals(policy: contract.Policy) -> tf.types.experimental.GenericFunction:
        return tf.function(
            lambda seed: playing.play(
                environment, policy, sessions, seed, at_once=player.AT_ONCE
            ),
            autograph=False,
        )

    recorded, seed = player.Player(simulated_users.environment, at_random), tf.constant([0, 0])
    plain, observed = totals(at_random), totals(observing)
    ways = {
        "recorded": lambda: recorded.play(starts, 0).length,
        "totals": lambda: plain(seed).steps.numpy(),
        "observed": lambda: observed(seed).steps.numpy(),
    }
    lengths = {name: float(way().mean()) for name, way in ways.items()}
    print({name: f"{length:.2f} steps a session" for name, length in lengths.items()})
    took = timing.alternate(ways, repeats)
    timing.show(took, "recorded", "sessions", dict.fromkeys(took, sessions))


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument("--sessions", type=command_line.at_least(1), default=4096)
    parser.add_argument("--repeats", type=command_line.at_least(1), default=5)
    arguments = parser.parse_args()
    timing.one_thread()
    main(**vars(arguments))
