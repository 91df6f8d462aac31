"""TD3: twin delayed deterministic policy gradient, TF-Agents' Td3Agent.

Fujimoto et al., "Addressing Function Approximation Error in Actor-Critic Methods", ICML 2018.
Nothing was removed; filled in by us: items behind the proto-action, see `proto`. The noise of
the target is drawn here, from seeds, and the action that is valued stays within the bounds,
as in the paper (TF-Agents lets it leave them).
"""

import dataclasses

import tensorflow as tf
from tf_agents.trajectories import time_step

from tfrec.baselines.online import base, proto
from tfrec.baselines.td3 import ItemTd3Agent
from tfrec.environments import contract
from tfrec.ops import target_networks
from tfrec.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Td3Config(proto.DeterministicConfig):
    """TD3's own numbers, as in its authors' code; noise is in units of half a range."""

    actor_update_period: int = option(
        2, "updates of the critics for each of the actor", at_least=1
    )
    target_noise: float = option(
        0.2, "standard deviation of the target's noise, each axis", at_least=0
    )
    target_noise_clip: float = option(
        0.5, "most that this noise moves the target, each axis", at_least=0
    )


CONFIG = Td3Config


class Td3(proto.Deterministic):
    """TD3; arguments as in `base.Baseline`."""

    config: Td3Config
    draws = ("target_noise",)

    def __init__(self, config: Td3Config, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        self.online_actor, self.target_actor = self.actor("actor"), self.actor("target_actor")
        self.critics = [self.critic(name) for name in ("critic_1", "critic_2")]
        self.target_critics = [self.critic(name) for name in ("slow_1", "slow_2")]
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        agent = ItemTd3Agent(
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
            td_errors_loss_fn=proto.squared_loss,
            train_step_counter=self.updates,
        )
        self._agent = lambda: agent  # its variables are ours; hidden from checkpoints
        self.set_parts(
            critic=[v for c in self.critics for v in c.trainable_variables],
            actor=self.online_actor.trainable_variables,
        )
        self._update_targets(1.0)

    def _update_targets(self, tau: float | tf.Tensor) -> None:
        pairs = zip(
            (self.target_actor, *self.target_critics),
            (self.online_actor, *self.critics),
            strict=True,
        )
        for target_network, network in pairs:
            target_networks.soft_update(target_network.variables, network.variables, tau)

    def next_action(self, observation: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The slow actor's action after clipped noise, float [B, D]."""
        action, _ = self.target_actor(observation)
        most = self.config.target_noise_clip
        noise = self.config.target_noise * tf.random.stateless_normal(tf.shape(action), seed)
        return tf.clip_by_value(action + tf.clip_by_value(noise, -most, most), -1.0, 1.0)

    def losses(
        self, batch: proto.Batch, before: time_step.TimeStep, after: time_step.TimeStep
    ) -> dict[str, base.Found]:
        agent, parts = self._agent(), self._parts()
        following = self.next_action(batch.steps.next_state, batch.seeds["target_noise"])
        with tf.GradientTape() as tape:
            loss = agent.critic_loss(
                before, batch.steps.action, after, training=True, next_actions=following
            )
        critic = base.found(tape, loss, parts["critic"])
        with tf.GradientTape() as tape:
            loss = agent.actor_loss(before, training=True)
        return {"critic": critic, "actor": base.found(tape, loss, parts["actor"])}

    def due(self, part: str) -> tf.Tensor | bool:
        return part == "critic" or self.updates % self.config.actor_update_period == 0

    def after_update(self) -> None:
        # The slow networks move with the actor, as in the paper.
        now = tf.cast(self.updates % self.config.actor_update_period == 0, tf.float32)
        self._update_targets(self.config.tau * now)
        self.updates.assign_add(1)
