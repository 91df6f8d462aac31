"""Deep Dyna-Q (Peng et al., ACL 2018): a DQN that also learns from simulated users.

Each update has three parts:

- direct learning: a DQN (Mnih et al., Nature 2015) learns from real steps of the log and of
  played sessions,
- user model learning: a supervised model of the user's next responses (see `window_user`)
  learns from the same real steps,
- planning: for each real step, the DQN learns from K - 1 simulated ones. They start from real
  states of the replay, with the DQN's actions and the model's responses, and are stored in a
  separate replay, from which (K - 1) / K of a batch is sampled.

Peng et al. simulate complete sessions from their start. Here a simulated session starts at
any real state and lasts `planning_depth` steps: errors of the model accumulate less, and no
simulated user is stepped on after leaving. K = 1 is the plain DQN.

Q(s, a) takes the item as an input, so that the loss costs one item per state and only the
maximum over s' costs all of them. TF-Agents' DqnAgent computes the values of all actions of
s_t and selects one of them in the loss: a gradient through 10,000 candidates, of which one is
not zero. This module therefore has a separate loss. It is the squared error and not Huber's,
which tends to the median of a target that is r + V or, if the user leaves, r: with few exits
the median is insensitive to them, although exits are the main effect to learn.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines import learning, simulated_replay, window_user
from tfrec.baselines.config import DynaQConfig
from tfrec.baselines.network import StateItemNetwork
from tfrec.baselines.simulated_replay import Steps
from tfrec.environments import contract, user_models
from tfrec.ops import autodiff, q_targets, target_networks
from tfrec.replay.transitions import TransitionReplay
from tfrec.training import finite


class Batch(NamedTuple):
    """What an update learns from.

    Attributes:
      steps: B steps that the DQN learns from, real and simulated.
      real: B real steps that the user model learns from.
      seeds: int32 [2, 2], of the auxiliary losses of the DQN and of the user model.
    """

    steps: Steps
    real: Steps
    seeds: tf.Tensor


class DynaQLearner(learning.BaselineLearner):
    """The DQN, its target, its user model and both replays.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      log: training sessions, numpy arrays.
      world: the simulated users, or None to learn from the log alone.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
      seed: of the weights and of all later draws.
    """

    config: DynaQConfig

    def __init__(
        self,
        config: DynaQConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(config, spec, log, world, seed, name="dyna_q")
        sizes = {
            name: getattr(config, name)
            for name in ("embedding", "units", "state", "hidden", "crossed")
        }
        self.network = StateItemNetwork(spec, item_vectors, **sizes)
        # An average over the latest updates: the target and the policy.
        self.target = StateItemNetwork(spec, item_vectors, **sizes, name="target")
        for average, variable in self._pairs():
            average.assign(variable)
        # The replay's discount is 1 while the user stays; the target includes that of `config`.
        self.replay = TransitionReplay(
            spec, config.replay_sessions, n_steps=1, discount=1.0, repeats=self.repeats
        )
        self.user: window_user.WindowUser | None = None
        if config.planning_steps > 1:
            self.user = window_user.WindowUser(spec, item_vectors, sizes)
            self.simulated = simulated_replay.SimulatedReplay(
                spec, config.planning_replay, self.repeats
            )
        self.optimizer = tf_keras.optimizers.Adam(config.learning_rate, global_clipnorm=10.0)
        self.optimizer.build(self.variables_to_train)
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.checked = [
            "TD loss",
            "auxiliary loss",
            "user model loss",
            *(f"gradient of {v.name.removesuffix(':0')}" for v in self.variables_to_train),
        ]
        self.fill(log, config.replay_sessions)

    @property
    def variables_to_train(self) -> list[tf.Variable]:
        user = self.user.trainable_variables if self.user is not None else ()
        return [*self.network.trainable_variables, *user]

    @property
    def run_state(self) -> list[Any]:
        simulated = [] if self.user is None else [self.simulated]
        return [*super().run_state, self.replay, *simulated]

    @property
    def acting(self) -> tf.Module:
        return self.target

    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """Values under the averaged weights."""
        return self.target.all_values(self.target.encode(observation).state)[..., 0]

    def store(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        self.replay.add(episodes, reward)

    def clear(self) -> None:
        self.replay.clear()
        if self.user is not None:
            self.simulated.clear()

    def sample(self) -> Batch:
        """Real steps, and with a user model the steps that planning mixes with them."""
        config = self.config
        seeds = tf.cast(tf.transpose(self.generator.make_seeds(5)), tf.int32)  # [5, 2]
        drawn = self.replay.sample(config.batch, seeds[0])
        steps = real = simulated_replay.real_steps(drawn)
        if self.user is not None:
            steps = tf.cond(
                self.updates >= config.warm_up,
                lambda: self._planned(real, seeds[1], seeds[2]),
                lambda: real,
            )
        return Batch(steps, real, seeds[3:])

    def _update_on(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        config = self.config
        with tf.GradientTape() as tape:
            td_loss, auxiliary, report = self.td_loss(batch.steps, batch.seeds[0])
            user_loss, user_report = self.user_loss(batch.real, batch.seeds[1])
            loss = td_loss + config.auxiliary_weight * auxiliary + user_loss
        gradients = tape.gradient(loss, self.variables_to_train)
        named = dict(
            zip(self.checked, (td_loss, auxiliary, user_loss, *gradients), strict=True)
        )
        bad = finite.guarded(named, lambda: self._apply(gradients))
        return report | user_report, bad

    def td_loss(
        self, steps: Steps, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Half the squared TD error, DIEN's auxiliary loss, and scalars to report."""
        following = self.target.all_values(self.target.encode(steps.next_observation).state)
        choosing = following
        if self.config.double_q:
            state = self.network.encode(steps.next_observation).state
            choosing = self.network.all_values(state)
        target = q_targets.td_target(
            steps.reward,
            self.config.discount * steps.stays,
            following[..., 0],
            choosing[..., 0],
            steps.next_blocked,
        )
        history = self.network.encode(steps.observation)
        value = self.network.values(history.state, steps.item)[:, 0]  # [B]
        loss = 0.5 * tf.reduce_mean(tf.square(value - target))
        auxiliary = self.network.tower.auxiliary_loss(steps.observation, history, seed)
        report = {"td_loss": loss, "value": tf.reduce_mean(value)}
        return loss, auxiliary, report

    def user_loss(
        self, steps: Steps, seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The user model's loss on real steps; 0 without one."""
        if self.user is None:
            return tf.constant(0.0), {}
        answer = window_user.Answer(
            feedback=steps.next_observation.history_feedback[:, -1],
            reward=steps.reward,
            exited=steps.stays == 0.0,
        )
        loss, parts = self.user.loss(steps.observation, steps.item, answer, seed)
        loss += self.config.auxiliary_weight * parts["auxiliary"]
        return loss, {f"user/{name}": value for name, value in parts.items()}

    def _planned(self, real: Steps, plan_seed: tf.Tensor, seed: tf.Tensor) -> Steps:
        """The batch once there is a user model: its share of simulated steps is drawn anew."""
        self.plan(real, plan_seed)
        imagined = self.simulated.sample(self.config.simulated, seed)
        return simulated_replay.each(
            lambda one, other: tf.concat([one[: self.config.real], other], axis=0),
            real,
            imagined,
        )

    def plan(self, real: Steps, seed: tf.Tensor) -> None:
        """Simulates `config.simulated` steps from the states of the first real ones.

        A simulated user who has left or reached the session's cap restarts at the real state.
        """
        config, limit = self.config, self.spec.max_steps
        count = config.simulated // config.planning_depth
        start = simulated_replay.each(lambda x: x[:count], real)
        blocked = None
        if start.next_blocked is not None:  # before the real item was shown
            shown = tf.one_hot(start.item - 1, self.spec.num_candidates, True, False)
            blocked = tf.logical_and(start.next_blocked, tf.logical_not(shown))
        origin = now = (start.observation, blocked)
        for depth in range(config.planning_depth):
            step_seed = tf.random.experimental.stateless_fold_in(seed, depth)
            steps = self._imagine(*now, step_seed)
            self.simulated.add(steps)
            over = tf.logical_or(steps.stays == 0.0, steps.next_observation.step >= limit)
            now = simulated_replay.each(
                lambda again, on: tf.where(_like(over, on), again, on),  # noqa: B023
                origin,
                (steps.next_observation, steps.next_blocked),
            )

    @tf.function(autograph=False)  # traced once for all depths
    def _imagine(
        self, observation: types.Observation, blocked: tf.Tensor | None, seed: tf.Tensor
    ) -> Steps:
        """One step of B simulated users."""
        assert self.user is not None  # nothing is planned without one
        policy = self.explore(tf.constant(self.config.planning_epsilon))
        seeds = tf.random.experimental.stateless_split(seed, 2)
        action = policy(contract.history_timestep(observation, seeds[0], blocked))
        item = contract.item_of(action)
        answer = self.user.answer(observation, item, seeds[1])
        if blocked is not None:
            shown = tf.one_hot(item - 1, self.spec.num_candidates, True, False)
            blocked = tf.logical_or(blocked, shown)
        return Steps(
            observation,
            item,
            answer.reward,
            window_user.shifted(observation, item, answer.feedback),
            tf.cast(tf.logical_not(answer.exited), tf.float32),
            blocked,
        )

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        autodiff.apply_gradients(self.optimizer, gradients, self.variables_to_train)
        self.updates.assign_add(1)
        target_networks.soft_update(
            self.target.trainable_variables,
            self.network.trainable_variables,
            1.0 - self.config.averaging,
        )

    def _pairs(self):
        return zip(
            self.target.trainable_variables, self.network.trainable_variables, strict=True
        )


def _like(flag: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Flags [B] with as many axes as the value [B, ...]."""
    return tf.reshape(flag, [-1] + [1] * (len(value.shape) - 1))
