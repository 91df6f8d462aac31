"""TD3: twin delayed deterministic policy gradient, on TF-Agents' Td3Agent.

Fujimoto et al., "Addressing Function Approximation Error in Actor-Critic Methods", ICML 2018.
Nothing of the paper is left out; the addition is items behind the proto-action, see `proto`.
The update is that of `tfrec.baselines.td3_agent`.
"""

import tensorflow as tf
from tf_agents.trajectories import time_step

from tfrec.baselines.online import proto
from tfrec.baselines.online.config import OnlineTd3Config
from tfrec.baselines.td3_agent import SeededTd3Agent


class Td3(proto.Deterministic):
    """TD3; arguments as in `base.Baseline`."""

    config: OnlineTd3Config
    draws = ("target_noise",)
    critic_names = ("critic_1", "critic_2")

    def make_agent(self) -> SeededTd3Agent:
        config = self.config
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        return SeededTd3Agent(
            time_step.time_step_spec(self.state_spec),
            self.action_spec,
            actor_network=self.online_actor,
            critic_network=self.critics[0],
            critic_network_2=self.critics[1],
            target_actor_network=self.target_actor,
            target_critic_network=self.target_critics[0],
            target_critic_network_2=self.target_critics[1],
            actor_optimizer=None,
            critic_optimizer=None,
            actor_update_period=config.actor_update_period,
            target_update_tau=config.tau,
            target_policy_noise=config.target_noise,
            target_policy_noise_clip=config.target_noise_clip,
            train_step_counter=self.updates,
        )

    def next_action(self, observation: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The target actor's action after clipped noise, float [B, D] in [-1, 1]."""
        action, _ = self.target_actor(observation)
        noise = self.agent().smoothing_noise(tf.shape(action), seed)
        return tf.clip_by_value(action + noise, -1.0, 1.0)

    def critic_loss(
        self, batch: proto.Batch, before: time_step.TimeStep, after: time_step.TimeStep
    ) -> tf.Tensor:
        next_actions = self.next_action(batch.steps.next_state, batch.seeds["target_noise"])
        return self.agent().critic_loss(
            before, batch.steps.action, after, training=True, next_actions=next_actions
        )

    def due(self, part: str) -> tf.Tensor | bool:
        return part == "critic" or self.agent().is_actor_due()

    def after_update(self) -> None:
        self.agent().finish_update(*self.target_and_online())
