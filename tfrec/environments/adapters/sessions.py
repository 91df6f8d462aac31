"""A batch of a simulator's sessions with separate clocks and eager calls.

`BatchedTFEnvironment` and `SimulatorVectorEnv` wrap these sessions in the interfaces of their
libraries.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrec.environments import contract
from tfrec.ops import nests

Observation = Any  # a tensor [B, ...] or a dict of such tensors


class Step(NamedTuple):
    """Result of one step of B sessions.

    Attributes:
      observation: observation after the step; if the session is done, the one before the step.
      reward: float32 [B], 0 at the first step of a session.
      clicks: float32 [B], 0 at the first step of a session.
      shown: float32 [B], 0 at the first step of a session.
      first: bool [B], whether a new session starts with this observation.
      done: bool [B], whether the session ended.
      cut: bool [B], whether it was cut at `max_steps` before its end.
    """

    observation: Observation
    reward: tf.Tensor
    clicks: tf.Tensor
    shown: tf.Tensor
    first: tf.Tensor
    done: tf.Tensor
    cut: tf.Tensor


class Sessions(tf.Module):
    """Rows of sessions. A row whose session is over starts a new one at the next step.

    The simulator's state is undefined after a session's end, so the last step repeats the
    observation before it. At the next step the row ignores its action and returns the first
    observation of a new session.

    Args:
      simulator: the environment.
      batch: B, number of parallel sessions.
      seed: seed of users and responses.
      max_steps: steps after which sessions are cut; None for no limit.
      observe: function from a state to its observation.
    """

    def __init__(
        self,
        simulator: contract.Simulator,
        batch: int,
        seed: int,
        max_steps: int | None,
        observe: Callable[[contract.State], Observation],
    ):
        super().__init__(name="sessions")
        self._simulator, self._max_steps, self._observe = simulator, max_steps, observe
        self._generator = tf.random.Generator.from_seed(seed)
        state = simulator.reset(batch, self._next_seed())
        self._state = tf.nest.map_structure(tf.Variable, state)
        self._steps = tf.Variable(tf.zeros([batch], tf.int32))
        self._latest = tf.nest.map_structure(tf.Variable, self._first_step(state))

    @property
    def checkpointed(self) -> list[tf.Variable]:
        """The variables that determine the next steps, for a checkpoint."""
        variables = (self._state, self._steps, self._latest)
        return [*tf.nest.flatten(variables), self._generator.state]

    def latest(self) -> Step:
        """The latest step."""
        return tf.nest.map_structure(tf.identity, self._latest)

    def seed(self, seed: int) -> None:
        """Seeds all later random numbers."""
        self._generator.reset_from_seed(seed)

    @tf.function(autograph=False)
    def reset(self) -> Step:
        """Starts new sessions in all rows."""
        state = self._simulator.reset(self._steps.shape[0], self._next_seed())
        return self._assign(state, tf.zeros_like(self._steps), self._first_step(state))

    @tf.function(autograph=False)
    def step(self, action: tf.Tensor) -> Step:
        """Takes one step of every session; `action` as for `Simulator.step`."""
        first = self._latest.done | self._latest.cut  # [B], rows that start a new session
        self._restart(tf.where(first))
        before = tf.nest.map_structure(tf.identity, self._state)
        outcome = self._simulator.step(before, action, self._next_seed())
        state = nests.where(first, before, outcome.state)
        steps = tf.where(first, 0, self._steps + 1)
        done = outcome.done & ~first
        cut = tf.zeros_like(done)
        if self._max_steps is not None:
            cut = (steps >= self._max_steps) & ~done
        reward, clicks, shown = (
            tf.where(first, 0.0, part)
            for part in (outcome.reward, outcome.clicks, outcome.shown)
        )
        observation = nests.where(done, self._latest.observation, self._observe(state))
        step = Step(observation, reward, clicks, shown, first, done, cut)
        return self._assign(state, steps, step)

    def _first_step(self, state: contract.State) -> Step:
        zeros = tf.zeros([self._steps.shape[0]])
        no = tf.zeros_like(zeros, tf.bool)
        return Step(self._observe(state), zeros, zeros, zeros, ~no, no, no)

    def _assign(self, state: contract.State, steps: tf.Tensor, step: Step) -> Step:
        tf.nest.map_structure(
            lambda variable, value: variable.assign(value),
            (self._state, self._steps, self._latest),
            (state, steps, step),
        )
        return tf.nest.map_structure(tf.identity, step)

    def _restart(self, rows: tf.Tensor) -> None:
        """Starts new sessions in `rows`, [R, 1]; no users are sampled for the others."""
        state = self._simulator.reset(tf.shape(rows)[0], self._next_seed())

        def write(variable: tf.Variable, value: tf.Tensor) -> None:
            if variable.shape.num_elements():  # the update rejects values of width 0
                variable.scatter_nd_update(rows, value)

        tf.nest.map_structure(write, self._state, state)

    def _next_seed(self) -> tf.Tensor:
        return self._generator.uniform_full_int([2], tf.int32)
