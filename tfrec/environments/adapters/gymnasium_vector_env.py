"""Gymnasium vector environment of a batched simulator.

    simulator = registry.simulator("recsim", registry.get("recsim").config(slate=3))
    envs = SimulatorVectorEnv(simulator, num_envs=64)
    observation, info = envs.reset(seed=0)
    observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())

It needs the optional package gymnasium.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.environments import contract
from tfrec.environments.adapters import sessions
from tfrec.environments.adapters.gymnasium_package import gymnasium

Arrays = np.ndarray | dict[str, np.ndarray]


class SimulatorVectorEnv(gymnasium.vector.VectorEnv):
    """Sessions of a simulator as the sub-environments of a vector environment.

    All sessions advance in one compiled call. Observations are float32 [B, O], B = `num_envs`,
    or a dict with these entries if a policy needs more than `user`:

    - `user`: float32 [B, O]. If items may not repeat, the columns of shown items are left out,
      because `action_mask` has the same information.
    - `candidates`: float32 [B, m, D], features of the items to choose from, if they are not
      constant (`catalogue` has constant ones).
    - `action_mask`: int8 [B, m], 1 for each item that may be shown, if items may not repeat.

    Actions are positions among the candidates, `MultiDiscrete([m] * k)`, or a `Box` of D
    numbers in [-1, 1]. The reward is the simulator's. `info` has the float32 arrays `clicks`
    and `shown` [B] of the step and, by Gymnasium's convention, bool arrays `_clicks` and
    `_shown` that are False at the first observation of a session.

    The autoreset mode is `NEXT_STEP`: the step after a session's end ignores the action of that
    row, starts a new session and returns its first observation with reward 0. The last
    observation of a terminated session repeats the one before, because a simulator's state is
    undefined after the end. That of a truncated session is its true observation.

    Args:
      simulator: the environment.
      num_envs: B, number of parallel sessions.
      max_steps: steps after which sessions are truncated; None for no limit.

    Attributes:
      catalogue: float32 [m, D], features of constant candidates; else None.
    """

    def __init__(
        self, simulator: contract.Simulator, num_envs: int, max_steps: int | None = None
    ):
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}
        self.num_envs = num_envs
        self.catalogue = None if simulator.catalogue is None else np.array(simulator.catalogue)
        self._sessions = sessions.Sessions(
            simulator, num_envs, 0, max_steps, _observation(simulator)
        )
        step = self._sessions.latest()
        self.single_observation_space = _space(step.observation)
        spaces = gymnasium.spaces
        if simulator.slate_size:
            items = self.catalogue
            if items is None:
                items = step.observation["candidates"][0]
            self.single_action_space = spaces.MultiDiscrete([len(items)] * simulator.slate_size)
        else:
            self.single_action_space = spaces.Box(-1.0, 1.0, [simulator.action_size])
        batched = gymnasium.vector.utils.batch_space
        self.observation_space = batched(self.single_observation_space, num_envs)
        self.action_space = batched(self.single_action_space, num_envs)
        self._dtype = np.int32 if simulator.slate_size else np.float32
        self._ended: np.ndarray | None = None  # [B], rows that start a session at the next step
        self._mask: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Starts new sessions in all rows.

        Args:
          seed: seed of all later random numbers: equal seeds and actions give equal sessions.
            None continues the current random stream.
          options: must be None or empty.

        Raises:
          ValueError: if there are options, or `seed` is not an integer. Sessions share one
            random stream, so that a list of seeds is not supported.
        """
        if options:
            raise ValueError(f"options={options}; expected none")
        if seed is not None and not isinstance(seed, int | np.integer):
            raise ValueError(f"seed={seed!r}; expected one whole number for all sessions")
        super().reset(seed=seed)
        self._sessions.seed(int(self.np_random.integers(2**31)))
        observation, *_, info = self._returned(self._sessions.reset())
        return observation, info

    def step(
        self, actions: np.ndarray
    ) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Takes one step of every session.

        Args:
          actions: int [B, k], positions among the candidates, or float [B, D] in [-1, 1].

        Returns:
          Observation, reward float32 [B], terminated bool [B], truncated bool [B], info.

        Raises:
          ResetNeeded: before the first `reset`.
          ValueError: if actions are not in the action space, or show an item that the session's
            `action_mask` excludes.
        """
        if self._ended is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        actions = np.asarray(actions)
        if self._dtype == np.float32:
            actions = actions.astype(np.float32)
        if not self.action_space.contains(actions):
            raise ValueError(f"actions {actions!r}; expected an element of {self.action_space}")
        if self._mask is not None:
            excluded = np.take_along_axis(self._mask, actions, axis=1) == 0  # [B, k]
            for row, place in np.argwhere(excluded & ~self._ended[:, None])[:1]:
                raise ValueError(
                    f"actions[{row}, {place}] is {actions[row, place]}, an item that was shown "
                    "in this session already; expected one whose action_mask is 1"
                )
        return self._returned(self._sessions.step(tf.constant(actions, self._dtype)))

    def _returned(
        self, step: sessions.Step
    ) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        step = tf.nest.map_structure(lambda part: part.numpy(), step)
        self._ended = step.done | step.cut
        if isinstance(step.observation, dict):
            self._mask = step.observation.get("action_mask")
        info = {
            "clicks": step.clicks,
            "_clicks": ~step.first,
            "shown": step.shown,
            "_shown": ~step.first,
        }
        return step.observation, step.reward, step.done, step.cut, info


def _observation(simulator: contract.Simulator) -> Any:
    """Makes the function from a state to its observation, a tensor or a dict of tensors."""

    def observe(state: contract.State) -> sessions.Observation:
        user = simulator.observation(state)
        parts = {}
        if simulator.slate_size and simulator.catalogue is None:
            parts["candidates"] = simulator.candidates(state)
        blocked = contract.blocked(simulator, user)
        if blocked is not None:
            parts["action_mask"] = tf.cast(~blocked, tf.int8)
            assert simulator.shown_columns is not None
            visible = np.delete(np.arange(simulator.observation_size), simulator.shown_columns)
            user = tf.gather(user, visible, axis=1)  # [B, O]
        return {"user": user, **parts} if parts else user

    return observe


def _space(observation: sessions.Observation) -> gymnasium.Space:
    """The space of one row of a batched observation."""
    spaces = gymnasium.spaces
    if isinstance(observation, dict):
        return spaces.Dict({name: _space(part) for name, part in observation.items()})
    shape = observation.shape[1:].as_list()
    if observation.dtype == tf.int8:
        return spaces.MultiBinary(shape[0])
    return spaces.Box(-np.inf, np.inf, shape)
