"""Any batched simulator as a Gymnasium vector environment.

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

    All sessions advance in one compiled call. Observations are float32 [B, O], B = `num_envs`.
    They are a dict with these entries instead where a policy needs more than `user`:

    - `user`: float32 [B, O]. Where items may not repeat, the columns that list the items shown
      are left out: `action_mask` holds the same.
    - `candidates`: float32 [B, m, D], features of the items to choose from, where they are not
      the same items always (those are `catalogue`).
    - `action_mask`: int8 [B, m], 1 for each item that may be shown, where items may not repeat.

    Actions are positions among the candidates, `MultiDiscrete([m] * k)`, or a `Box` of D
    numbers in [-1, 1]. The reward is the simulator's own. `info` has the float32 arrays
    `clicks` and `shown` [B] of the step, and, as Gymnasium names it, bool arrays `_clicks` and
    `_shown` that are False where a session has just begun.

    The autoreset mode is `NEXT_STEP`: the step after a session's end ignores the action of that
    row, begins a new session and gives its first observation with reward 0. The last
    observation of a terminated session is the one before it once more, since a simulator's
    state has no meaning after the end. That of a truncated session is its true observation.

    Args:
      simulator: the environment.
      num_envs: B, sessions stepped at once.
      max_steps: sessions are truncated after so many steps; None never truncates them.

    Attributes:
      catalogue: float32 [m, D], features of items that are the same always; else None.
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
        step = self._sessions.now()
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
        self._over: np.ndarray | None = None  # [B], rows whose next step begins a session
        self._mask: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begins new sessions in all rows.

        Args:
          seed: of all later draws, so that the same seed and actions give the same sessions;
            None goes on with the draws.
          options: none are known.

        Raises:
          ValueError: if there are options, or `seed` is not a whole number: sessions are drawn
            together and have no seeds of their own.
        """
        if options:
            raise ValueError(f"options={options}; expected none")
        if seed is not None and not isinstance(seed, int | np.integer):
            raise ValueError(f"seed={seed!r}; expected one whole number for all sessions")
        super().reset(seed=seed)
        self._sessions.seed(int(self.np_random.integers(2**31)))
        observation, *_, info = self._taken(self._sessions.reset())
        return observation, info

    def step(
        self, actions: np.ndarray
    ) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every session.

        Args:
          actions: int [B, k], positions among the candidates, or float [B, D] in [-1, 1].

        Returns:
          Observation, reward float32 [B], terminated bool [B], truncated bool [B], info.

        Raises:
          ResetNeeded: before the first `reset`.
          ValueError: if actions are not in the action space, or show an item that the session's
            `action_mask` excludes.
        """
        if self._over is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        actions = np.asarray(actions)
        if self._dtype == np.float32:
            actions = actions.astype(np.float32)
        if not self.action_space.contains(actions):
            raise ValueError(f"actions {actions!r}; expected an element of {self.action_space}")
        if self._mask is not None:
            excluded = np.take_along_axis(self._mask, actions, axis=1) == 0  # [B, k]
            for row, place in np.argwhere(excluded & ~self._over[:, None])[:1]:
                raise ValueError(
                    f"actions[{row}, {place}] is {actions[row, place]}, an item that was shown "
                    "in this session already; expected one whose action_mask is 1"
                )
        return self._taken(self._sessions.step(tf.constant(actions, self._dtype)))

    def _taken(
        self, step: sessions.Step
    ) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        step = tf.nest.map_structure(lambda part: part.numpy(), step)
        self._over = step.done | step.cut
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
    """What a policy sees of a state: a tensor, or a dict of tensors."""

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
