"""TF-Agents environment of a user model, with a separate clock for each user.

Importing TF-Agents takes seconds, so nothing else in the project imports this file.
"""

import numpy as np
import tensorflow as tf
from tf_agents.environments import tf_environment
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfrec import types
from tfrec.environments import user_models, users


class WorldEnvironment(tf_environment.TFEnvironment):
    """Users of a world as rows of a batch.

    Observations are a dict of `history_item` int32 [B, H], `history_feedback` float32
    [B, H, F] (raw units) and `step` int32 [B], as in `types.Observation`; worlds that
    do not repeat items add `allowed`, bool [B, A], for TF-Agents' action masks. Action
    a shows item a + 1.

    A row whose session ended returns a LAST step, with discount 0 if the user left, and 1 if
    the session was cut at the cap, so that a return is bootstrapped there. At the next call
    that row ignores its action and starts another session.

    Args:
      world: the user model.
      starts: arrays [S, ...], from which session starts are sampled.
      batch_size: B, number of parallel users.
      seed: seed of starts and responses.
      reward: float [F], weight of one unit of each feedback column; clicks if None.
    """

    def __init__(
        self,
        world: user_models.UserModel,
        starts: types.Starts,
        batch_size: int,
        seed: int,
        reward: np.ndarray | None = None,
    ):
        spec = world.spec
        columns = len(spec.feedback)
        weights = np.eye(columns)[0] if reward is None else np.asarray(reward)
        if weights.shape != (columns,):
            raise ValueError(f"reward has shape {weights.shape}; expected ({columns},)")
        observation = {
            "history_item": tensor_spec.BoundedTensorSpec(
                [spec.history_length], tf.int32, 0, spec.num_items
            ),
            "history_feedback": tf.TensorSpec([spec.history_length, columns], tf.float32),
            "step": tensor_spec.BoundedTensorSpec([], tf.int32, 0, spec.max_steps),
        }
        if not world.repeats:
            observation["allowed"] = tf.TensorSpec([spec.num_candidates], tf.bool)
        action = tensor_spec.BoundedTensorSpec([], tf.int32, 0, spec.num_candidates - 1)
        super().__init__(ts.time_step_spec(observation), action, batch_size)
        self._users = users.UserEnvironment(world, reward=weights)
        self._starts = types.constants(starts)
        self._generator = tf.random.Generator.from_seed(seed)
        state = self._draw(tf.constant(batch_size))
        self._state = tf.nest.map_structure(tf.Variable, state)
        self._latest = tf.nest.map_structure(tf.Variable, self._first(state))

    def _current_time_step(self) -> ts.TimeStep:
        return tf.nest.map_structure(tf.identity, self._latest)

    @tf.function(autograph=False)
    def _reset(self) -> ts.TimeStep:
        self._restart(tf.range(self.batch_size))
        return self._current_time_step()

    @tf.function(autograph=False)
    def _step(self, action: tf.Tensor) -> ts.TimeStep:
        was_last = self._latest.is_last()  # [B]
        seed = self._generator.uniform_full_int([2], tf.int32)
        before = tf.nest.map_structure(tf.identity, self._state)
        action = tf.cast(action, tf.int32)[:, None]
        outcome = self._users.step(before, action, seed)
        latest = ts.TimeStep(
            step_type=tf.where(outcome.done, ts.StepType.LAST, ts.StepType.MID),
            reward=outcome.reward,
            discount=tf.where(outcome.state.exited, 0.0, 1.0),
            observation=self._observation(outcome.state),
        )
        tf.nest.map_structure(
            lambda variable, value: variable.assign(value),
            (self._latest, self._state),
            (latest, outcome.state),
        )
        self._restart(tf.cast(tf.where(was_last)[:, 0], tf.int32))
        return self._current_time_step()

    def _restart(self, rows: tf.Tensor) -> None:
        """Starts new sessions in `rows`, int32 [R]."""
        state, index = self._draw(tf.size(rows)), rows[:, None]

        def write(variable: tf.Variable, value: tf.Tensor) -> None:
            if variable.shape.num_elements():  # the update rejects values of width 0
                variable.scatter_nd_update(index, value)

        tf.nest.map_structure(write, (self._latest, self._state), (self._first(state), state))

    def _draw(self, count: tf.Tensor) -> users.State:
        total = tf.shape(self._starts.user)[0]
        rows = self._generator.uniform([count], maxval=total, dtype=tf.int32)
        return self._users.begin(
            tf.nest.map_structure(lambda x: tf.gather(x, rows), self._starts)
        )

    def _observation(self, state: users.State) -> dict[str, tf.Tensor]:
        observation = self._users.history(state)._asdict()
        del observation["context_values"]  # not in the spec
        blocked = self._users.blocked(state)
        return observation if blocked is None else {**observation, "allowed": ~blocked}

    def _first(self, state: users.State) -> ts.TimeStep:
        count = tf.size(state.step)
        return ts.TimeStep(
            step_type=tf.fill([count], ts.StepType.FIRST),
            reward=tf.zeros([count]),
            discount=tf.ones([count]),
            observation=self._observation(state),
        )
