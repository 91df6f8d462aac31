"""A batched simulator under TF-Agents: whose turn it is, and nothing of one user in another."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.drivers import dynamic_step_driver
from tf_agents.metrics import tf_metrics
from tf_agents.policies import random_tf_policy
from tf_agents.specs import tensor_spec
from tf_agents.utils import nest_utils

from tfrec.environments import contract
from tfrec.environments.adapters import batched_env

UNDEFINED = -1e9  # what the state holds after a session is done


class State(NamedTuple):
    number: tf.Tensor  # of the session, counted from 1 over all rows
    steps: tf.Tensor
    gone: tf.Tensor
    nothing: tf.Tensor  # [B, 0], as where a simulator's users differ in nothing


class Numbered:
    """Sessions numbered as they are drawn; session n takes n steps, then all is undefined.

    A step's reward is the sum of its action. Stepping a session that is done fails.
    """

    observation_size = 2
    slate_size = 0
    action_size = 3

    def __init__(self):
        self.drawn = tf.Variable(0)

    def reset(self, batch, seed):
        last = self.drawn.assign_add(batch)
        number = last - batch + 1 + tf.range(batch)
        nothing = tf.zeros([batch, 0])
        return State(number, tf.zeros_like(number), tf.zeros_like(number, tf.bool), nothing)

    def observation(self, state):
        seen = tf.cast(tf.stack([state.number, state.steps], axis=1), tf.float32)
        return tf.where(state.gone[:, None], UNDEFINED, seen)

    def candidates(self, state):
        return None

    def step(self, state, action, seed):
        tf.debugging.assert_none_equal(state.gone, True)
        steps = state.steps + 1
        done = steps >= state.number
        return contract.Outcome(
            state=State(state.number, steps, done, state.nothing),
            reward=tf.reduce_sum(tf.cast(action, tf.float32), axis=1),
            clicks=tf.zeros_like(done, tf.float32),
            shown=tf.ones_like(done, tf.float32),
            done=done,
        )


class Slates(Numbered):
    """Chooses 2 of 4 items whose features are the session and the item's position."""

    slate_size = 2
    action_size = 2

    def candidates(self, state):
        item = tf.broadcast_to(tf.range(4.0), [tf.shape(state.number)[0], 4])
        number = tf.broadcast_to(tf.cast(state.number, tf.float32)[:, None], item.shape)
        return tf.stack([number, item], axis=-1)


class Coin:
    """Sessions of a drawn length, 1 to 4, with a drawn reward."""

    observation_size = 1
    slate_size = 0
    action_size = 1

    def reset(self, batch, seed):
        return tf.random.stateless_uniform([batch], seed, 1, 5, tf.int32)

    def observation(self, state):
        return tf.cast(state, tf.float32)[:, None]

    def candidates(self, state):
        return None

    def step(self, state, action, seed):
        reward = tf.random.stateless_uniform(tf.shape(state), seed)
        ones = tf.ones_like(reward)
        return contract.Outcome(state - 1, reward, ones, ones, state <= 1)


def action(*rewards):
    return tf.constant([[float(r), 0.0, 0.0] for r in rewards])


def check(now, step_type, reward, discount, observation):
    np.testing.assert_array_equal(now.step_type, step_type)
    np.testing.assert_array_equal(now.reward, reward)
    np.testing.assert_array_equal(now.discount, discount)
    np.testing.assert_array_equal(now.observation, observation)


def test_sessions_of_one_and_two_steps():
    env = batched_env.BatchedTFEnvironment(Numbered(), batch=2, seed=0)
    check(env.current_time_step(), [0, 0], [0, 0], [1, 1], [[1, 0], [2, 0]])
    # Session 1 is done: its last step shows what its user saw before, never the undefined.
    check(env.step(action(0.5, 0.25)), [2, 1], [0.5, 0.25], [0, 1], [[1, 0], [2, 1]])
    # Its row starts session 3 and the action is lost; session 2 is done.
    check(env.step(action(0.5, 0.25)), [0, 2], [0, 0.25], [1, 0], [[3, 0], [2, 1]])
    check(env.step(action(0.5, 0.25)), [1, 0], [0.5, 0], [1, 1], [[3, 1], [4, 0]])
    check(env.step(action(-1, 1)), [1, 1], [-1, 1], [1, 1], [[3, 2], [4, 1]])
    check(env.step(action(-1, 1)), [2, 1], [-1, 1], [0, 1], [[3, 2], [4, 2]])


def test_nothing_undefined_is_ever_shown():
    env = batched_env.BatchedTFEnvironment(Numbered(), batch=3, seed=0)
    before, whose = env.current_time_step(), None
    for _ in range(30):
        whose = env.step(action(0, 0, 0))
        same = whose.observation[:, 0] == before.observation[:, 0]
        np.testing.assert_array_equal(same, ~whose.is_first())  # a user from FIRST to LAST
        assert (whose.observation.numpy() >= 0).all()
        np.testing.assert_array_equal(whose.is_first(), before.is_last())
        before = whose


def test_a_cut_keeps_its_value_and_its_observation():
    simulator = Numbered()
    simulator.drawn.assign(1)
    env = batched_env.BatchedTFEnvironment(simulator, batch=2, seed=0, max_steps=2)
    env.step(action(1, 1))
    # Session 2 is done at the cap: discount 0. Session 3 is cut there: discount 1.
    check(env.step(action(1, 1)), [2, 2], [1, 1], [0, 1], [[2, 1], [3, 2]])
    check(env.step(action(1, 1)), [0, 0], [0, 0], [1, 1], [[4, 0], [5, 0]])
    check(env.step(action(1, 1)), [1, 1], [1, 1], [1, 1], [[4, 1], [5, 1]])
    check(env.step(action(1, 1)), [2, 2], [1, 1], [1, 1], [[4, 2], [5, 2]])


def test_reset_starts_all_rows_again():
    env = batched_env.BatchedTFEnvironment(Numbered(), batch=2, seed=0)
    env.step(action(1, 1))
    check(env.reset(), [0, 0], [0, 0], [1, 1], [[3, 0], [4, 0]])
    check(env.current_time_step(), [0, 0], [0, 0], [1, 1], [[3, 0], [4, 0]])
    check(env.step(action(1, 1)), [1, 1], [1, 1], [1, 1], [[3, 1], [4, 1]])


def test_slates_show_candidates_and_take_their_positions():
    env = batched_env.BatchedTFEnvironment(Slates(), batch=2, seed=0)
    assert env.action_spec() == tensor_spec.BoundedTensorSpec([2], tf.int32, 0, 3)
    now = env.step(tf.constant([[0, 3], [1, 2]]))
    np.testing.assert_array_equal(now.reward, [3, 3])
    np.testing.assert_array_equal(now.observation["user"], [[1, 0], [2, 1]])
    np.testing.assert_array_equal(now.observation["candidates"][:, :, 0], [[1] * 4, [2] * 4])
    now = env.step(tf.constant([[0, 3], [1, 2]]))  # the candidates are the new session's
    np.testing.assert_array_equal(now.observation["candidates"][:, :, 0], [[3] * 4, [2] * 4])


@pytest.mark.parametrize("simulator", [Numbered, Slates, Coin])
def test_time_steps_fit_their_specs(simulator):
    env = batched_env.BatchedTFEnvironment(simulator(), batch=5, seed=0)
    act = tensor_spec.sample_bounded_spec(env.action_spec(), outer_dims=[5])
    for now in (env.reset(), env.step(act)):
        assert nest_utils.is_batched_nested_tensors(now, env.time_step_spec())


def test_a_continuous_action_is_within_one():
    env = batched_env.BatchedTFEnvironment(Numbered(), batch=1, seed=0)
    assert env.action_spec() == tensor_spec.BoundedTensorSpec([3], tf.float32, -1, 1)


def test_a_driver_plays_thousands_of_sessions():
    env = batched_env.BatchedTFEnvironment(Coin(), batch=2000, seed=0)
    policy = random_tf_policy.RandomTFPolicy(env.time_step_spec(), env.action_spec())
    length = tf_metrics.AverageEpisodeLengthMetric(batch_size=2000, buffer_size=20000)
    earned = tf_metrics.AverageReturnMetric(batch_size=2000, buffer_size=20000)
    dynamic_step_driver.DynamicStepDriver(
        env, policy, observers=[length, earned], num_steps=2000 * 30
    ).run()
    # Long sessions are cut by the end of the play, hence the slack.
    assert length.result().numpy() == pytest.approx(2.5, rel=0.04)
    assert earned.result().numpy() == pytest.approx(1.25, rel=0.05)


def test_same_seed_same_sessions_and_a_checkpoint_goes_on(tmp_path):
    def play(env, steps=6):
        now = [env.step(tf.zeros([16, 1])) for _ in range(steps)]
        return np.stack([step.reward for step in now] + [step.discount for step in now])

    one, two, other = (
        batched_env.BatchedTFEnvironment(Coin(), batch=16, seed=seed) for seed in (1, 1, 2)
    )
    played = play(one)
    np.testing.assert_array_equal(played, play(two))
    assert (played != play(other)).any()
    path = tf.train.Checkpoint(env=one.variables).write(str(tmp_path / "kept"))
    going = play(one)
    tf.train.Checkpoint(env=other.variables).read(path).assert_consumed()
    np.testing.assert_array_equal(going, play(other))
