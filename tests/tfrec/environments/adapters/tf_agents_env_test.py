"""A world under TF-Agents: its own checks, whose turn it is, and the same answers."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.drivers import dynamic_step_driver
from tf_agents.environments import tf_environment
from tf_agents.metrics import tf_metrics
from tf_agents.policies import random_tf_policy
from tf_agents.specs import tensor_spec
from tf_agents.utils import nest_utils

from tfrec import types
from tfrec.environments.adapters import tf_agents_env

SPEC = types.DataSpec(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("seconds", "amount", "seconds"),
    ),
    num_items=6,
    num_users=4,
    history_length=3,
    max_steps=4,
)


class Clockwork:
    """Clicks even items for 10 seconds; leaves after item 6. The state counts steps."""

    spec = SPEC

    def __init__(self, repeats=True):
        self.repeats = repeats

    def reset(self, starts):
        return {"user": starts.user, "steps": tf.zeros_like(starts.user)}

    def responses(self, state, candidates):
        raise NotImplementedError

    def step(self, state, item, seed):
        click = tf.cast(item % 2 == 0, tf.float32)
        feedback = tf.stack([click, 10.0 * click], axis=-1)
        return {"user": state["user"], "steps": state["steps"] + 1}, feedback, item == 6


STARTS = types.Starts(
    user=np.array([1, 2, 3, 4], np.int32),
    history_item=np.array([[0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4]], np.int32),
    history_feedback=np.zeros((4, 3, 2), np.float32),
)


def make(**kwargs):
    arguments = {"world": Clockwork(), "starts": STARTS, "batch_size": 3, "seed": 0}
    return tf_agents_env.WorldEnvironment(**{**arguments, **kwargs})


def test_a_session_step_by_step():
    env = make()
    now = env.current_time_step()
    assert now.is_first().numpy().all() and not now.reward.numpy().any()
    assert (now.observation["history_item"].numpy()[:, -1] > 0).all()
    before = now.observation["history_item"].numpy()[:, -1]

    now = env.step(tf.constant([1, 0, 5]))  # items 2, 1 and 6: click, none, click and gone
    np.testing.assert_array_equal(now.step_type, [1, 1, 2])
    np.testing.assert_array_equal(now.reward, [1, 0, 1])
    np.testing.assert_array_equal(now.discount, [1, 1, 0])
    np.testing.assert_array_equal(
        now.observation["history_item"],
        [[0, before[0], 2], [0, before[1], 1], [0, before[2], 6]],
    )
    np.testing.assert_array_equal(now.observation["history_feedback"][:, -1, 1], [10, 0, 10])
    np.testing.assert_array_equal(now.observation["step"], [1, 1, 1])

    now = env.step(tf.constant([0, 0, 1]))  # row 2 ignores its action and starts again
    np.testing.assert_array_equal(now.step_type, [1, 1, 0])
    np.testing.assert_array_equal(now.reward, [0, 0, 0])
    np.testing.assert_array_equal(now.discount, [1, 1, 1])
    np.testing.assert_array_equal(now.observation["step"], [2, 2, 0])
    assert now.observation["history_item"].numpy()[2, -1] in (1, 2, 3, 4)
    np.testing.assert_array_equal(env._state.world["steps"], [2, 2, 0])


def test_the_cap_ends_a_session_without_an_exit():
    env = make()
    for _ in range(4):
        now = env.step(tf.constant([0, 0, 0]))
    np.testing.assert_array_equal(now.step_type, [2, 2, 2])
    np.testing.assert_array_equal(now.discount, [1, 1, 1])
    assert env.step(tf.constant([0, 0, 0])).is_first().numpy().all()


def test_reset_starts_everyone_again():
    env = make()
    env.step(tf.constant([1, 1, 1]))
    now = env.reset()
    assert now.is_first().numpy().all() and not now.observation["step"].numpy().any()


def test_reward_weights():
    env = make(reward=np.array([0.0, 0.5]))
    np.testing.assert_array_equal(env.step(tf.constant([1, 0, 3])).reward, [5, 0, 5])
    with pytest.raises(ValueError, match=r"reward has shape \(3,\); expected \(2,\)"):
        make(reward=np.ones(3))


def test_shown_items_are_not_allowed_again():
    env = make(world=Clockwork(repeats=False))
    env.step(tf.constant([0, 1, 2]))
    now = env.step(tf.constant([3, 3, 3]))
    np.testing.assert_array_equal(
        now.observation["allowed"].numpy().astype(int),
        [[0, 1, 1, 0, 1, 1], [1, 0, 1, 0, 1, 1], [1, 1, 0, 0, 1, 1]],
    )
    assert env.reset().observation["allowed"].numpy().all()


def test_time_steps_fit_their_specs():
    for repeats in (True, False):
        env = make(world=Clockwork(repeats), batch_size=5)
        assert isinstance(env, tf_environment.TFEnvironment)
        action = tensor_spec.sample_bounded_spec(env.action_spec(), outer_dims=[5])
        for now in (env.reset(), env.step(action)):
            assert nest_utils.is_batched_nested_tensors(now, env.time_step_spec())


def test_a_driver_runs_thousands_of_users():
    env = make(batch_size=4000)
    policy = random_tf_policy.RandomTFPolicy(env.time_step_spec(), env.action_spec())
    length = tf_metrics.AverageEpisodeLengthMetric(batch_size=4000, buffer_size=20000)
    clicks = tf_metrics.AverageReturnMetric(batch_size=4000, buffer_size=20000)
    driver = dynamic_step_driver.DynamicStepDriver(
        env, policy, observers=[length, clicks], num_steps=4000 * 40
    )
    driver.run()
    # Leaves with probability 1/6 a step, cut at 4: 1 + 5/6 + (5/6)^2 + (5/6)^3 steps.
    steps = sum((5 / 6) ** k for k in range(4))
    assert length.result().numpy() == pytest.approx(steps, rel=0.02)
    assert clicks.result().numpy() == pytest.approx(steps / 2, rel=0.03)


def test_same_seed_same_sessions():
    def play(seed):
        env = make(seed=seed, batch_size=64)
        return env.step(tf.zeros([64], tf.int32)).observation["history_item"].numpy()

    np.testing.assert_array_equal(play(1), play(1))
    assert (play(1) != play(2)).any()
