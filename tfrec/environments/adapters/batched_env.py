"""Any batched simulator as a TF-Agents environment: many sessions, each with its own clock.

Importing TF-Agents takes seconds, so no simulator imports this file.
"""

import tensorflow as tf
from tf_agents.environments import tf_environment
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfrec.environments import contract


class BatchedTFEnvironment(tf_environment.TFEnvironment):
    """Sessions of a simulator as rows of a batch.

    Observations are float32 [B, O]; where items are to be chosen from, a dict of `user`,
    float32 [B, O], and `candidates`, float32 [B, m, D]. Actions are float32 [B, D] in
    [-1, 1], or int32 [B, k], positions among the candidates.

    A row whose session is done gives a LAST step with discount 0. The simulator's state has
    no meaning there, so that step shows the observation before it once more: neither the
    next user's nor anything undefined can reach a learner. It is no next state: models of
    what an action leads to leave out transitions with discount 0. A session cut at
    `max_steps` gives a LAST step with discount 1 and its true observation, whose value
    still counts. At the following call a LAST row ignores its action and gives the FIRST
    step of a new session with reward 0.

    Args:
      simulator: who answers.
      batch: B, sessions stepped at once.
      seed: of the users drawn and of their answers.
      max_steps: sessions are cut after so many steps; None never cuts them.
    """

    def __init__(
        self, simulator: contract.Simulator, batch: int, seed: int, max_steps: int | None = None
    ):
        self._simulator = simulator
        self._max_steps = max_steps
        self._generator = tf.random.Generator.from_seed(seed)
        state = simulator.reset(batch, self._draw_seed())
        candidates = simulator.candidates(state)
        user = tf.TensorSpec([simulator.observation_size], tf.float32)
        if candidates is None:
            observation = user
            size, kind, low, high = simulator.action_size, tf.float32, -1.0, 1.0
        else:
            shape = list(candidates.shape[1:])
            observation = {"user": user, "candidates": tf.TensorSpec(shape, tf.float32)}
            size, kind, low, high = simulator.slate_size, tf.int32, 0, shape[0] - 1
        action = tensor_spec.BoundedTensorSpec([size], kind, low, high)
        super().__init__(ts.time_step_spec(observation), action, batch)
        self._state = tf.nest.map_structure(tf.Variable, state)
        self._steps = tf.Variable(tf.zeros([batch], tf.int32))
        self._now = tf.nest.map_structure(tf.Variable, ts.restart(self._observe(state), batch))

    @property
    def variables(self) -> list[tf.Variable]:
        """All that the next steps depend on, for a checkpoint."""
        kept = (self._state, self._steps, self._now)
        return [*tf.nest.flatten(kept), self._generator.state]

    def _current_time_step(self) -> ts.TimeStep:
        return tf.nest.map_structure(tf.identity, self._now)

    @tf.function(autograph=False)
    def _reset(self) -> ts.TimeStep:
        state = self._simulator.reset(self.batch_size, self._draw_seed())
        now = ts.restart(self._observe(state), self.batch_size)
        return self._become(state, tf.zeros_like(self._steps), now)

    @tf.function(autograph=False)
    def _step(self, action: tf.Tensor) -> ts.TimeStep:
        first = self._now.is_last()  # [B], rows that start a new session now
        self._restart(tf.where(first))
        before = tf.nest.map_structure(tf.identity, self._state)
        outcome = self._simulator.step(before, action, self._draw_seed())
        state = _where(first, before, outcome.state)
        steps = tf.where(first, 0, self._steps + 1)
        done = outcome.done & ~first
        last = done if self._max_steps is None else done | (steps >= self._max_steps)
        step_type = tf.where(last, ts.StepType.LAST, ts.StepType.MID)
        now = ts.TimeStep(
            step_type=tf.where(first, ts.StepType.FIRST, step_type),
            reward=tf.where(first, 0.0, outcome.reward),
            discount=tf.where(done, 0.0, 1.0),
            observation=_where(done, self._now.observation, self._observe(state)),
        )
        return self._become(state, steps, now)

    def _become(self, state: contract.State, steps: tf.Tensor, now: ts.TimeStep) -> ts.TimeStep:
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

    def _observe(self, state: contract.State) -> tf.Tensor | dict[str, tf.Tensor]:
        user = self._simulator.observation(state)
        candidates = self._simulator.candidates(state)
        return user if candidates is None else {"user": user, "candidates": candidates}

    def _draw_seed(self) -> tf.Tensor:
        return self._generator.uniform_full_int([2], tf.int32)


def _where(rows: tf.Tensor, yes: contract.State, no: contract.State) -> contract.State:
    """Row by row one of two nests; rows is bool [B]."""

    def chosen(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(rows, [-1] + [1] * (len(one.shape) - 1)), one, other)

    return tf.nest.map_structure(chosen, yes, no)
