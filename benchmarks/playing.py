"""Simulates random sessions of a catalogue's users, as whole sessions and step by step.

    python -m benchmarks.playing --sessions=4096 --repeats=5

The users of the embedded log are simulated in two ways:

rollout       `session.rollout`: whole sessions as sequences of item ids, for methods that learn
              in iterations; users who have left are dropped
environment   `playing.play` of a `users.UserEnvironment`: stepped in parallel with an
              observation of fixed width at each step; new sessions replace those that
              ended; for methods that learn step by step

Printed: sessions per second by the median repetition, and the ratio of the first to the second.
"""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf

import tfrec
from benchmarks import command_line, timing
from tfrec.environments import contract, log_users, player, playing, session


def main(sessions: int, repeats: int) -> None:
    """Measures both in turn and prints a table."""
    with tempfile.TemporaryDirectory() as folder:
        data, simulated_users = tfrec.embedded(pathlib.Path(folder) / "data", num_users=500)
        environment = log_users.LogUsers(simulated_users, item_width=16)
        log = session.starts_of(data.episodes("train"))
    sampled = np.random.default_rng(0).integers(0, len(log.user), sessions)
    starts = type(log)(*(part[sampled] for part in log))
    items = data.spec.num_candidates

    def at_random(timestep: session.SessionTimestep) -> tf.Tensor:
        users = tf.shape(timestep.observation.step)[0]
        return session.drawn(users, items, timestep.blocked, timestep.seed)

    rollout_player = player.Player(simulated_users.world, at_random)
    policy = contract.random_policy(environment)
    play_steps = tf.function(
        lambda seed: playing.play(environment, policy, sessions, seed, at_once=player.AT_ONCE),
        autograph=False,
    )
    seed = tf.constant([0, 0])
    lengths = {
        "rollout": float(rollout_player.play(starts, 0).length.mean()),
        "environment": float(tf.reduce_mean(tf.cast(play_steps(seed).steps, tf.float32))),
    }
    print({name: f"{length:.2f} steps a session" for name, length in lengths.items()})
    took = timing.alternate(
        {
            "rollout": lambda: rollout_player.play(starts, 0),
            "environment": lambda: play_steps(seed),
        },
        repeats,
    )
    timing.show(took, "rollout", "sessions", dict.fromkeys(took, sessions))


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument("--sessions", type=command_line.at_least(1), default=4096)
    parser.add_argument("--repeats", type=command_line.at_least(1), default=5)
    arguments = parser.parse_args()
    timing.one_thread()
    main(**vars(arguments))
