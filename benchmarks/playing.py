"""Plays users of a catalogue in whole sessions and step by step, at random.

    python -m benchmarks.playing --sessions=4096 --repeats=5

The same users, those of the embedded log, in two ways:

rollout       `session.rollout`: whole sessions as sequences of item ids, for methods that learn
              in rounds; users who have left are dropped
environment   `playing.play` of a `users.UserEnvironment`: stepped side by side with an
              observation of fixed width at each step, new sessions in the place of those that
              ended, for methods that learn step by step

Printed: sessions per second by the median round, and the first over the second.
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
        data, people = tfrec.embedded(pathlib.Path(folder) / "data", num_users=500)
        environment = log_users.LogUsers(people, item_width=16)
        log = session.starts_of(data.episodes("train"))
    drawn = np.random.default_rng(0).integers(0, len(log.user), sessions)
    starts = type(log)(*(part[drawn] for part in log))
    items = data.spec.num_candidates

    def at_random(timestep: session.SessionTimestep) -> tf.Tensor:
        users = tf.shape(timestep.observation.step)[0]
        return session.drawn(users, items, timestep.blocked, timestep.seed)

    whole = player.Player(people.world, at_random)
    policy = contract.random_policy(environment)
    stepped = tf.function(
        lambda seed: playing.play(environment, policy, sessions, seed, at_once=player.AT_ONCE),
        autograph=False,
    )
    seed = tf.constant([0, 0])
    lengths = {
        "rollout": float(whole.play(starts, 0).length.mean()),
        "environment": float(tf.reduce_mean(tf.cast(stepped(seed).steps, tf.float32))),
    }
    print({name: f"{length:.2f} steps a session" for name, length in lengths.items()})
    took = timing.alternate(
        {"rollout": lambda: whole.play(starts, 0), "environment": lambda: stepped(seed)},
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
