"""TD3 in the space of item vectors: the item nearest to the actor's output is shown.

Twin delayed deep deterministic policy gradient (Fujimoto et al., ICML 2018), on TF-Agents'
Td3Agent, with items for continuous actions as in Dulac-Arnold et al. (2015, arXiv:1512.07679,
"Wolpertinger"): the actor's proto-action is a point in the space of the items' vectors. The
nearest item is shown, or that of the k nearest with the highest value of the critics. Updates
use the vector of the shown item, not the proto-action.

    y    = r + discount * min_i Q'_i(s', v(nearest(mu'(s') + clipped noise)))
    L_Q  = sum_i (Q_i(s, v(a)) - y)^2                               every update
    L_mu = -Q_1(s, mu(s))                      every `actor_update_period` updates, with
                                               the targets' move towards the weights

The item vectors are fixed (co-clicks and mean responses in the log, see `item_space`), because
training them would change the actor's action space. One DIEN tower encodes the state for the
actor and both critics; only the critics' loss trains it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from tf_agents.agents.ddpg import critic_network
from tf_agents.networks import sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step

from tfrec import types
from tfrec.baselines.config import Td3Config
from tfrec.baselines.item_space import ItemSpace, unit_vectors
from tfrec.baselines.learning import BaselineLearner
from tfrec.baselines.td3_agent import SeededTd3Agent
from tfrec.environments import contract, user_models
from tfrec.nn.dien import DienTower
from tfrec.nn.item_embedding import ItemEmbedding
from tfrec.ops import autodiff, selection, target_networks
from tfrec.replay.transitions import TransitionReplay, Transitions
from tfrec.training import finite


def neighbour_count(neighbours: float, candidates: int) -> int:
    """Among how many items the critics choose: `neighbours` as a number, 1 to A."""
    number = neighbours if neighbours >= 1 else neighbours * candidates
    return min(max(1, round(number)), candidates)


class ActorCritic(tf.Module):
    """State tower, actor and twin critics. One learns, another trails it as the target.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      item_vectors: float [N + 1, >= embedding], where the tower's embeddings start.
      space: the items as actions.
    """

    def __init__(
        self,
        config: Td3Config,
        spec: types.DataSpec,
        item_vectors: np.ndarray,
        space: ItemSpace,
    ):
        super().__init__(name="actor_critic")
        self.space = space
        self.count = neighbour_count(config.neighbours, spec.num_candidates)
        noise = tf.random.normal([spec.num_items + 1, config.embedding], stddev=0.05)
        items = ItemEmbedding(spec, item_vectors[:, : config.embedding] + noise)
        self.item_embedding = items.ids
        self.tower = DienTower(spec, items, config.units, config.state, crossed=config.crossed)
        self.state_spec = tf.TensorSpec([config.state], tf.float32, "state")
        self.action_spec = tensor_spec.BoundedTensorSpec(
            [space.vectors.shape[1]], tf.float32, -1.0, 1.0, "proto_action"
        )
        layers = (config.hidden, config.hidden)
        dense = tf_keras.layers.Dense
        self.actor = sequential.Sequential(
            [
                dense(config.hidden, activation="relu"),
                dense(config.hidden, activation="relu"),
                dense(space.vectors.shape[1]),
                tf_keras.layers.UnitNormalization(),
            ],
            input_spec=self.state_spec,
            name="actor",
        )
        self.critics = [
            critic_network.CriticNetwork(
                (self.state_spec, self.action_spec), joint_fc_layer_params=layers, name=name
            )
            for name in ("critic_1", "critic_2")
        ]
        for network in (self.actor, *self.critics):
            network.create_variables()

    def state(self, observation: types.Observation) -> tf.Tensor:
        """The tower's state vector, float [B, S]."""
        return self.tower(observation).state

    def proto_action(self, state: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Where the actor points, float [B, D] of length 1; noise [B, D] turns it."""
        point, _ = self.actor(state)
        return point if noise is None else tf.math.l2_normalize(point + noise, axis=-1)

    def value(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """The lower of the twins' values, float [B]; action is float [B, D]."""
        first, second = (critic((state, action))[0] for critic in self.critics)
        return tf.minimum(first, second)

    def item(self, state: tf.Tensor, point: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
        """The item to show: the nearest, or the best of the nearest, int32 [B].

        Args:
          state: float [B, S].
          point: float [B, D], the proto-action.
          blocked: bool [B, A] or None.
        """
        if self.count == 1:
            return self.space.nearest(point, blocked)
        item, value, barred = self.valued(state, point, blocked)
        best = selection.best_item(value, barred) - 1  # [B]
        return tf.gather(item, best, axis=1, batch_dims=1)  # [B]

    def valued(
        self, state: tf.Tensor, point: tf.Tensor, blocked: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """The nearest items and their values, arguments as in `item`.

        Returns:
          Items, int32 [B, k]; the lower of the critics' values, float [B, k]; and which of the
          items are blocked, bool [B, k] or None.
        """
        item, barred = self.space.neighbours(point, self.count, blocked)  # [B, k]
        vector = tf.reshape(self.space.vector(item), [-1, point.shape[-1]])  # [B * k, D]
        value = self.value(tf.repeat(state, self.count, axis=0), vector)  # [B * k]
        return item, tf.reshape(value, [-1, self.count]), barred


class Batch(NamedTuple):
    """What an update learns from.

    Attributes:
      transitions: B transitions.
      seeds: int32 [2, 2], of the target's noise and of the auxiliary loss.
    """

    transitions: Transitions
    seeds: tf.Tensor


class Td3Learner(BaselineLearner):
    """TD3 with its replay; arguments as in `BaselineLearner`.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      log: training sessions, numpy arrays.
      world: the simulated users, or None to learn from the log alone.
      item_vectors: float [N + 1, >= embedding]; their first `embedding` columns
        enter the action space and start the tower's embeddings.
      seed: of the weights and of all later draws.
    """

    fixed_items = no_warm_start = "its actions are vectors made of the log"
    config: Td3Config

    def __init__(
        self,
        config: Td3Config,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(config, spec, log, world, seed, "td3_learner")
        vectors = unit_vectors(item_vectors[:, : config.embedding], spec.num_candidates, log)
        self.space = ItemSpace(vectors, spec.num_candidates)
        self.online = ActorCritic(config, spec, item_vectors, self.space)
        self.target = ActorCritic(config, spec, item_vectors, self.space)
        target_networks.soft_update(*self._target_and_online(), 1.0)
        self.acting = self.online
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        adam = tf_keras.optimizers.Adam
        self.critic_optimizer = adam(config.learning_rate, global_clipnorm=10.0)
        self.actor_optimizer = adam(config.learning_rate, global_clipnorm=10.0)
        self.critic_variables = [
            v
            for part in (self.online.tower, *self.online.critics)
            for v in part.trainable_variables
        ]
        self.actor_variables = list(self.online.actor.trainable_variables)
        self.critic_optimizer.build(self.critic_variables)
        self.actor_optimizer.build(self.actor_variables)
        agent = self._agent()
        self.agent = lambda: agent  # its variables are those above
        self.checked = [
            "critic loss",
            "auxiliary loss",
            "actor loss",
            *(
                f"gradient of {v.name.removesuffix(':0')}"
                for v in self.critic_variables + self.actor_variables
            ),
        ]
        self.replay = TransitionReplay(
            spec,
            config.replay_sessions,
            n_steps=config.n_steps,
            discount=config.discount,
            repeats=self.repeats,
        )
        self.average_weights()
        self.fill(log, config.replay_sessions)

    def _agent(self) -> SeededTd3Agent:
        config, online, target = self.config, self.online, self.target
        return SeededTd3Agent(
            time_step.time_step_spec(online.state_spec),
            online.action_spec,
            actor_network=online.actor,
            critic_network=online.critics[0],
            critic_network_2=online.critics[1],
            target_actor_network=target.actor,
            target_critic_network=target.critics[0],
            target_critic_network_2=target.critics[1],
            actor_optimizer=self.actor_optimizer,
            critic_optimizer=self.critic_optimizer,
            actor_update_period=config.actor_update_period,
            target_update_tau=config.tau,
            target_policy_noise=config.target_noise,
            target_policy_noise_clip=config.target_noise_clip,
            train_step_counter=self.updates,
        )

    def store(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        self.replay.add(episodes, reward)

    def clear(self) -> None:
        self.replay.clear()

    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """Closeness to the proto-action, or the critics' value of its nearest items."""
        state = self.online.state(observation)
        point = self.online.proto_action(state)
        if self.online.count == 1:
            return self.space.closeness(point)
        item, value, barred = self.online.valued(state, point, blocked)  # [B, k]
        value = value if barred is None else tf.where(barred, -np.inf, value)
        row = tf.repeat(tf.range(tf.shape(item)[0])[:, None], self.online.count, axis=1)
        cell = tf.stack([row, item - 1], axis=-1)  # [B, k, 2]
        others = tf.fill([tf.shape(item)[0], self.spec.num_candidates], -np.inf)
        return tf.tensor_scatter_nd_update(others, cell, value)

    def policy(self) -> contract.Policy:
        def policy(timestep: contract.Timestep) -> tf.Tensor:
            state = self.online.state(contract.history_of(timestep))
            point = self.online.proto_action(state)
            return contract.action_of(self.online.item(state, point, timestep.blocked))

        return policy

    def playing(self) -> contract.Policy:
        """The policy with noise on the proto-action."""

        def policy(timestep: contract.Timestep) -> tf.Tensor:
            state = self.online.state(contract.history_of(timestep))
            shape = [tf.shape(state)[0], self.space.vectors.shape[1]]
            noise = self.config.exploration_noise * tf.random.stateless_normal(
                shape, timestep.seed
            )
            point = self.online.proto_action(state, noise)
            return contract.action_of(self.online.item(state, point, timestep.blocked))

        return policy

    def next_action(self, batch: Transitions, state: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The vector of the target's next item, after clipped noise, float [B, D].

        Args:
          batch: B transitions.
          state: float [B, S], the target tower's next state.
          seed: int32 [2].
        """
        shape = [tf.shape(state)[0], self.space.vectors.shape[1]]
        noise = self.agent().smoothing_noise(shape, seed)
        point = self.target.proto_action(state, noise)
        return self.space.vector(self.target.item(state, point, batch.next_blocked))

    def sample(self) -> Batch:
        seeds = tf.cast(tf.transpose(self.generator.make_seeds(3)), tf.int32)  # [3, 2]
        return Batch(self.replay.sample(self.config.batch, seeds[0]), seeds[1:])

    def _update_on(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        steps, seeds = batch.transitions, batch.seeds
        next_state = self.target.state(steps.next_observation)
        next_actions = self.next_action(steps, next_state, seeds[0])
        actions = self.space.vector(steps.item)  # [B, D], of what was shown
        after = time_step.TimeStep((), steps.reward, steps.discount, next_state)
        with tf.GradientTape() as tape:
            history = self.online.tower(steps.observation)
            before = time_step.TimeStep((), (), (), history.state)
            critic_loss = self.agent().critic_loss(
                before,
                actions,
                after,
                weights=steps.weight,
                training=True,
                next_actions=next_actions,
            )
            auxiliary = self.online.tower.auxiliary_loss(steps.observation, history, seeds[1])
            loss = critic_loss + self.config.auxiliary_weight * auxiliary
        gradients = tape.gradient(loss, self.critic_variables)
        due = self.agent().is_actor_due()
        actor_loss, actor_gradients = self._actor_gradients(history.state, due)
        named = dict(
            zip(
                self.checked,
                (critic_loss, auxiliary, actor_loss, *gradients, *actor_gradients),
                strict=True,
            )
        )
        bad = finite.guarded(named, lambda: self._apply(gradients, actor_gradients, due))
        value = tf.reduce_mean(self.online.value(history.state, actions))
        report = {"critic_loss": critic_loss, "auxiliary_loss": auxiliary, "value": value}
        return report, bad

    def _actor_gradients(
        self, state: tf.Tensor, due: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The actor's loss and its gradients, or zeros where it is not its turn."""

        def taken() -> tuple[tf.Tensor, list[tf.Tensor]]:
            before = time_step.TimeStep((), (), (), tf.stop_gradient(state))
            with tf.GradientTape() as tape:
                loss = self.agent().actor_loss(before, training=True)
            return loss, tape.gradient(loss, self.actor_variables)

        def skipped() -> tuple[tf.Tensor, list[tf.Tensor]]:
            return tf.constant(0.0), [tf.zeros_like(v) for v in self.actor_variables]

        return tf.cond(due, taken, skipped)

    def scheduled_optimizers(self) -> list[tuple[tf_keras.optimizers.Optimizer, float]]:
        """The critics', and the actor's at its share."""
        return [(self.critic_optimizer, 1.0), (self.actor_optimizer, self.config.actor_rate)]

    def _apply(
        self, gradients: list[tf.Tensor], actor_gradients: list[tf.Tensor], due: tf.Tensor
    ) -> None:
        autodiff.apply_gradients(self.critic_optimizer, gradients, self.critic_variables)

        def move_actor() -> tf.Tensor:
            autodiff.apply_gradients(
                self.actor_optimizer, actor_gradients, self.actor_variables
            )
            return tf.constant(True)

        tf.cond(due, move_actor, lambda: tf.constant(False))
        self.agent().finish_update(*self._target_and_online())

    def _target_and_online(self) -> tuple[Sequence[tf.Variable], Sequence[tf.Variable]]:
        """Variables of the target networks, and those that they follow, in the same order."""
        return self.target.trainable_variables, self.online.trainable_variables
