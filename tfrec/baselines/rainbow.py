"""Rainbow (Hessel et al., AAAI 2018) for recommendation: TF-Agents' C51 and five extensions.

- distributional: C51 (Bellemare et al. 2017), TF-Agents' `CategoricalDqnAgent`,
- double Q-learning: the online network selects the next item, the target evaluates it,
- prioritized replay, by the divergence of a step's distribution from its target,
- duelling and noisy networks, see `rainbow_network`,
- n-step returns, from the replay.

Each has a switch; without all of them the method is DQN. TF-Agents' loss computes the
distributions of all actions of s_t and selects one; with 10,000 items that is a gradient
through half a million logits per state, of which 51 are not zero. Here an item is an input, and
the loss computes the distribution of the shown item.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from tf_agents.agents import tf_agent
from tf_agents.agents.categorical_dqn import categorical_dqn_agent
from tf_agents.networks import network as tf_agents_network
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step

from tfrec import types
from tfrec.baselines.config import RainbowConfig
from tfrec.baselines.learning import BaselineLearner
from tfrec.baselines.rainbow_network import RainbowNetwork
from tfrec.environments import contract, user_models
from tfrec.ops import autodiff, q_targets, selection
from tfrec.replay.prioritized import PriorityConfig
from tfrec.replay.transitions import TransitionReplay, Transitions
from tfrec.training import finite


class LogitsNetwork(tf_agents_network.Network):
    """A `RainbowNetwork` as TF-Agents sees one: from observations to all logits."""

    def __init__(self, inner: RainbowNetwork, observation_spec: Any, name: str):
        super().__init__(observation_spec, (), name)
        self.inner = inner

    @property
    def num_atoms(self) -> int:
        return self.inner.outputs

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        return self.inner.trainable_variables

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        return self.inner.trainable_variables

    def call(
        self,
        observation: types.Observation,
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tf.Tensor, Any]:
        return self.inner.all_values(self.inner.encode(observation).state), network_state


class Batch(NamedTuple):
    """What an update learns from.

    Attributes:
      transitions: B transitions.
      seeds: int32 [2] each: `auxiliary`, of DIEN's loss; and where networks are noisy, of
        one pass each, `target` and `online`, and with double Q `choosing`.
    """

    transitions: Transitions
    seeds: dict[str, tf.Tensor]


class RainbowLoss(NamedTuple):
    """What an update knows beside its loss.

    Attributes:
      td_loss: float [B], before the importance weights.
      td_error: float [B], error from which a step's priority is computed.
      auxiliary: scalar, DIEN's.
      value: scalar, mean value of the items shown.
    """

    td_loss: tf.Tensor
    td_error: tf.Tensor
    auxiliary: tf.Tensor
    value: tf.Tensor


class RainbowAgent(categorical_dqn_agent.CategoricalDqnAgent):
    """TF-Agents' C51 with the item as an input and the double-Q choice of the next one.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      online: learns.
      target: trails it; of the same shape.
      optimizer: built for the online network.
      generator: of the noise.
      updates: counts updates.
    """

    def __init__(
        self,
        config: RainbowConfig,
        spec: types.DataSpec,
        online: RainbowNetwork,
        target: RainbowNetwork,
        optimizer: tf_keras.optimizers.Optimizer,
        generator: tf.random.Generator,
        updates: tf.Variable,
    ):
        observation = observation_spec(spec)
        support = online.support.numpy()
        super().__init__(
            time_step.time_step_spec(observation),
            tensor_spec.BoundedTensorSpec([], tf.int32, 0, spec.num_candidates - 1),
            LogitsNetwork(online, observation, "online"),
            optimizer,
            min_q_value=float(support[0]),
            max_q_value=float(support[-1]),
            target_categorical_q_network=LogitsNetwork(target, observation, "target"),
            target_update_tau=config.tau,
            target_update_period=config.target_period,
            train_step_counter=updates,
        )
        self.config, self.generator = config, generator
        self.online, self.target = online, target

    @property
    def checked(self) -> list[str]:
        """Names of the tensors that must stay finite, in the order of `update`."""
        names = [v.name.removesuffix(":0") for v in self.online.trainable_variables]
        return ["TD loss", "auxiliary loss", *(f"gradient of {name}" for name in names)]

    def seeds(self) -> dict[str, tf.Tensor]:
        """The seeds of an update's draws; see `Batch`. Graph code."""
        names = ["auxiliary"]
        if self.config.noisy:
            choosing = ["choosing"] if self.config.double_q else []
            names = ["target", *choosing, "online", *names]
        return {name: tf.cast(self.generator.make_seeds(1)[:, 0], tf.int32) for name in names}

    def update(self, batch: Batch) -> tuple[tf_agent.LossInfo, tf.Tensor]:
        """One gradient step, and one of the target. Graph code.

        Returns:
          The loss, with a `RainbowLoss`; and the index in `checked` of the first tensor
          that is not finite, or -1. Where there is one, no weight moves.
        """
        variables = self.online.trainable_variables
        with tf.GradientTape() as tape:
            info = self._loss(batch, weights=batch.transitions.weight)
        gradients = tape.gradient(info.loss, variables)
        td_loss = tf.reduce_mean(info.extra.td_loss)
        named = dict(
            zip(self.checked, (td_loss, info.extra.auxiliary, *gradients), strict=True)
        )
        return info, finite.guarded(named, lambda: self._apply(gradients))

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        variables = self.online.trainable_variables
        autodiff.apply_gradients(self._optimizer, gradients, variables)
        self.train_step_counter.assign_add(1)
        self._update_target()

    def _loss(
        self, experience: Batch, weights: tf.Tensor | None = None, **unused: Any
    ) -> tf_agent.LossInfo:
        """The loss of B transitions; TF-Agents' other arguments have no part in it."""
        steps, seeds = experience.transitions, experience.seeds
        after = (steps.next_observation, steps.next_blocked)
        following = time_step.TimeStep((), steps.reward, steps.discount, after)
        target = self._next_target(following, seeds)
        history = self.online.encode(steps.observation)
        logits = self.online.logits(history.state, steps.item, seeds.get("online"))  # [B, K]
        if self.config.atoms == 1:
            value = logits[:, 0]
            td_error = value - target
            # Huber's loss tends to the median of r + V or, after an exit, r: few exits
            # would be no news. The square tends to the mean.
            td_loss = 0.5 * tf.square(td_error)
        else:
            value = q_targets.expected(tf.stop_gradient(logits), self.online.support)
            td_loss = td_error = q_targets.divergence(target, logits)
        auxiliary = self.online.tower.auxiliary_loss(
            steps.observation, history, seeds["auxiliary"]
        )
        loss = tf.reduce_mean(td_loss if weights is None else weights * td_loss)
        return tf_agent.LossInfo(
            loss + self.config.auxiliary_weight * auxiliary,
            RainbowLoss(td_loss, td_error, auxiliary, tf.reduce_mean(value)),
        )

    def _next_target(
        self, following: time_step.TimeStep, seeds: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        """Of the return: its distribution, float [B, K], or with one atom its mean, [B]."""
        observation, blocked = following.observation
        if self.config.atoms == 1:
            state = self.target.encode(observation).state
            values = self.target.scores(state, seeds.get("target"))
            choosing = self._choosing(observation, seeds) if self.config.double_q else values
            return q_targets.td_target(
                following.reward, following.discount, values, choosing, blocked
            )
        return q_targets.projected(
            following.reward,
            q_targets.bootstrap_discount(following.discount, blocked),
            self._next_q_distribution(following, seeds),
            self.online.support,
        )

    def _next_q_distribution(
        self, next_time_steps: time_step.TimeStep, seeds: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        """The target's distribution for the next item, float [B, K].

        Args:
          next_time_steps: their observation is a pair, an `Observation` and what is
            blocked, bool [B, A] or None.
          seeds: of the noise, see `Batch`.
        """
        observation, blocked = next_time_steps.observation
        state, noise = self.target.encode(observation).state, seeds.get("target")
        if self.config.double_q:
            choosing = self._choosing(observation, seeds)
        else:
            choosing = self.target.scores(state, noise)
        item = selection.best_item(choosing, blocked)
        return tf.nn.softmax(self.target.logits(state, item, noise))

    def _choosing(
        self, observation: types.Observation, seeds: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        """The online network's values of all candidates, with separate noise."""
        return self.online.scores(self.online.encode(observation).state, seeds.get("choosing"))


class RainbowLearner(BaselineLearner):
    """Rainbow with its replay; arguments as in `BaselineLearner`.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      log: training sessions, numpy arrays.
      world: the simulated users, or None to learn from the log alone.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
      seed: of the weights and of all later draws.
    """

    config: RainbowConfig

    def __init__(
        self,
        config: RainbowConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(config, spec, log, world, seed, "rainbow")
        self.online = self._network(log, item_vectors, "online")
        self.target = self._network(log, item_vectors, "target")
        for one, other in zip(self.target.variables, self.online.variables, strict=True):
            one.assign(other)
        self.optimizer = tf_keras.optimizers.Adam(config.learning_rate, global_clipnorm=10.0)
        self.optimizer.build(self.online.trainable_variables)
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.agent = RainbowAgent(
            config,
            spec,
            self.online,
            self.target,
            self.optimizer,
            self.generator,
            self.updates,
        )
        self.checked = self.agent.checked
        self.replay = TransitionReplay(
            spec,
            config.replay_sessions,
            n_steps=config.n_steps,
            discount=config.discount,
            repeats=self.repeats,
            priority=self._priority() if config.prioritized else None,
        )
        self.average_weights()
        self.fill(log, config.replay_sessions)

    def _network(
        self, log: types.Episodes, item_vectors: np.ndarray, name: str
    ) -> RainbowNetwork:
        config = self.config
        v_max = config.v_max or max(
            config.v_min + 1.0, q_targets.highest_return(log, config.discount)
        )
        sizes = ("embedding", "units", "state", "hidden", "crossed")
        return RainbowNetwork(
            self.spec,
            item_vectors,
            {size: getattr(config, size) for size in sizes},
            np.linspace(config.v_min, v_max, config.atoms),
            dueling=config.dueling,
            tilted=config.tilted,
            noise=config.noise if config.noisy else 0.0,
            name=name,
        )

    def _priority(self) -> PriorityConfig:
        return PriorityConfig(
            alpha=self.config.priority_exponent,
            beta=self.config.priority_correction,
            beta_draws=self.total_iterations * self.config.updates_per_round,
        )

    @property
    def run_state(self) -> list[Any]:
        return [*super().run_state, self.replay]

    @property
    def acting(self) -> tf.Module:
        return self.online

    def store(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        self.replay.add(episodes, reward)

    def clear(self) -> None:
        self.replay.clear()

    def sample(self) -> Batch:
        seed = tf.cast(self.generator.make_seeds(1)[:, 0], tf.int32)
        return Batch(self.replay.sample(self.config.batch, seed), self.agent.seeds())

    @tf.autograph.experimental.do_not_convert  # it takes longer to convert than to trace
    def _update_on(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        info, bad = self.agent.update(batch)

        def reprioritise() -> tf.Operation:
            self.replay.reprioritise(batch.transitions.cell, info.extra.td_error)
            return tf.no_op()

        tf.cond(bad < 0, reprioritise, tf.no_op)
        report = {
            "td_loss": tf.reduce_mean(info.extra.td_loss),
            "auxiliary_loss": info.extra.auxiliary,
            "value": info.extra.value,
        }
        return report, bad

    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """Expected returns, without noise."""
        return self.online.scores(self.online.encode(observation).state)

    def playing(self) -> contract.Policy:
        """With noisy networks, greedy with separate noise for each user and step."""
        if not self.config.noisy:
            return self.policy()

        def policy(timestep: contract.Timestep) -> tf.Tensor:
            state = self.online.encode(contract.history_of(timestep)).state
            scores = self.online.scores(state, timestep.seed)
            return contract.action_of(selection.best_item(scores, timestep.blocked))

        return policy


def observation_spec(spec: types.DataSpec) -> types.Observation:
    """Observations as TF-Agents describes them, without the batch."""
    length, columns = spec.history_length, len(spec.feedback)
    return types.Observation(
        tensor_spec.BoundedTensorSpec([length], tf.int32, 0, spec.num_items, "history_item"),
        tensor_spec.BoundedTensorSpec(
            [length, columns], tf.float32, 0.0, 1.0, "history_feedback"
        ),
        tensor_spec.BoundedTensorSpec([], tf.int32, 0, spec.max_steps, "step"),
        _context_values_spec(spec.state_features),
    )


def _context_values_spec(
    sizes: types.FeatureSpec | None,
) -> tensor_spec.BoundedTensorSpec | tuple[()]:
    if sizes is None:
        return ()
    return tensor_spec.BoundedTensorSpec(
        [sizes.slots], tf.int32, 0, sizes.values, "context_values"
    )
