"""What SAC, TD3 and DDPG have in common: a proto-action, a replay and TF-Agents' losses.

The proto-action is a point in [-1, 1]^D. Where the simulator takes a continuous action it is
that action; where items are recommended it is a point in the space of their features, and
the k candidates with the highest inner products with it are shown (without the critics'
second look of Dulac-Arnold et al., 2015). What is learned from is the proto-action.

The losses are TF-Agents'. Its agents' `train` is not used, because its random operations have
state outside checkpoints, and it updates the critics before it computes the actor's loss. Here
the gradients of all parts are computed at the same weights, checked, and then applied.
"""

import abc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf
from tf_agents.agents import tf_agent
from tf_agents.agents.ddpg import actor_network, critic_network
from tf_agents.networks import network
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step
from tf_agents.utils import common

from tfrec.baselines.online import base
from tfrec.baselines.online.config import DeterministicConfig, ProtoConfig
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.methods.online import PolicyStep, Rollout
from tfrec.ops import target_networks
from tfrec.replay.steps import StepReplay, Steps


class Batch(NamedTuple):
    """What an update learns from: B rows, and the seeds of its draws, int32 [2] each."""

    steps: Steps
    seeds: dict[str, tf.Tensor]


NetworkPairs = Sequence[tuple[network.Network, network.Network]]


class Proto(base.Baseline):
    """A method with a proto-action; arguments as in `base.Baseline`.

    A subclass builds its networks with `critic` and `actor` and its TF-Agents agent, and copies
    the networks to their targets with `update_targets(1.0)`.

    Attributes:
      draws: names of what an update draws at random, in order.
    """

    config: ProtoConfig
    draws: tuple[str, ...] = ()

    def __init__(self, config: ProtoConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        self.action_size = self.adapter.action_size
        self.info_size = self.action_size if self.slate_size else 0
        self.state_spec = tf.TensorSpec([self.observation_size], tf.float32, "observation")
        self.action_spec = tensor_spec.BoundedTensorSpec(
            [self.action_size], tf.float32, -1.0, 1.0, "proto_action"
        )
        self.replay = StepReplay(self.observation_size, self.action_size, config.replay_size)

    @abc.abstractmethod
    def proto_action(self, state: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """Float [B, D] in [-1, 1]; with a seed int32 [2], one that explores."""

    @abc.abstractmethod
    def losses(
        self, batch: Batch, before: time_step.TimeStep, after: time_step.TimeStep
    ) -> dict[str, base.LossGradients]:
        """Every part's loss, with the discount already in `after`."""

    @abc.abstractmethod
    def target_pairs(self) -> NetworkPairs:
        """Each target network beside the network that it follows."""

    def target_and_online(self) -> tuple[list[tf.Variable], list[tf.Variable]]:
        """Variables of the target networks, and those that they follow, in the same order."""
        targets = [v for target, _ in self.target_pairs() for v in target.variables]
        return targets, [v for _, online in self.target_pairs() for v in online.variables]

    def update_targets(self, tau: float) -> None:
        """Soft update of all target networks; 1 copies the weights. Graph code."""
        target_networks.soft_update(*self.target_and_online(), tau)

    def after_update(self) -> None:
        self.update_targets(self.config.tau)

    def part_loss(self, part: str, loss: Callable[[], tf.Tensor]) -> base.LossGradients:
        """A part's loss and its gradients.

        Args:
          part: one of those given to `set_parts`.
          loss: computes the loss, a scalar.
        """
        with tf.GradientTape() as tape:
            value = loss()
        return base.loss_gradients(tape, value, self._parts()[part])

    def critic(self, name: str) -> critic_network.CriticNetwork:
        """Q(s, a), its variables there."""
        network = critic_network.CriticNetwork(
            (self.state_spec, self.action_spec),
            joint_fc_layer_params=self.config.hidden,
            name=name,
        )
        network.create_variables()
        return network

    def actor(self, name: str) -> actor_network.ActorNetwork:
        """mu(s), its variables there."""
        network = actor_network.ActorNetwork(
            self.state_spec, self.action_spec, fc_layer_params=self.config.hidden, name=name
        )
        network.create_variables()
        return network

    def explore(self, timestep: Timestep) -> PolicyStep:
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        learned = self.proto_action(self.adapter.encode(timestep.observation), seeds[0])
        uniform = tf.random.stateless_uniform(tf.shape(learned), seeds[1], -1.0, 1.0)
        start = self.replay.added < self.config.random_steps
        point = tf.where(start, uniform, learned)
        info = point if self.slate_size else base.no_note(tf.shape(point)[0])
        return PolicyStep(self.adapter.to_action(point, timestep), info)

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        point = self.proto_action(self.adapter.encode(timestep.observation), None)
        return self.adapter.to_action(point, timestep)

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        alive = tf.logical_not(base.flat(rollout.done))
        self.replay.add(
            Steps(
                state=self.adapter.encode(base.flat(rollout.observation)),
                action=base.flat(rollout.info if self.slate_size else rollout.action),
                reward=base.flat(rollout.reward),
                next_state=self.adapter.encode(base.flat(rollout.next_observation)),
                discount=tf.cast(alive, tf.float32),
                user=base.flat(rollout.user),
                own_next=alive,
                synthetic=tf.zeros_like(alive),
            )
        )

    def sample(self, number: tf.Tensor) -> Batch:
        steps = self.replay.sample(self.config.batch, self.draw())
        return Batch(steps, {name: self.draw() for name in self.draws})

    def gradients(
        self, batch: Batch
    ) -> tuple[dict[str, base.LossGradients], dict[str, tf.Tensor]]:
        config, steps = self.config, batch.steps
        before = time_step.restart(steps.state, config.batch)
        after = time_step.transition(
            steps.next_state,
            config.reward_scale * steps.reward,
            config.discount * steps.discount,
        )
        return self.losses(batch, before, after), {}


class Deterministic(Proto):
    """A deterministic actor, its critics, and target networks of all of them.

    Exploration is Gaussian noise, clipped to the bounds. The noise of DDPG's paper is an
    Ornstein-Uhlenbeck process; here it is independent between steps, as in TD3, whose authors
    observed no difference.

    Attributes:
      critic_names: names of the critics, in order.
      agent: function that returns the TF-Agents agent, which shares the networks' variables; a
        function, so that checkpoints do not include the agent.
    """

    config: DeterministicConfig
    critic_names: tuple[str, ...] = ("critic",)

    def __init__(self, config: DeterministicConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        self.online_actor, self.target_actor = self.actor("actor"), self.actor("target_actor")
        self.critics = [self.critic(name) for name in self.critic_names]
        self.target_critics = [self.critic(f"target_{name}") for name in self.critic_names]
        agent = self.make_agent()
        self.agent = lambda: agent
        self.set_parts(
            critic=[v for critic in self.critics for v in critic.trainable_variables],
            actor=self.online_actor.trainable_variables,
        )
        self.update_targets(1.0)

    @abc.abstractmethod
    def make_agent(self) -> tf_agent.TFAgent:
        """The TF-Agents agent of the actor, the critics and their targets."""

    def target_pairs(self) -> NetworkPairs:
        return [
            (self.target_actor, self.online_actor),
            *zip(self.target_critics, self.critics, strict=True),
        ]

    def critic_loss(
        self, batch: Batch, before: time_step.TimeStep, after: time_step.TimeStep
    ) -> tf.Tensor:
        """The critics' loss, a scalar; arguments as in `losses`."""
        return self.agent().critic_loss(before, batch.steps.action, after, training=True)

    def losses(
        self, batch: Batch, before: time_step.TimeStep, after: time_step.TimeStep
    ) -> dict[str, base.LossGradients]:
        return {
            "critic": self.part_loss("critic", lambda: self.critic_loss(batch, before, after)),
            "actor": self.part_loss(
                "actor", lambda: self.agent().actor_loss(before, training=True)
            ),
        }

    def proto_action(self, state: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        point, _ = self.online_actor(state)
        if seed is None:
            return point
        noise = tf.random.stateless_normal(tf.shape(point), seed)
        return tf.clip_by_value(point + self.config.exploration_noise * noise, -1.0, 1.0)


squared_loss = common.element_wise_squared_loss
