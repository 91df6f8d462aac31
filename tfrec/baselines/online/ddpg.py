"""DDPG: deep deterministic policy gradient, TF-Agents' DdpgAgent.

Lillicrap et al., "Continuous control with deep reinforcement learning", ICLR 2016
(arXiv:1509.02971). Nothing was removed; filled in by us: items behind the proto-action, see
`proto`, and Gaussian noise for exploration, see `proto.Deterministic`.
"""

import tensorflow as tf
from tf_agents.agents.ddpg import ddpg_agent
from tf_agents.trajectories import time_step

from tfrec.baselines.online import proto
from tfrec.baselines.online.config import DdpgConfig


class Ddpg(proto.Deterministic):
    """DDPG; arguments as in `base.Baseline`."""

    config: DdpgConfig

    def make_agent(self) -> ddpg_agent.DdpgAgent:
        return ddpg_agent.DdpgAgent(
            time_step.time_step_spec(self.state_spec),
            self.action_spec,
            actor_network=self.online_actor,
            critic_network=self.critics[0],
            target_actor_network=self.target_actor,
            target_critic_network=self.target_critics[0],
            td_errors_loss_fn=proto.squared_loss,
            train_step_counter=tf.Variable(0, dtype=tf.int64),
        )
