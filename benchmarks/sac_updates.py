"""Updates of a soft actor-critic per second, beside TF-Agents', at VirtualTB's sizes.

    python -m benchmarks.sac_updates

ours   `tfimrl.agent` as a plain soft actor-critic, 16 updates in one compiled call
stock  TF-Agents' SacAgent, its `train` inside a tf.function, one update a call
imrl   ours with empowerment: one more network, p(a|s',s); shows its cost

All read the same random batches, have hidden layers of the same widths and learn with
Adam. Both actor-critics have twin critics and a learned temperature; ours has V with a target
network, as in IMRL's eq 11, and the stock agent has target networks of both critics.
"""

import functools

import numpy as np
import tensorflow as tf
import tf_keras
from tf_agents.agents.ddpg import critic_network
from tf_agents.agents.sac import sac_agent, tanh_normal_projection_network
from tf_agents.networks import actor_distribution_network
from tf_agents.trajectories import time_step, trajectory
from tf_agents.utils import common

from benchmarks import timing
from tfimrl.agent import ImrlAgent
from tfimrl.config import ImrlConfig
from tfrec.replay.steps import Steps


def batches(
    number: int, rows: int, observation_size: int, action_size: int, seed: int = 0
) -> Steps:
    """Random transitions, [number, rows, ...]."""
    draw = np.random.default_rng(seed)
    lead = [number, rows]
    return Steps(
        tf.constant(draw.normal(size=[*lead, observation_size]), tf.float32),
        tf.constant(draw.uniform(-1, 1, [*lead, action_size]), tf.float32),
        tf.constant(draw.uniform(0, 1, lead), tf.float32),
        tf.constant(draw.normal(size=[*lead, observation_size]), tf.float32),
        tf.ones(lead),
        tf.zeros(lead, tf.int32),
        tf.ones(lead, tf.bool),
        tf.zeros(lead, tf.bool),
    )


def stock_agent(
    observation_size: int, action_size: int, config: ImrlConfig
) -> sac_agent.SacAgent:
    """TF-Agents' SacAgent with the hyperparameters of ours."""
    spec = ImrlAgent(ImrlConfig(hidden=(1,)), observation_size, action_size, jit_compile=False)
    steps, actions = spec.time_step_spec, spec.action_spec
    adam = functools.partial(tf_keras.optimizers.Adam, config.learning_rate)
    actor = actor_distribution_network.ActorDistributionNetwork(
        steps.observation,
        actions,
        fc_layer_params=config.hidden,
        continuous_projection_net=tanh_normal_projection_network.TanhNormalProjectionNetwork,
    )
    agent = sac_agent.SacAgent(
        steps,
        actions,
        critic_network=critic_network.CriticNetwork(
            (steps.observation, actions), joint_fc_layer_params=config.hidden
        ),
        actor_network=actor,
        actor_optimizer=adam(),
        critic_optimizer=adam(),
        alpha_optimizer=adam(),
        target_update_tau=config.tau,
        gamma=config.discount,
        target_entropy=-float(action_size),
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    agent.initialize()
    return agent


def as_trajectory(batch: Steps) -> trajectory.Transition:
    """Converts rows [B, ...] to TF-Agents' transitions."""
    rows = tf.shape(batch.reward)
    first = tf.fill(rows, time_step.StepType.MID)
    return trajectory.Transition(
        time_step.TimeStep(first, tf.zeros(rows), tf.ones(rows), batch.state),
        trajectory.policy_step.PolicyStep(batch.action, (), ()),
        time_step.TimeStep(first, batch.reward, batch.discount, batch.next_state),
    )


def main(
    observation_size: int = 91,
    action_size: int = 27,
    rows: int = 256,
    fused: int = 16,
    repeats: int = 15,
    hidden: tuple[int, ...] = (256, 256),
) -> None:
    """Times all three.

    Args:
      observation_size: O; VirtualTB's by default.
      action_size: D; VirtualTB's by default.
      rows: B, transitions in a batch.
      fused: updates in one compiled call of ours, and in a repetition of each agent.
      repeats: counted repetitions.
      hidden: widths of the hidden layers.
    """
    config = ImrlConfig(hidden=hidden, batch=rows, exploration="entropy")
    data = batches(fused, rows, observation_size, action_size)
    sizes = (observation_size, action_size)
    ours, imrl = (
        ImrlAgent(each, *sizes) for each in (config, ImrlConfig(hidden=hidden, batch=rows))
    )
    stock = stock_agent(*sizes, config)
    train = common.function(stock.train)
    single = [as_trajectory(Steps(*(value[i] for value in data))) for i in range(fused)]

    def stock_round() -> float:
        for each in single:
            loss = train(each).loss
        return float(loss)

    took = timing.alternate(
        {
            "ours": lambda: float(ours.train_many(data).loss),
            "stock": stock_round,
            "imrl": lambda: float(imrl.train_many(data).loss),
        },
        repeats,
    )
    print(f"\nobservation {observation_size}, action {action_size}, batch {rows}, medians")
    print(f"hidden layers of {hidden}")
    timing.show(took, "ours", "updates", dict.fromkeys(took, fused))


if __name__ == "__main__":
    timing.one_thread()
    # Widths of VirtualTB's training; one layer of the paper's width; two of them.
    for widths in ((128, 128), (256,), (256, 256)):
        main(hidden=widths)
