"""TF-Agents environment of a batched simulator, with a separate clock for each session.

Importing TF-Agents takes seconds, so no simulator imports this file.
"""

import tensorflow as tf
from tf_agents.environments import tf_environment
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfrec.environments import contract
from tfrec.environments.adapters import sessions


class BatchedTFEnvironment(tf_environment.TFEnvironment):
    """Sessions of a simulator as rows of a batch.

    Continuous simulators take actions float32 [B, D] in [-1, 1], and observations are float32
    [B, O]. Simulators of slates take actions int32 [B, k], positions among the candidates, and
    observations are a dict of `user`, float32 [B, O], and `candidates`, float32 [B, m, D].

    A row whose session is done returns a LAST step with discount 0, which repeats the
    observation before it (see `sessions.Sessions`). It is not a next state, so models of
    transitions must leave out those with discount 0. A session cut at `max_steps` returns a
    LAST step with discount 1 and its true observation, from which a return is bootstrapped. At
    the next call a LAST row ignores its action and returns the FIRST step of a new session
    with reward 0.

    Args:
      simulator: the environment.
      batch: B, number of parallel sessions.
      seed: seed of users and responses.
      max_steps: steps after which sessions are cut; None for no limit.
    """

    def __init__(
        self, simulator: contract.Simulator, batch: int, seed: int, max_steps: int | None = None
    ):
        def observe(state: contract.State) -> tf.Tensor | dict[str, tf.Tensor]:
            user, candidates = simulator.observation(state), simulator.candidates(state)
            return user if candidates is None else {"user": user, "candidates": candidates}

        self._sessions = sessions.Sessions(simulator, batch, seed, max_steps, observe)
        observation = tf.nest.map_structure(
            lambda part: tf.TensorSpec(part.shape[1:], part.dtype),
            self._sessions.latest().observation,
        )
        if simulator.slate_size:
            items = observation["candidates"].shape[0]
            action = tensor_spec.BoundedTensorSpec(
                [simulator.slate_size], tf.int32, 0, items - 1
            )
        else:
            action = tensor_spec.BoundedTensorSpec(
                [simulator.action_size], tf.float32, -1.0, 1.0
            )
        super().__init__(ts.time_step_spec(observation), action, batch)

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables that determine the next steps, for a checkpoint."""
        return self._sessions.checkpointed

    def _current_time_step(self) -> ts.TimeStep:
        return _time_step(self._sessions.latest())

    @tf.function(autograph=False)
    def _reset(self) -> ts.TimeStep:
        return _time_step(self._sessions.reset())

    @tf.function(autograph=False)
    def _step(self, action: tf.Tensor) -> ts.TimeStep:
        return _time_step(self._sessions.step(action))


def _time_step(step: sessions.Step) -> ts.TimeStep:
    step_type = tf.where(step.done | step.cut, ts.StepType.LAST, ts.StepType.MID)
    return ts.TimeStep(
        step_type=tf.where(step.first, ts.StepType.FIRST, step_type),
        reward=step.reward,
        discount=tf.where(step.done, 0.0, 1.0),
        observation=step.observation,
    )
