"""The shared update of TD3, beside TF-Agents' own on the same networks and batch."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_agents.agents.ddpg import actor_network, critic_network
from tf_agents.agents.td3 import td3_agent as stock_td3
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step
from tf_agents.utils import common

from tfrec.baselines import td3_agent

STATE = tf.TensorSpec([3], tf.float32)
ACTION = tensor_spec.BoundedTensorSpec([2], tf.float32, -1.0, 1.0)
BATCH = 5


def networks():
    tf_keras.utils.set_random_seed(1)

    def actor():
        return actor_network.ActorNetwork(STATE, ACTION, fc_layer_params=(4,))

    def critic():
        return critic_network.CriticNetwork((STATE, ACTION), joint_fc_layer_params=(4,))

    roles = {"actor_network": actor(), "target_actor_network": actor()}
    for name in ("critic_network", "critic_network_2"):
        roles |= {name: critic(), f"target_{name}": critic()}
    return roles


def agent(agent_class, roles, **numbers):
    return agent_class(
        time_step.time_step_spec(STATE),
        ACTION,
        **roles,
        actor_optimizer=None,
        critic_optimizer=None,
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
        **numbers,
    )


def test_losses_without_noise_are_those_of_tf_agents():
    roles, rng = networks(), np.random.default_rng(2)

    def drawn(*shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    before = time_step.restart(drawn(BATCH, 3), BATCH)
    reward, discount = drawn(BATCH), tf.constant([0.9, 0.9, 0.0, 0.5, 0.9])
    after = time_step.transition(drawn(BATCH, 3), reward, discount)
    actions, weights = drawn(BATCH, 2), tf.constant([1.0, 0.2, 0.3, 0.4, 0.5])
    ours = agent(td3_agent.SeededTd3Agent, roles)
    stock = agent(stock_td3.Td3Agent, roles, target_policy_noise=1e-12)
    next_actions, _ = roles["target_actor_network"](after.observation)
    for selected in (None, weights):
        loss = ours.critic_loss(before, actions, after, selected, next_actions=next_actions)
        expected = stock.critic_loss(before, actions, after, selected)
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(ours.actor_loss(before)) == float(stock.actor_loss(before))


def test_the_targets_move_in_the_updates_that_move_the_actor():
    made = agent(
        td3_agent.SeededTd3Agent, networks(), actor_update_period=3, target_update_tau=0.25
    )
    target, online = tf.Variable(0.0), tf.Variable(4.0)
    seen = []
    for _ in range(4):
        due = bool(made.is_actor_due())
        made.finish_update([target], [online])
        seen.append((due, float(target)))
    # 0 + 0.25 * 4 = 1, and 1 + 0.25 * 3 = 1.75.
    assert seen == [(True, 1.0), (False, 1.0), (False, 1.0), (True, 1.75)]


def test_noise_has_the_agents_own_limit():
    made = agent(
        td3_agent.SeededTd3Agent,
        networks(),
        target_policy_noise=10.0,
        target_policy_noise_clip=0.5,
    )
    noise = made.smoothing_noise([BATCH, 2], tf.constant([1, 2])).numpy()
    assert np.abs(noise).max() == pytest.approx(0.5)
