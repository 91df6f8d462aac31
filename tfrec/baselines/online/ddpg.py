"""DDPG: deep deterministic policy gradient, TF-Agents' DdpgAgent.

Lillicrap et al., "Continuous control with deep reinforcement learning", ICLR 2016
(arXiv:1509.02971). Nothing was removed; filled in by us: items behind the proto-action, see
`proto`, and Gaussian noise for exploration, see `proto.Deterministic`.
"""

import dataclasses

import tensorflow as tf
from tf_agents.agents.ddpg import ddpg_agent
from tf_agents.trajectories import time_step

from tfrec.baselines.online import base, proto
from tfrec.environments import contract
from tfrec.ops import target_networks


@dataclasses.dataclass(frozen=True, kw_only=True)
class DdpgConfig(proto.DeterministicConfig):
    """DDPG's numbers: all in common."""


CONFIG = DdpgConfig


class Ddpg(proto.Deterministic):
    """DDPG; arguments as in `base.Baseline`."""

    config: DdpgConfig

    def __init__(self, config: DdpgConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        self.online_actor, self.target_actor = self.actor("actor"), self.actor("target_actor")
        self.online_critic, self.target_critic = self.critic("critic"), self.critic("slow")
        agent = ddpg_agent.DdpgAgent(
            time_step.time_step_spec(self.state_spec),
            self.action_spec,
            actor_network=self.online_actor,
            critic_network=self.online_critic,
            target_actor_network=self.target_actor,
            target_critic_network=self.target_critic,
            td_errors_loss_fn=proto.squared_loss,
            train_step_counter=tf.Variable(0, dtype=tf.int64),
        )
        self._agent = lambda: agent  # its variables are ours; hidden from checkpoints
        self.set_parts(
            critic=self.online_critic.trainable_variables,
            actor=self.online_actor.trainable_variables,
        )
        self._update_targets(1.0)

    def _update_targets(self, tau: float) -> None:
        target_networks.soft_update(
            self.target_actor.variables, self.online_actor.variables, tau
        )
        target_networks.soft_update(
            self.target_critic.variables, self.online_critic.variables, tau
        )

    def losses(
        self, batch: proto.Batch, before: time_step.TimeStep, after: time_step.TimeStep
    ) -> dict[str, base.Found]:
        agent, parts = self._agent(), self._parts()
        with tf.GradientTape() as tape:
            loss = agent.critic_loss(before, batch.steps.action, after, training=True)
        critic = base.found(tape, loss, parts["critic"])
        with tf.GradientTape() as tape:
            loss = agent.actor_loss(before, training=True)
        return {"critic": critic, "actor": base.found(tape, loss, parts["actor"])}

    def after_update(self) -> None:
        self._update_targets(self.config.tau)
