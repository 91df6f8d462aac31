"""Algorithm 2's outer loop: play some steps of many sessions, hand them over, let it learn.

One loop for every method of `online`, compiled into one call an iteration: B sessions side by
side are played for T steps each; where one ends, a new one begins in its place. All state is in
variables, so that a run that was stopped goes on exactly.
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
    """A method at work in a simulator; a `tfrec.training.loop.Learner`.

    Args:
      config: how much of everything.
      simulator: the environment.
      method: who learns; part of this module, so its variables are saved with it.
      seed: of the play.
      evaluation: where tests are played, with users of their own; the simulator by default.

    Attributes:
      iteration: int64, iterations done.
      steps: int64, recommendations made so far, those before the first iteration included.
      sessions: int64, sessions that have ended so far, those before the first included.
      total_iterations: of the whole run.
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
        self.steps = _number(getattr(method, "steps_before", 0), tf.int64, "steps")
        self.sessions = _number(getattr(method, "sessions_before", 0), tf.int64, "sessions")
        state = simulator.reset(config.sessions, types.seed_pair(seed, -1))
        self._state = [
            tf.Variable(part, trainable=False, name="state") for part in tf.nest.flatten(state)
        ]
        self._structure = lambda parts: tf.nest.pack_sequence_as(state, parts)
        self._user = tf.Variable(tf.range(config.sessions), trainable=False, name="user")
        self._begun = _number(config.sessions, tf.int32, "begun")
        self._unit = tf.function(self._play_and_learn, autograph=False)
        self._test = tf.function(self._play_tests, autograph=False)

    def advance(self) -> dict[str, Any]:
        """Plays a rollout, hands it to the method and lets it learn.

        Raises:
          NonFiniteError: if a loss or a gradient was not finite; with its batch.
        """
        numbers, bad, batch, _ = self._unit()
        finite.check(self.method.checked, bad, batch)
        return {name: float(number) for name, number in numbers.items()}

    def evaluate(self, sessions: int | None = None) -> dict[str, float]:
        """CTR, reward and length of test sessions, with standard errors.

        Args:
          sessions: how many; the configuration's number by default.
        """
        return playing.rates(self._test(sessions or self.config.test_sessions))

    def _play_tests(self, sessions: int) -> playing.Played:
        return _play_tests(self._evaluation, self.method.greedy, sessions)

    def _play_and_learn(self) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any, Rollout]:
        """Numbers of an iteration, what `learn` says of its updates, and the rollout."""
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
        """The next rollout, and how many items were shown in it; moves the state on."""
        config, simulator = self.config, self._simulator
        seed = tf.random.experimental.stateless_fold_in(
            types.seed_pair(self._seed, 0), self.iteration
        )
        shapes: dict[str, tf.TensorShape] = {}

        def advance(t, state, user, begun, shown, rows):
            seeds = tf.random.experimental.stateless_split(
                tf.random.experimental.stateless_fold_in(seed, t), 3
            )
            row, outcome = self._step(state, user, seeds)
            shapes.update({name: value.shape for name, value in row.items()})
            done = tf.cast(outcome.done, tf.int32)
            # Sessions that begin now take the next numbers, in the order of their columns.
            user = tf.where(outcome.done, begun + tf.cumsum(done) - 1, user)
            fresh = contract.restarted(simulator, outcome.state, outcome.done, seeds[2])
            state = nests.shaped(fresh, state)
            begun += tf.reduce_sum(done)
            shown += tf.reduce_sum(outcome.shown)
            rows = {name: array.write(t, row[name]) for name, array in rows.items()}
            return t + 1, state, user, begun, shown, rows

        state = self._structure([part.read_value() for part in self._state])
        arrays = {
            name: tf.TensorArray(t, config.rollout_steps) for name, t in self._rows().items()
        }
        first = (tf.constant(0), state, self._user.read_value(), self._begun.read_value())
        _, state, user, begun, shown, arrays = tf.while_loop(
            lambda t, *_: t < config.rollout_steps, advance, (*first, tf.constant(0.0), arrays)
        )
        for part, value in zip(self._state, tf.nest.flatten(state), strict=True):
            part.assign(value)
        self._user.assign(user)
        self._begun.assign(begun)
        columns = {
            name: tf.ensure_shape(array.stack(), [config.rollout_steps, *shapes[name]])
            for name, array in arrays.items()
        }
        nothing = dict.fromkeys(("candidates", "next_candidates"))
        return Rollout(**(nothing | columns)), shown

    def _step(
        self, state: contract.State, user: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], contract.Outcome]:
        """One step of every session: a row of the rollout."""
        simulator = self._simulator
        timestep = contract.timestep_of(simulator, state, seeds[0], user)
        choice = self.method.explore(timestep)
        outcome = simulator.step(state, choice.action, seeds[1])
        done = outcome.done
        row = {
            "observation": timestep.observation,
            "action": choice.action,
            "info": choice.info,
            "reward": outcome.reward,
            "clicks": outcome.clicks,
            # What a simulator says of a session that is done has no meaning.
            "next_observation": tf.where(
                done[:, None], timestep.observation, simulator.observation(outcome.state)
            ),
            "done": done,
            "user": user,
        }
        if "candidates" in self._rows():
            following = simulator.candidates(outcome.state)
            row["candidates"] = timestep.candidates
            row["next_candidates"] = tf.where(
                done[:, None, None], timestep.candidates, following
            )
        return row, outcome

    def _rows(self) -> dict[str, tf.DType]:
        """Columns of a rollout and what they hold."""
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
    """What `evaluate` says, of any policy: of the same sessions."""
    return playing.rates(tf.function(_play_tests, autograph=False)(simulator, policy, sessions))


def _play_tests(
    simulator: contract.Simulator, policy: contract.Policy, sessions: int
) -> playing.Played:
    seed = tf.constant([_TEST_SEED, 0], tf.int32)
    return playing.play(simulator, policy, sessions, seed)


def _number(value: int, dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(value, dtype=dtype, trainable=False, name=name)
