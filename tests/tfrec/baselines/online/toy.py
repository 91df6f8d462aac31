"""A world so small that every method must find its best action in seconds, and a loop.

A user is one of TYPES, told by the observation, and stays for 3 steps. Where items are
recommended, the user clicks the one of the own type; where the action is continuous, the
reward is 1 less the squared distance to the type's point.
"""

import numpy as np
import tensorflow as tf

from tfrec.environments import contract, playing
from tfrec.methods.online import Rollout

TYPES, STEPS = 4, 3
POINTS = tf.constant([[0.6, 0.6], [0.6, -0.6], [-0.6, 0.6], [-0.6, -0.6]])


class Toy(contract.Simulator):
    """The world.

    Args:
      kind: `catalogue`: the items are always the TYPES ones; `changing`: 5 items of random
        types at each step; `continuous`.
      slate: items in a recommendation.
    """

    def __init__(self, kind="catalogue", slate=1):
        self.kind = kind
        self.observation_size = TYPES
        self.slate_size = 0 if kind == "continuous" else slate
        self.action_size = 2 if kind == "continuous" else TYPES
        self.catalogue = tf.eye(TYPES) if kind == "catalogue" else None
        # The observation is the user's type, and a feature is an item's.
        self.feature_columns = None if kind == "continuous" else np.arange(TYPES)[None]

    def reset(self, batch, seed):
        seeds = tf.random.experimental.stateless_split(seed, 2)
        user = tf.random.stateless_uniform([batch], seeds[0], 0, TYPES, tf.int32)
        return user, tf.zeros([batch], tf.int32), self._offered(batch, seeds[1])

    def _offered(self, batch, seed):
        if self.kind == "changing":
            return tf.random.stateless_uniform([batch, 5], seed, 0, TYPES, tf.int32)
        return tf.broadcast_to(tf.range(TYPES), [batch, TYPES])

    def observation(self, state):
        return tf.one_hot(state[0], TYPES)

    def candidates(self, state):
        return None if self.kind == "continuous" else tf.one_hot(state[2], TYPES)

    def step(self, state, action, seed):
        user, page, offered = state
        if self.kind == "continuous":
            wrong = tf.math.squared_difference(action, tf.gather(POINTS, user))
            reward = 1.0 - tf.reduce_sum(wrong, axis=1)
        else:
            shown = tf.gather(offered, action, batch_dims=1)  # [B, k]
            reward = tf.cast(tf.reduce_any(shown == user[:, None], axis=1), tf.float32)
        after = user, page + 1, self._offered(tf.shape(user)[0], seed)
        done = page + 1 >= STEPS
        return contract.Outcome(after, reward, reward, tf.ones_like(reward), done)


def played(simulator, method, seed, sessions=32, steps=6):
    """A rollout by `explore`, from new sessions on. Graph code or eager."""
    seeds = tf.random.experimental.stateless_split(seed, 1 + 3 * steps)
    state = simulator.reset(sessions, seeds[0])
    user = tf.range(sessions)
    columns = []
    for t in range(steps):
        of_turn, of_step, of_next = tf.unstack(seeds[1 + 3 * t : 4 + 3 * t])
        timestep = contract.timestep_of(simulator, state, of_turn, user)
        choice = method.explore(timestep)
        outcome = simulator.step(state, choice.action, of_step)
        after = contract.timestep_of(simulator, outcome.state, of_turn)
        fixed = simulator.catalogue is not None or timestep.candidates is None
        done = outcome.done[:, None]
        columns.append(
            Rollout(
                timestep.observation,
                None if fixed else timestep.candidates,
                choice.action,
                choice.info,
                outcome.reward,
                outcome.clicks,
                tf.where(done, timestep.observation, after.observation),
                None
                if fixed
                else tf.where(done[..., None], timestep.candidates, after.candidates),
                outcome.done,
                user,
            )
        )
        state = contract.restarted(simulator, outcome.state, outcome.done, of_next)
        user = tf.where(outcome.done, user + sessions, user)
    return Rollout(
        *(None if each[0] is None else tf.stack(each) for each in zip(*columns, strict=True))
    )


def trained(simulator, method, rounds, updates=4, seed=0):
    """Plays and learns in one graph."""

    @tf.function
    def one(progress, seed):
        method.observe(played(simulator, method, seed), progress)
        return method.learn(tf.constant(updates))[:2]

    for number in range(rounds):
        report, bad = one(tf.constant(number / rounds), tf.constant([seed, number]))
        assert int(bad) == -1, method.checked[int(bad)]
    return {name: float(value) for name, value in report.items()}


def earned(simulator, policy, seed=9):
    """Reward a step of 500 sessions."""
    run = tf.function(lambda s: playing.play(simulator, policy, 500, s))
    total = run(tf.constant([seed, seed]))
    return float(np.mean(total.reward)) / STEPS


def best(simulator):
    """What a policy that knows the user earns a step."""
    if simulator.kind == "changing":  # one of the 5 is of the type
        return 1.0 - (1.0 - 1.0 / TYPES) ** 5
    return 1.0
