"""GoalRec's learner: from a log alone, or by playing and learning in turn."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf
import tf_keras

from tfgoalrec import acting, calibration, goals, relabel
from tfgoalrec.agent import GoalRecAgent
from tfrec import types
from tfrec.environments import contract, playing, user_models, users
from tfrec.replay.episodes import EpisodeReplay, Rows
from tfrec.training import finite, schedule

_HELD_OUT_SEED = 11
_HELD_OUT = 4096  # largest number of held-out sessions of the log
# Held-out sessions are cut into blocks, and steps of each are drawn in a calibration.
_BLOCKS = 16
_BLOCK_STEPS = 2048


class Batch(NamedTuple):
    """The input of an update: B steps, and the seeds of its draws, int32 [2, 2]."""

    transition: relabel.Transition
    seeds: tf.Tensor


class GoalRecLearner(tf.Module):
    """GoalRec with its replay; an iteration is one round.

    Without a world it learns from the log alone (GoalRec-off). With one it follows
    Algorithm 1: play sessions under a goal, store them, update.

    The replay starts with the log's sessions, and the first rounds learn from them.

    Args:
      agent: the agent to train.
      log: training sessions.
      world: the simulated users, or None for GoalRec-off.
    """

    def __init__(
        self,
        agent: GoalRecAgent,
        log: types.Episodes,
        world: user_models.UserModel | None = None,
    ):
        super().__init__(name="goalrec_learner")
        config = agent.config
        self.agent = agent
        environment = None
        if world is not None:
            environment = users.UserEnvironment(world, user_models.starts_of(log))
        # Wrapped in functions, so that checkpoints of the learner do not include the world.
        self._world = lambda: world
        self._environment = lambda: environment
        self.total_iterations = config.log_rounds + (config.play_rounds if world else 0)
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False, name="iteration")
        self._store(log)

    def _store(self, log: types.Episodes) -> None:
        """Makes the replays, with the log, and sets what depends on its measurements."""
        agent, config = self.agent, self.agent.config
        self.replay = EpisodeReplay(agent.spec, config.replay_sessions, agent.measurements.dim)
        self.held_out: EpisodeReplay | None = None
        if config.far_windows == "calibrated":
            log = self._hold_out(log)
        if self.held_out is not None or config.far_windows == "exit":
            calibration.prepare(agent.averaged, agent.measurements)
        if config.far_windows == "exit":
            agent.averaged.slope.assign(calibration.exit_alone(agent.measurements))
        self._fill(self.replay, log)

    def _hold_out(self, log: types.Episodes) -> types.Episodes:
        """Fills `held_out` with a random share of the log, and returns the other sessions."""
        uniform = np.random.default_rng(_HELD_OUT_SEED).random(len(log.length))
        is_held_out = uniform < self.agent.config.held_out
        if not is_held_out.any() or is_held_out.all():
            return log
        held_out, training = (types.rows(log, rows) for rows in (is_held_out, ~is_held_out))
        capacity = min(len(held_out.length), _HELD_OUT)
        self.held_out = EpisodeReplay(self.agent.spec, capacity, self.agent.measurements.dim)
        self._fill(self.held_out, held_out)
        return training

    def _fill(self, replay: EpisodeReplay, log: types.Episodes, block: int = 2048) -> None:
        """Stores the log's sessions; if not all fit, the last ones are stored."""
        measure = tf.function(self._reported, reduce_retracing=True, autograph=False)
        for start in range(max(0, len(log.length) - replay.capacity), len(log.length), block):
            part = types.constants(types.rows(log, slice(start, start + block)))
            label = measure(part)
            replay.add(part, label, tf.zeros([len(label), self.agent.measurements.dim]))

    def _reported(self, episodes: types.Episodes) -> tf.Tensor:
        """Measurements of logged or played sessions as this world reports them, [B, T, M].

        Observations hold the true feedback; some worlds report it late to the learner.
        """
        reported = user_models.observed(self._world(), episodes)
        return self.agent.measurements.standardised(reported)

    @property
    def optimizers(self) -> Sequence[tf_keras.optimizers.Optimizer]:
        """All optimisers."""
        return [self.agent.optimizer]

    @property
    def run_state(self) -> list[Any]:
        """Modules and variables of one run and its data, which a warm start does not copy."""
        held_out = [] if self.held_out is None else [self.held_out]
        return [self.iteration, self.agent.generator, self.replay, *held_out]

    @property
    def no_warm_start(self) -> str:
        """Why learning cannot start from an agent of another log; empty if it can."""
        return self.agent.config.no_new_items

    def warm_started(self, log: types.Episodes) -> None:
        """Adapts to copied weights: measurements keep the statistics of the start.

        Args:
          log: training sessions, which the learner holds already.
        """
        self.agent.set_goals()
        self._store(log)

    @property
    def acting(self) -> tf.Module:
        """The world model whose weights `policy` reads: the averaged one."""
        return self.agent.averaged

    def policy(self) -> contract.Policy:
        """Returns the policy for evaluation: greedy for the first named goal, the target."""
        return acting.greedy(self.agent.averaged, next(iter(self.agent.named_goals.values())))

    def advance(self) -> dict[str, float | np.ndarray]:
        """Runs one round of play (with a world) and updates."""
        logs: dict[str, float | np.ndarray] = {}
        config, iteration = self.agent.config, int(self.iteration)
        self.agent.learning_rate.assign(schedule.learning_rate(config, iteration))
        if self._world() is not None and iteration >= config.log_rounds:
            if iteration == config.log_rounds and not config.keep_log:
                self.replay.clear()
            played = (iteration - config.log_rounds) / config.play_rounds
            fall = (
                1.0 - played / config.goal_epsilon_share if config.goal_epsilon_share else 0.0
            )
            epsilon = tf.constant(config.goal_epsilon * max(0.0, fall))
            logs |= {name: float(x) for name, x in self._play(epsilon).items()}
        report, first_bad, batch = self._learn(tf.constant(config.updates_per_round))
        finite.check(self.agent.checked, first_bad, batch)
        self.iteration.assign_add(1)
        if self.held_out is not None and iteration < config.log_rounds:
            self._calibrate()
        logs |= {
            f"slope/{column}": float(slope)
            for column, slope in zip(
                self.agent.measurements.columns, self.agent.averaged.slope.numpy(), strict=True
            )
        }
        for name, tensor in report.items():
            value = tensor.numpy()
            if name in ("error", "sigma"):  # [J], one number for each measurement
                pairs = zip(self.agent.measurements.names, value.tolist(), strict=True)
                logs |= {f"{name}/{measurement}": number for measurement, number in pairs}
            else:
                logs[name if value.ndim == 0 else f"hist/{name}"] = value
        return logs

    @tf.function(autograph=False)
    def _play(self, goal_epsilon: tf.Tensor) -> dict[str, tf.Tensor]:
        """Plays one session for each of a random set of starts (Algorithm 1, lines 3-7)."""
        agent, config = self.agent, self.agent.config
        batch = config.sessions_per_round
        seeds = tf.cast(tf.transpose(agent.generator.make_seeds(5)), tf.int32)  # [5, 2]
        # Only called with a world.
        environment = cast(users.UserEnvironment, self._environment())
        starts = environment.random_starts(batch, seeds[0])
        coin = tf.random.stateless_uniform([batch, 1], seeds[1]) < goal_epsilon
        # All named goals are targets, because one model serves them all.
        named = tf.constant(np.stack(list(agent.named_goals.values())))  # [G, M]
        target = tf.gather(named, tf.range(batch) % tf.shape(named)[0])
        goal = tf.where(coin, goals.random(agent.measurements, batch, seeds[2]), target)
        policy = acting.explore(agent.averaged, goal, config.action_epsilon, config.action_pool)
        episodes = playing.rollout(environment, policy, starts, seeds[4])
        self.replay.add(episodes, self._reported(episodes), goal)
        clicks = tf.reduce_sum(episodes.feedback[..., 0], axis=1)  # [B]
        return {
            "play/reward_clicks": tf.reduce_mean(clicks),
            "play/depth_steps": tf.reduce_mean(tf.cast(episodes.length, tf.float32)),
            "play/random_goals": goal_epsilon,
        }

    @tf.function(autograph=False)
    def _calibrate(self) -> None:
        """Sets the slopes of advantages by regression on the log's held-out sessions."""
        agent = self.agent
        seeds = tf.cast(tf.transpose(agent.generator.make_seeds(2)), tf.int32)
        dtypes = calibration.Moments(tf.float32, tf.float32)
        blocks = tf.map_fn(
            lambda block: self._block_moments(block, seeds),
            tf.range(_BLOCKS, dtype=tf.int64),
            fn_output_signature=dtypes,
            parallel_iterations=1,  # memory is that of one block
        )
        agent.averaged.slope.assign(calibration.slope(blocks, agent.measurements))

    def _block_moments(self, block: tf.Tensor, seeds: tf.Tensor) -> calibration.Moments:
        """Moments of random steps of one block of the held-out sessions, each float [M]."""
        assert self.held_out is not None
        agent, size = self.agent, self.held_out.size
        first, end = block * size // _BLOCKS, (block + 1) * size // _BLOCKS
        number = tf.random.stateless_uniform(
            [_BLOCK_STEPS],
            tf.random.experimental.stateless_fold_in(seeds[0], block),
            first,
            tf.maximum(end, first + 1),
            tf.int64,
        )
        rows = self.held_out.rows(number)
        target = tf.cast(next(iter(agent.named_goals.values())), tf.float32)  # [M]
        goal = tf.repeat(target[None], _BLOCK_STEPS, axis=0)
        rows = rows._replace(label=self._target(self.held_out, rows, goal))
        return calibration.measure(agent.averaged, rows, goal, seeds[1])

    def _target(self, replay: EpisodeReplay, rows: Rows, goal: tf.Tensor) -> tf.Tensor:
        """Targets of steps of a replay under these goals, float [B, M]."""
        steps = self.agent.config.bootstrap_steps
        if not steps:
            return rows.label
        return self.agent.bootstrapped(rows.label, goal, *replay.later(rows, steps))

    def sample(self) -> Batch:
        """Draws a relabelled batch of the replay and the seeds of its update. Graph code."""
        seed = tf.cast(self.agent.generator.make_seeds(1)[:, 0], tf.int32)
        rows = self.replay.sample(self.agent.config.batch, seed)
        batch = self.agent.transition(rows)
        target = self._target(self.replay, rows, batch.goal)
        return Batch(batch._replace(measurement=target), self.agent.seeds())

    def update_on(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Makes one update; see `GoalRecAgent.update`."""
        return self.agent.update(*batch)

    @tf.function(autograph=False)
    def _learn(self, updates: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Batch]:
        """Makes updates on batches from the replay in one graph; see `schedule.repeat`."""
        return schedule.repeat(self._update, updates)

    @tf.function(autograph=False)
    def _update(self, number: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Batch]:
        del number  # all updates are the same
        batch = self.sample()
        return *self.update_on(batch), batch
