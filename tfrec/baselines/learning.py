"""The learner of a baseline, which learns from the log and then alternates play and learning.

The schedule equals GoalRec's, so that comparisons of methods use the same sessions of the log
and the same numbers of played sessions and of updates.
"""

import abc
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines.config import BaselineConfig, ScheduleConfig
from tfrec.environments import contract, playing, user_models, users
from tfrec.nn import item_embedding
from tfrec.ops import selection, target_networks
from tfrec.training import finite, schedule


class BaselineLearner(tf.Module, abc.ABC):
    """A baseline with its replay; an iteration is one round.

    A subclass builds its networks and its replay and then calls `fill`. All its state is
    reachable variables, except objects that functions return.

    Args:
      config: the method's options.
      spec: the log's spec.
      log: training sessions, numpy arrays.
      world: the simulated users, or None to learn from the log alone.
      seed: seed of the weights and of all random numbers.
      name: the module's name.

    Attributes:
      repeats: whether an item may be shown twice in a session.
      fixed_items: why a trained agent cannot rank other items than those of its log; empty
        if it can, by features.
      no_warm_start: why learning cannot start from an agent of another log; empty if it can.
    """

    fixed_items: str = ""
    no_warm_start: str = ""

    # Names of the tensors whose finiteness `update` checks, in its order.
    checked: Sequence[str]

    def __init__(
        self,
        config: ScheduleConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        seed: int,
        name: str,
    ):
        super().__init__(name=name)
        self.config, self.spec = config, spec
        tf_keras.utils.set_random_seed(seed)
        environment = None
        if world is not None:
            environment = users.UserEnvironment(world, user_models.starts_of(log))
        # Functions, so that checkpoints do not include the world and the log.
        self._world = lambda: world
        self._environment = lambda: environment
        self.repeats = user_models.repeats(world, log)
        self.total_iterations = config.log_rounds + (config.play_rounds if world else 0)
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False, name="iteration")
        self.generator = tf.random.Generator.from_seed(seed)
        self.other_weights: list[tf.Variable] = []

    # To be implemented by a method.

    @abc.abstractmethod
    def store(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        """Adds B sessions to the replay. Graph code.

        Args:
          episodes: sessions with their true feedback, from which states are computed.
          reward: float [B, T], the reward as reported to the learner, which may be delayed;
            0 in padding.
        """

    @abc.abstractmethod
    def clear(self) -> None:
        """Removes all stored sessions."""

    @abc.abstractmethod
    def sample(self) -> Any:
        """Samples all random inputs of an update. Graph code.

        Returns:
          The batch: a nest of tensors, including the seeds of the update. A run saves it if a
          tensor is not finite, so `update_on` must be a function of it.
        """

    @abc.abstractmethod
    def _update_on(self, batch: Any) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """One gradient step on a batch, through `finite.guarded`; see `update_on`."""

    @abc.abstractmethod
    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """Scores of the candidates. Graph code.

        Args:
          observation: B states.
          blocked: bool [B, A] or None, candidates that may not be shown.

        Returns:
          float [B, A], column i for item i + 1; minus infinity for items that the method
          excludes in a state.
        """

    def policy(self) -> contract.Policy:
        """The evaluated policy: greedy, without exploration."""

        def policy(timestep: contract.Timestep) -> tf.Tensor:
            scores = self.scores(contract.history_of(timestep), timestep.blocked)
            return contract.action_of(selection.best_item(scores, timestep.blocked))

        return policy

    def playing(self) -> contract.Policy:
        """The policy of play without random actions: greedy, or a method's exploration."""
        return self.policy()

    def explore(self, epsilon: tf.Tensor) -> contract.Policy:
        """The policy of play with random actions.

        Args:
          epsilon: float scalar, share of steps with a random item.
        """
        playing = self.playing()

        def policy(timestep: contract.Timestep) -> tf.Tensor:
            seeds = tf.random.experimental.stateless_split(timestep.seed, 3)
            item = contract.item_of(playing(timestep._replace(seed=seeds[0])))
            coin = tf.random.stateless_uniform(tf.shape(item), seeds[2]) < epsilon
            rows = tf.where(coin)[:, 0]  # [b]
            blocked = None if timestep.blocked is None else tf.gather(timestep.blocked, rows)
            explored = self._explored(timestep, rows, blocked, seeds[1])
            item = tf.tensor_scatter_nd_update(item, rows[:, None], explored)
            return contract.action_of(item)

        return policy

    def _explored(
        self,
        timestep: contract.Timestep,
        rows: tf.Tensor,
        blocked: tf.Tensor | None,
        seed: tf.Tensor,
    ) -> tf.Tensor:
        """Random items of some sessions, from all items or from the best by their scores.

        Args:
          timestep: B sessions.
          rows: int64 [b], the sessions that explore.
          blocked: bool [b, A] or None, of these sessions.
          seed: int32 [2].

        Returns:
          int32 [b], dense item ids.
        """
        items, pool = self.spec.num_candidates, self.config.action_pool
        if pool == 1.0:
            return selection.random_item(tf.size(rows), items, blocked, seed)
        observation = tf.nest.map_structure(
            lambda x: tf.gather(x, rows), contract.history_of(timestep)
        )
        scores = self.scores(observation, blocked)  # [b, A]
        barred = ~tf.math.is_finite(scores)
        if blocked is not None:
            all_barred = tf.reduce_all(barred | blocked, axis=1, keepdims=True)
            barred = blocked | (barred & ~all_barred)
        scores = tf.where(tf.math.is_finite(scores), scores, 0.0)
        return selection.random_good_item(
            scores, barred, selection.pool_size(pool, items), seed
        )

    def scheduled_optimizers(self) -> Sequence[tuple[tf_keras.optimizers.Optimizer, float]]:
        """Optimisers with a scheduled learning rate, and their share of that rate.

        Each has a separate variable of its rate, because an optimiser copies a given variable
        and ignores later assignments to it.
        """
        return [(self.optimizer, 1.0)]

    @property
    def optimizers(self) -> Sequence[Any]:
        """All optimisers."""
        return [optimizer for optimizer, _ in self.scheduled_optimizers()]

    @property
    def run_state(self) -> list[Any]:
        """Modules and variables of one run and its data, which a warm start does not copy."""
        return [self.iteration, self.generator]

    def warm_started(self, log: types.Episodes) -> None:  # noqa: B027  nothing by default
        """Adapts to copied weights after a warm start.

        Args:
          log: training sessions, which the learner holds already.
        """

    # Common to all methods.

    @property
    def updates_per_round(self) -> int:
        """Calls of `update` in a round."""
        return cast(BaselineConfig, self.config).updates_per_round

    def fill(self, log: types.Episodes, capacity: int, block: int = 1024) -> None:
        """Stores the log's sessions; if there are more than the capacity, the last ones."""
        for start in range(max(0, len(log.length) - capacity), len(log.length), block):
            part = types.constants(types.rows(log, slice(start, start + block)))
            self._store(part)

    @tf.function(reduce_retracing=True, autograph=False)
    def _store(self, episodes: types.Episodes) -> None:
        """Stores logged or played sessions with the reward that this world reports."""
        self.store(episodes, user_models.observed(self._world(), episodes).feedback[..., 0])

    def average_weights(self) -> None:
        """Prepares the average of the acting weights; to be called once they exist."""
        config = cast(BaselineConfig, self.config)
        if not config.averaging:
            return
        self.other_weights = [
            tf.Variable(variable, trainable=False, name=f"other_weights_{number}")
            for number, variable in enumerate(self.acting.trainable_variables)
        ]
        self.averaged_updates = tf.Variable(0.0, trainable=False, name="averaged_updates")
        self.no_warm_start = (
            f"averaging is {config.averaging}, and a new item has no latest weights beside "
            "averaged ones; expected averaging=0"
        )

    def _exchange_weights(self) -> None:
        """Exchanges the averaged for the latest weights, or back. Graph code."""
        for acting, other in zip(
            self.acting.trainable_variables, self.other_weights, strict=True
        ):
            value = tf.identity(acting)
            acting.assign(other)
            other.assign(value)

    def advance(self) -> dict[str, float | np.ndarray]:
        """Runs one round of updates, after play if the rounds on the log are over."""
        config, iteration = self.config, int(self.iteration)
        for optimizer, share in self.scheduled_optimizers():
            rate = schedule.learning_rate(cast(schedule.Schedule, config), iteration)
            optimizer.learning_rate.assign(share * rate)
        logs: dict[str, float | np.ndarray] = {}
        if self._world() is not None and iteration >= config.log_rounds:
            if iteration == config.log_rounds and not config.keep_log:
                self.clear()
            played = (iteration - config.log_rounds) / max(1, config.play_rounds - 1)
            epsilon = config.action_epsilon + played * (
                config.action_epsilon_end - config.action_epsilon
            )
            results = self._play(tf.constant(epsilon))
            logs |= {name: float(value) for name, value in results.items()}
        learned, bad, batch = self._learn(tf.constant(self.updates_per_round))
        finite.check(self.checked, bad, batch)
        self.iteration.assign_add(1)
        return logs | {name: float(value) for name, value in learned.items()}

    @tf.function(autograph=False)
    def _play(self, epsilon: tf.Tensor) -> dict[str, tf.Tensor]:
        """Plays one session for each of a random set of starts."""
        # Only called with a world.
        environment = cast(users.UserEnvironment, self._environment())
        seeds = tf.cast(tf.transpose(self.generator.make_seeds(2)), tf.int32)  # [2, 2]
        starts = environment.random_starts(self.config.sessions_per_round, seeds[0])
        episodes = playing.rollout(environment, self.explore(epsilon), starts, seeds[1])
        self._store(episodes)
        clicks = tf.reduce_sum(episodes.feedback[..., 0], axis=1)  # [B]
        return {
            "play/reward_clicks": tf.reduce_mean(clicks),
            "play/depth_steps": tf.reduce_mean(tf.cast(episodes.length, tf.float32)),
            "play/random_actions": epsilon,
        }

    def update_on(self, batch: Any) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Makes one gradient step on a batch. Graph code.

        If the networks read features of items, the ids of some items are dropped.

        Args:
          batch: result of `sample`.

        Returns:
          Scalars to report; and the index in `checked` of the first tensor that is not
          finite, or -1. If there is one, no variable changes.
        """
        if not isinstance(self.config, BaselineConfig):
            return self._update_on(batch)
        step = self.scheduled_optimizers()[0][0].iterations
        with item_embedding.dropping(self, self.config.id_dropout, step):
            return self._update_on(batch)

    def update(self) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        """Makes one gradient step on a batch of the replay; see `update_on`. Graph code.

        Returns:
          Scalars to report, the index of the first tensor that is not finite or -1, and the
          batch.
        """
        batch = self.sample()
        return *self.update_on(batch), batch

    @tf.function(autograph=False)
    def _learn(self, updates: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        """Updates inside one graph; see `schedule.repeat`."""
        if not self.other_weights:
            return schedule.repeat(self._update, updates)
        self._exchange_weights()
        result = schedule.repeat(self._update, updates)
        self._exchange_weights()
        return result

    @tf.function(autograph=False)
    def _update(self, number: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        del number  # has no effect
        result = self.update()
        if self.other_weights:
            self.averaged_updates.assign_add(1.0)
            target_networks.average_update(
                self.other_weights,
                self.acting.trainable_variables,
                cast(BaselineConfig, self.config).averaging,
                self.averaged_updates,
            )
        return result
