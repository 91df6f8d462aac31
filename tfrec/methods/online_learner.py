"""Algorithm 2's outer loop: play a rollout of many sessions, then let the method learn.

All methods of `online` share the loop, one compiled call per iteration: B parallel sessions are
played for T steps each, and a new session replaces one that ends. All state is in variables, so
that a stopped run resumes exactly.
"""

from typing import Any

import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, playing
from tfrec.methods.online import Method, Rollout
from tfrec.methods.online_config import OnlineConfig
from tfrec.ops import nests
from tfrec.training import finite

_TEST_SEED = 20_000  # of the test sessions, the same for every run


class OnlineLearner(tf.Module):
    """Trains a method in a simulator; a `tfrec.training.loop.Learner`.

    Args:
      config: amounts of play, learning and testing.
      simulator: the environment of training.
      method: the method; part of this module, so that its variables are saved.
      seed: seed of the play.
      evaluation: the environment of tests, with other users; the simulator by default.

    Attributes:
      iteration: int64, completed iterations.
      steps: int64, recommendations so far, including those before the first iteration.
      sessions: int64, ended sessions so far, including those before the first iteration.
      total_iterations: iterations of the whole run.
    """

    def __init__(
        self,
        config: OnlineConfig,
        simulator: contract.Simulator,
        method: Method,
        seed: int,
        evaluation: contract.Simulator | None = None,
    ):
        super().__init__(name="online_learner")
        self._evaluation = evaluation or simulator
        self.config, self.method = config, method
        self._simulator, self._seed = simulator, seed
        self.total_iterations = config.total_iterations
        self.iteration = _number(0, tf.int64, "iteration")
        self.steps = _number(method.steps_before, tf.int64, "steps")
        self.sessions = _number(method.sessions_before, tf.int64, "sessions")
        state = simulator.reset(config.sessions, types.seed_pair(seed, -1))
        self._state = [
            tf.Variable(part, trainable=False, name="state") for part in tf.nest.flatten(state)
        ]
        self._structure = lambda parts: tf.nest.pack_sequence_as(state, parts)
        self._user = tf.Variable(tf.range(config.sessions), trainable=False, name="user")
        self._begun = _number(config.sessions, tf.int32, "begun")
        self._iterate = tf.function(self._play_and_learn, autograph=False)
        self._test = tf.function(self._play_tests, autograph=False)

    def advance(self) -> dict[str, Any]:
        """Plays a rollout, passes it to the method and makes updates.

        Raises:
          NonFiniteError: if a loss or a gradient was not finite; with its batch.
        """
        numbers, bad, batch, _ = self._iterate()
        finite.check(self.method.checked, bad, batch)
        return {name: float(number) for name, number in numbers.items()}

    def evaluate(self, sessions: int | None = None) -> dict[str, float]:
        """CTR, reward and length of test sessions, with standard errors.

        Args:
          sessions: number of sessions; that of the configuration by default.
        """
        return playing.rates(self._test(sessions or self.config.test_sessions))

    def _play_tests(self, sessions: int) -> playing.Played:
        return _play_tests(self._evaluation, self.method.greedy, sessions)

    def _play_and_learn(self) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any, Rollout]:
        """Metrics of an iteration, the check and batch of `learn`, and the rollout."""
        config = self.config
        rollout, shown = self._play()
        played = config.sessions * config.rollout_steps
        self.steps.assign_add(played)
        ended = tf.reduce_sum(tf.cast(rollout.done, tf.int64))
        self.sessions.assign_add(ended)
        self.iteration.assign_add(1)
        progress = tf.cast(self.iteration, tf.float32) / config.total_iterations
        self.method.observe(rollout, progress)
        self.method.set_learning_rate(progress)
        ready = self.steps >= config.warm_up
        learned, bad, batch = self.method.learn(tf.where(ready, config.updates, 0))
        numbers = {
            "sessions": self.sessions,
            "play/ctr": tf.reduce_sum(rollout.clicks) / shown,
            "play/reward_per_step": tf.reduce_mean(rollout.reward),
            "steps": self.steps,
        }
        return numbers | learned, bad, batch, rollout

    def _play(self) -> tuple[Rollout, tf.Tensor]:
        """Plays the next rollout; returns it and the number of shown items."""
        config, simulator = self.config, self._simulator
        seed = tf.random.experimental.stateless_fold_in(
            types.seed_pair(self._seed, 0), self.iteration
        )
        shapes: dict[str, tf.TensorShape] = {}

        def advance(t, state, user, started, shown, rows):
            seeds = tf.random.experimental.stateless_split(
                tf.random.experimental.stateless_fold_in(seed, t), 3
            )
            row, outcome = self._step(state, user, seeds)
            shapes.update({name: value.shape for name, value in row.items()})
            done = tf.cast(outcome.done, tf.int32)
            # New sessions have the next numbers, in the order of their columns.
            user = tf.where(outcome.done, started + tf.cumsum(done) - 1, user)
            next_state = contract.restarted(simulator, outcome.state, outcome.done, seeds[2])
            state = nests.shaped(next_state, state)
            started += tf.reduce_sum(done)
            shown += tf.reduce_sum(outcome.shown)
            rows = {name: array.write(t, row[name]) for name, array in rows.items()}
            return t + 1, state, user, started, shown, rows

        state = self._structure([part.read_value() for part in self._state])
        arrays = {
            name: tf.TensorArray(t, config.rollout_steps) for name, t in self._rows().items()
        }
        first = (tf.constant(0), state, self._user.read_value(), self._begun.read_value())
        _, state, user, started, shown, arrays = tf.while_loop(
            lambda t, *_: t < config.rollout_steps, advance, (*first, tf.constant(0.0), arrays)
        )
        for part, value in zip(self._state, tf.nest.flatten(state), strict=True):
            part.assign(value)
        self._user.assign(user)
        self._begun.assign(started)
        columns = {
            name: tf.ensure_shape(array.stack(), [config.rollout_steps, *shapes[name]])
            for name, array in arrays.items()
        }
        no_candidates = dict.fromkeys(("candidates", "next_candidates"))
        return Rollout(**(no_candidates | columns)), shown

    def _step(
        self, state: contract.State, user: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], contract.Outcome]:
        """Takes one step of every session, a row of the rollout."""
        simulator = self._simulator
        timestep = contract.timestep_of(simulator, state, seeds[0], user)
        policy_step = self.method.explore(timestep)
        outcome = simulator.step(state, policy_step.action, seeds[1])
        done = outcome.done
        row = {
            "observation": timestep.observation,
            "action": policy_step.action,
            "info": policy_step.info,
            "reward": outcome.reward,
            "clicks": outcome.clicks,
            # The state of a session that is done is undefined.
            "next_observation": tf.where(
                done[:, None], timestep.observation, simulator.observation(outcome.state)
            ),
            "done": done,
            "user": user,
        }
        if "candidates" in self._rows():
            next_candidates = simulator.candidates(outcome.state)
            row["candidates"] = timestep.candidates
            row["next_candidates"] = tf.where(
                done[:, None, None], timestep.candidates, next_candidates
            )
        return row, outcome

    def _rows(self) -> dict[str, tf.DType]:
        """Columns of a rollout and their types."""
        names = ["observation", "info", "reward", "clicks", "next_observation"]
        types = dict.fromkeys(names, tf.float32)
        types |= {"done": tf.bool, "user": tf.int32}
        types["action"] = tf.int32 if self._simulator.slate_size else tf.float32
        if self._simulator.slate_size and self._simulator.catalogue is None:
            types |= dict.fromkeys(("candidates", "next_candidates"), tf.float32)
        return types


def tested(
    simulator: contract.Simulator, policy: contract.Policy, sessions: int
) -> dict[str, float]:
    """The metrics of `OnlineLearner.evaluate` for any policy, in the same test sessions."""
    return playing.rates(tf.function(_play_tests, autograph=False)(simulator, policy, sessions))


def _play_tests(
    simulator: contract.Simulator, policy: contract.Policy, sessions: int
) -> playing.Played:
    seed = tf.constant([_TEST_SEED, 0], tf.int32)
    return playing.play(simulator, policy, sessions, seed)


def _number(value: int, dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(value, dtype=dtype, trainable=False, name=name)
