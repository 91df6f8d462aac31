"""Sessions of a simulator side by side, each with its own clock, behind eager calls.

`BatchedTFEnvironment` and `SimulatorVectorEnv` show these sessions in the words of their
libraries.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrec.environments import contract
from tfrec.ops import nests

Observation = Any  # a tensor [B, ...] or a dict of such tensors


class Step(NamedTuple):
    """What a step of B sessions gives.

    Attributes:
      observation: after the step; of a session that is done, the observation before it.
      reward: float32 [B], 0 at the first step of a session.
      clicks: float32 [B], as `reward`.
      shown: float32 [B], as `reward`.
      first: bool [B], whether a new session begins with this observation.
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
    """Rows of sessions. A row whose session is over begins a new one at the following step.

    The simulator's state has no meaning after a session's end, so the last step shows the
    observation before it once more: neither the next user's nor anything undefined is shown.
    At the following step the row ignores its action and gives the first observation of a new
    session.

    Args:
      simulator: the environment.
      batch: B, sessions stepped at once.
      seed: of the users drawn and of their answers.
      max_steps: sessions are cut after so many steps; None never cuts them.
      observe: state to the observation that is shown.
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
        state = simulator.reset(batch, self._draw_seed())
        self._state = tf.nest.map_structure(tf.Variable, state)
        self._steps = tf.Variable(tf.zeros([batch], tf.int32))
        self._now = tf.nest.map_structure(tf.Variable, self._begun(state))

    @property
    def kept(self) -> list[tf.Variable]:
        """All that the next steps depend on, for a checkpoint."""
        kept = (self._state, self._steps, self._now)
        return [*tf.nest.flatten(kept), self._generator.state]

    def now(self) -> Step:
        """The latest step."""
        return tf.nest.map_structure(tf.identity, self._now)

    def seed(self, seed: int) -> None:
        """Seeds all later draws."""
        self._generator.reset_from_seed(seed)

    @tf.function(autograph=False)
    def reset(self) -> Step:
        """New sessions in all rows."""
        state = self._simulator.reset(self._steps.shape[0], self._draw_seed())
        return self._become(state, tf.zeros_like(self._steps), self._begun(state))

    @tf.function(autograph=False)
    def step(self, action: tf.Tensor) -> Step:
        """One step of every session; `action` as the simulator takes it."""
        first = self._now.done | self._now.cut  # [B], rows that begin a new session now
        self._restart(tf.where(first))
        before = tf.nest.map_structure(tf.identity, self._state)
        outcome = self._simulator.step(before, action, self._draw_seed())
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
        observation = nests.where(done, self._now.observation, self._observe(state))
        now = Step(observation, reward, clicks, shown, first, done, cut)
        return self._become(state, steps, now)

    def _begun(self, state: contract.State) -> Step:
        zeros = tf.zeros([self._steps.shape[0]])
        no = tf.zeros_like(zeros, tf.bool)
        return Step(self._observe(state), zeros, zeros, zeros, ~no, no, no)

    def _become(self, state: contract.State, steps: tf.Tensor, now: Step) -> Step:
        tf.nest.map_structure(
            lambda variable, value: variable.assign(value),
            (self._state, self._steps, self._now),
            (state, steps, now),
        )
        return tf.nest.map_structure(tf.identity, now)

    def _restart(self, where: tf.Tensor) -> None:
        """New sessions in the rows `where`, [R, 1]; no users are drawn for the others."""
        state = self._simulator.reset(tf.shape(where)[0], self._draw_seed())

        def write(variable: tf.Variable, value: tf.Tensor) -> None:
            if variable.shape.num_elements():  # the update rejects a part of width 0
                variable.scatter_nd_update(where, value)

        tf.nest.map_structure(write, self._state, state)

    def _draw_seed(self) -> tf.Tensor:
        return self._generator.uniform_full_int([2], tf.int32)
