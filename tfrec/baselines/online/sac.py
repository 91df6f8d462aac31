"""SAC: soft actor-critic with a learned temperature, TF-Agents' SacAgent.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905). Proto-
actions are a tanh of a Gaussian; tests play the mean. Nothing was removed; filled in by us:
items behind the proto-action, see `proto`. IMRL without empowerment and augmentation differs
from it by its V network in the place of slow critics.
"""

import tensorflow as tf
from tf_agents.agents.sac import sac_agent, tanh_normal_projection_network
from tf_agents.networks import actor_distribution_network
from tf_agents.trajectories import time_step
from tf_agents.utils import common

from tfrec.baselines.online import base, proto
from tfrec.baselines.online.config import SacConfig
from tfrec.environments import contract
from tfrec.nn import networks


class _Agent(sac_agent.SacAgent):
    """TF-Agents' losses with random numbers from `seed`, which is set before each loss."""

    seed: tf.Tensor

    @property
    def log_temperature(self) -> tf.Variable:
        return self._log_alpha

    def _actions_and_log_probs(
        self, time_steps: time_step.TimeStep, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        distribution, _ = self._actor_network(
            time_steps.observation, step_type=(), network_state=(), training=training
        )
        actions = distribution.sample(seed=self.seed)
        return actions, common.log_probability(distribution, actions, self.action_spec)


class Sac(proto.Proto):
    """SAC; arguments as in `base.Baseline`."""

    config: SacConfig
    extras = ("temperature",)
    draws = ("critic", "actor", "temperature")

    def __init__(self, config: SacConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        self.critics = [self.critic(name) for name in ("critic_1", "critic_2")]
        self.target_critics = [self.critic(f"target_{critic.name}") for critic in self.critics]
        self.policy = actor_distribution_network.ActorDistributionNetwork(
            self.state_spec,
            self.action_spec,
            fc_layer_params=config.hidden,
            continuous_projection_net=tanh_normal_projection_network.TanhNormalProjectionNetwork,
            name="policy",
        )
        agent = _Agent(
            time_step.time_step_spec(self.state_spec),
            self.action_spec,
            critic_network=self.critics[0],
            critic_network_2=self.critics[1],
            target_critic_network=self.target_critics[0],
            target_critic_network_2=self.target_critics[1],
            actor_network=self.policy,
            actor_optimizer=None,
            critic_optimizer=None,
            alpha_optimizer=None,
            initial_log_alpha=float(tf.math.log(config.initial_temperature)),
            target_entropy=networks.target_entropy(config.target_entropy, self.action_size),
            train_step_counter=tf.Variable(0, dtype=tf.int64),
        )
        self.agent = lambda: agent  # hidden from checkpoints; it shares this module's variables
        self.log_temperature = agent.log_temperature
        self.set_parts(
            critic=[v for c in self.critics for v in c.trainable_variables],
            actor=self.policy.trainable_variables,
            temperature=[self.log_temperature],
        )
        self.update_targets(1.0)

    def target_pairs(self) -> proto.NetworkPairs:
        return list(zip(self.target_critics, self.critics, strict=True))

    def proto_action(self, state: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        distribution, _ = self.policy(state, step_type=(), network_state=())
        return distribution.mode() if seed is None else distribution.sample(seed=seed)

    def losses(
        self, batch: proto.Batch, before: time_step.TimeStep, after: time_step.TimeStep
    ) -> dict[str, base.LossGradients]:
        agent, losses = self.agent(), {}
        agent.seed = batch.seeds["critic"]
        losses["critic"] = self.part_loss(
            "critic",
            lambda: agent.critic_loss(
                before, batch.steps.action, after, proto.squared_loss, training=True
            ),
        )
        agent.seed = batch.seeds["actor"]
        losses["actor"] = self.part_loss(
            "actor", lambda: agent.actor_loss(before, training=True)
        )
        agent.seed = batch.seeds["temperature"]
        losses["temperature"] = self.part_loss(
            "temperature", lambda: agent.alpha_loss(before, training=True)
        )
        return losses

    def gradients(
        self, batch: proto.Batch
    ) -> tuple[dict[str, base.LossGradients], dict[str, tf.Tensor]]:
        gradients, _ = super().gradients(batch)
        return gradients, {"temperature": tf.exp(self.log_temperature)}
