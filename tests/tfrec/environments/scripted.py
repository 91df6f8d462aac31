"""A world that follows a script, and a policy that is a hash of what it sees."""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, playing, user_models, users


class ScriptedWorld:
    """User u leaves after step u; a step's feedback is (parity of the item, step + item / 10).

    Its state counts the steps of each user.
    """

    def __init__(self, spec, repeats):
        self.spec, self.repeats = spec, repeats

    def reset(self, starts):
        return {"user": starts.user, "taken": tf.zeros_like(starts.user)}

    def responses(self, state, candidates):
        batch = tf.shape(state["user"])[0]
        click = tf.cast(candidates % 2, tf.float32)
        feedback = tf.stack([click, tf.cast(candidates, tf.float32)], axis=-1)  # [A, F]
        return user_models.Responses(
            tf.repeat(feedback[None], batch, axis=0), tf.zeros([batch, tf.size(candidates)])
        )

    def step(self, state, item, seed, distort=None):
        taken = state["taken"] + 1
        amount = tf.cast(taken, tf.float32) + tf.cast(item, tf.float32) / 10
        feedback = tf.stack([tf.cast(item % 2, tf.float32), amount], axis=-1)
        return {"user": state["user"], "taken": taken}, feedback, taken >= state["user"]


class RestlessWorld:
    """A user leaves after each step with one chance in ten, and clicks with one in three."""

    repeats = False

    def __init__(self, spec):
        self.spec = spec

    def reset(self, starts):
        return (starts.user,)

    def responses(self, state, candidates):
        raise NotImplementedError

    def step(self, state, item, seed, distort=None):
        seeds = tf.random.experimental.stateless_split(seed, 2)
        shape = tf.shape(item)
        click = tf.cast(tf.random.stateless_uniform(shape, seeds[0]) < 1 / 3, tf.float32)
        left = tf.random.stateless_uniform(shape, seeds[1]) < 0.1
        return state, tf.stack([click, tf.cast(state[0], tf.float32)], axis=1), left


def starts(batch, spec=None, seed=0):
    """Users 1, 2, .. 7, 1, ..; histories of different lengths."""
    random = np.random.default_rng(seed)
    known = random.integers(0, 5, (batch, 1))
    real = np.arange(4) >= 4 - known  # [B, 4]
    feedback = random.integers(0, 2, (batch, 4, 2)) * real[..., None]
    return types.Starts(
        tf.constant(np.arange(batch) % 7 + 1, tf.int32),
        tf.constant(random.integers(1, 7, (batch, 4)) * real, tf.int32),
        tf.constant(feedback, tf.float32),
    )


def by_observation(spec):
    """An item that depends on every number of the observation."""

    def policy(timestep):
        item, feedback, step, _ = timestep.history
        weights = tf.constant([7, 11, 13, 17])
        seen = tf.reduce_sum(item * weights, axis=1) + 5 * step
        amounts = tf.cast(tf.round(10 * tf.reduce_sum(feedback, axis=-1)), tf.int32)
        position = (seen + tf.reduce_sum(amounts * weights[::-1], axis=1)) % spec.num_items
        return position[:, None]

    return policy


def random_log(world, sessions):
    """Sessions of the random control, arrays."""
    environment = users.UserEnvironment(world)
    policy, seed = contract.random_policy(environment), tf.constant([1, 2])
    played = playing.rollout(environment, policy, starts(sessions), seed)
    return types.rows(played, slice(None))
