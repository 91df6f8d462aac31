"""Eqs 10-15 on numbers worked out by hand, and against the formulas of TF-Agents."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_agents.agents.sac import sac_agent
from tf_agents.networks import network
from tf_agents.policies import tf_policy
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step

from tfimrl import losses


def constant(*values):
    return tf.constant(values, tf.float32)


def test_q_target_and_loss():
    target = losses.q_target(constant(1, 2), constant(0.5, 0), constant(4, 100))
    np.testing.assert_allclose(target, [3, 2])  # 1 + .5 * 4; nothing follows the second
    # (2 - 3)^2 = 1 and (5 - 2)^2 = 9
    assert float(losses.q_loss(constant(2, 5), target)) == pytest.approx(5)
    weighted = losses.q_loss(constant(2, 5), target, weight=constant(1, 0))
    assert float(weighted) == pytest.approx(0.5)


def test_gain_is_g_where_both_weights_are_beta():
    log_inverse, log_policy = constant(-1, -2), constant(-3, 1)
    faithful = losses.gain(log_inverse, log_policy, 0.5, 0.5)
    np.testing.assert_allclose(faithful, [1, -1.5])  # .5 * (-1 + 3), .5 * (-2 - 1)
    fixed = losses.gain(log_inverse, log_policy, 0.5, 2.0)
    np.testing.assert_allclose(fixed, [5.5, -3])  # -.5 + 6, -1 - 2
    np.testing.assert_allclose(losses.gain(log_inverse, log_policy, 0, 1), [3, -1])


def test_bonus_weight_is_a_share_of_the_mean_reward():
    reward, log_inverse = constant(0, 3, -1, 0), constant(-2, 4, 0, -2)
    with tf.GradientTape() as tape:
        tape.watch(log_inverse)
        weight = losses.bonus_weight(0.1, reward, log_inverse)
    assert float(weight) == pytest.approx(0.05)  # .1 * 1 / 2
    assert tape.gradient(weight, log_inverse) is None
    assert float(losses.bonus_weight(0.1, reward, constant(0, 0, 0, 0))) == 0


def test_value_loss_moves_only_the_value():
    value, q, bonus = constant(1, 2), constant(2, 2), constant(3, -1)
    with tf.GradientTape() as tape:
        tape.watch([value, q, bonus])
        loss = losses.value_loss(value, q, bonus)
    assert float(loss) == pytest.approx((16 + 1) / 2)  # targets 5 and 1
    gradient, *others = tape.gradient(loss, [value, q, bonus])
    np.testing.assert_allclose(gradient, [-4, 1])  # 2 (V - target) / 2
    assert others == [None, None]


def test_policy_loss_is_minus_what_the_policy_wants():
    assert float(losses.policy_loss(constant(2, 4), constant(1, -1))) == pytest.approx(-3)


def test_inverse_loss_leaves_out_rows_of_weight_0():
    assert float(losses.inverse_loss(constant(-1, -5))) == pytest.approx(3)
    assert float(losses.inverse_loss(constant(-1, -5), constant(1, 0))) == pytest.approx(0.5)


def test_temperature_rises_while_the_entropy_is_too_low():
    log_alpha = tf.Variable(math.log(2.0))
    for log_policy, sign in ((5.0, -1), (-5.0, 1)):  # H is -3: an entropy of -5 is too low
        with tf.GradientTape() as tape:
            loss = losses.temperature_loss(tf.exp(log_alpha), constant(log_policy), -3.0)
        assert float(loss) == pytest.approx(-2 * (log_policy - 3))
        assert np.sign(tape.gradient(loss, log_alpha)) == sign  # descent goes the other way


def test_kl_of_unit_gaussians():
    bonus = losses.kl_bonus(tf.constant([[0.0, 1.0], [2.0, 2.0]]),
                            tf.constant([[3.0, 5.0], [2.0, 2.0]]))  # fmt: skip
    np.testing.assert_allclose(bonus, [-(9 + 16) / 2, 0])


class Table(network.Network):
    """A critic that returns column `index` of the observation, plus a."""

    def __init__(self, index, spec, action, name):
        super().__init__(input_tensor_spec=(spec, action), state_spec=(), name=name)
        self.index = index
        self.scale = tf_keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, inputs, step_type=None, network_state=(), training=False):
        observation, action = inputs
        q = observation[:, self.index] + action[:, 0]
        return self.scale(q[:, None])[:, 0], network_state


class FixedPolicy(tf_policy.TFPolicy):
    """Always takes the same action, of a log density that is said beforehand."""

    def _distribution(self, time_step, policy_state):
        raise NotImplementedError


def test_like_the_formulas_of_tf_agents():
    """SacAgent's three losses and ours, on the same Q, log pi and rewards."""
    steps = time_step.time_step_spec(tf.TensorSpec([2], tf.float32))
    action = tensor_spec.BoundedTensorSpec([1], tf.float32, -1, 1)
    log_policy, alpha = constant(0.5, -1.5), 0.3
    fresh = tf.constant([[0.2], [-0.4]])

    class Agent(sac_agent.SacAgent):
        def _actions_and_log_probs(self, time_steps, training=False):
            return fresh, log_policy

    class Actor(network.Network):
        def call(self, inputs, **_):
            raise NotImplementedError

        def create_variables(self, *_, **__):
            pass

    agent = Agent(
        steps,
        action,
        critic_network=Table(0, steps.observation, action, "one"),
        critic_network_2=Table(1, steps.observation, action, "two"),
        target_critic_network=Table(0, steps.observation, action, "slow_one"),
        target_critic_network_2=Table(1, steps.observation, action, "slow_two"),
        actor_network=Actor(steps.observation, ()),
        actor_policy_ctor=lambda time_step_spec, action_spec, **_: FixedPolicy(
            time_step_spec, action_spec
        ),
        actor_optimizer=tf_keras.optimizers.Adam(),
        critic_optimizer=tf_keras.optimizers.Adam(),
        alpha_optimizer=tf_keras.optimizers.Adam(),
        initial_log_alpha=math.log(alpha),
        target_entropy=-1.0,
        use_log_alpha_in_alpha_loss=False,  # as eq 15 is printed
    )
    mid = tf.fill([2], 1)
    observation, after = (
        tf.constant([[1.0, 2.0], [0.0, -1.0]]),
        tf.constant([[3.0, 2.5], [1.0, 4.0]]),
    )
    reward, discount = constant(1, 2), constant(1, 0)
    stored = tf.constant([[0.1], [0.9]])
    before = time_step.TimeStep(mid, tf.zeros(2), tf.ones(2), observation)
    following = time_step.TimeStep(mid, reward, discount, after)

    def q(index, states, actions):
        return states[:, index] + actions[:, 0]

    # Without V, its place is taken by what V regresses on: min Q' - alpha log pi.
    bonus = losses.gain(0.0, log_policy, 0.0, alpha)
    next_value = tf.minimum(q(0, after, fresh), q(1, after, fresh)) + bonus
    target = losses.q_target(reward, 0.9 * discount, next_value)
    ours = sum(losses.q_loss(q(i, observation, stored), target) for i in (0, 1))
    theirs = agent.critic_loss(
        before, stored, following, td_errors_loss_fn=tf.math.squared_difference, gamma=0.9
    )
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)

    lower = tf.minimum(q(0, observation, fresh), q(1, observation, fresh))
    assert float(losses.policy_loss(lower, bonus)) == pytest.approx(
        float(agent.actor_loss(before)), rel=1e-5
    )
    assert float(losses.temperature_loss(alpha, log_policy, -1.0)) == pytest.approx(
        float(agent.alpha_loss(before)), rel=1e-5
    )
