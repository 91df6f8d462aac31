"""Simulator of Gymnasium environments, which are stepped sequentially in Python.

A session is a Python object and cannot be stored in a tensor. The state of B sessions holds
their numbers, which index the objects, and TensorFlow calls Python at every step
(`tf.numpy_function`).
"""

from __future__ import annotations

import dataclasses
import importlib
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from tfrec.environments import contract
from tfrec.environments.adapters.gymnasium_package import gymnasium
from tfrec.errors import UserError

_LARGEST = 2**63 - 1  # largest number of a session
_SPARE = 4  # abandoned environments are reused beyond this multiple of the largest batch


class State(NamedTuple):
    """B sessions.

    Attributes:
      session: int64 [B], the number of each session; 0 where it is over.
      steps: int32 [B], steps taken.
    """

    session: tf.Tensor
    steps: tf.Tensor


@dataclasses.dataclass
class _Session:
    """An environment that is in use.

    Attributes:
      env: the environment.
      steps: steps taken, as in the state of the session.
      observation: float32 [O], the latest observation.
    """

    env: Any
    steps: int
    observation: np.ndarray


class GymnasiumSimulator(contract.Simulator):
    """Copies of a Gymnasium environment, one for each session; a `contract.Simulator`.

    - **Observations** are flattened by `gymnasium.spaces.flatten`: arrays to their numbers, a
      `Discrete` to a one-hot vector, a `Dict` or `Tuple` to the concatenation of its parts.
      They are not scaled.
    - **Actions**: a `Box` is a continuous action, and [-1, 1] is scaled to its bounds. A
      `Discrete` space of n actions is a catalogue of n items with slates of one item;
      `MultiDiscrete` of k times n actions is the same with slates of k different items. The
      features of item i are a one-hot vector.
    - **The reward** is the environment's. `info["clicks"]` and `info["shown"]` of a step are
      the clicks and the number of shown items; by default 0 and the size of the slate (at
      least 1).
    - **A truncated session has ended**: the contract has no truncation, so methods do not
      bootstrap there. Include the time in the observation if that matters
      (`gymnasium.wrappers.TimeAwareObservation`).

    Cost: the environments are stepped sequentially on one core. With an environment that does
    nothing, a step of the batch takes about 0.3 ms plus 6 us for each session, and the start of
    a session another 25 us, mostly for the seed of its generator
    (`benchmarks/gymnasium_adapter.py`).

    Equal seeds give equal sessions if the environment draws from the generator that
    `reset(seed=...)` seeds. A state can be stepped once. An environment is not part of a
    checkpoint, so a resumed run is not exact: sessions in progress start again, with a warning.
    The policy's weights, replay and generators are restored exactly.

    Args:
      gym_id: id of a registered environment.
      gym_module: module that is imported first; "" for none.
      gym_steps: steps after which a session is cut if the environment sets no limit.

    Raises:
      UserError: if the environment cannot be made, or its spaces do not fit.
    """

    catalogue: tf.Tensor | None = None

    def __init__(self, gym_id: str, gym_module: str = "", gym_steps: int = 1000):
        self._id = gym_id
        self._spec = _spec(gym_id, gym_module)
        self._limit = self._spec.max_episode_steps or gym_steps
        self._live: dict[int, _Session] = {}  # the least recently used first
        self._idle: list[Any] = []
        self._largest = 1
        self._warned = False
        self._error: UserError | None = None
        try:
            env = self._make()
        except Exception as error:
            raise _user_error(gym_id, error) from error
        self._space = env.observation_space
        if not self._space.is_np_flattenable:
            raise UserError(
                f"gym_id={gym_id}: observation space {self._space}; expected one of fixed size"
            )
        self.observation_size = gymnasium.spaces.flatdim(self._space)
        self._action = _actions(gym_id, env.action_space)
        self.slate_size, self.action_size = self._action.slate_size, self._action.size
        if self.slate_size:
            self.catalogue = tf.eye(self.action_size)
        self._idle.append(env)
        try:
            self._begin(1, 1)  # fails early if it cannot be reset or observed
        except Exception as error:
            raise _user_error(gym_id, error) from error
        self._end(1)

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> State:
        """Starts sessions. Their environments are reset at the first observation."""
        session = tf.random.stateless_uniform([batch], seed, 1, _LARGEST, tf.int64)
        return State(session, tf.zeros([batch], tf.int32))

    def observation(self, state: State) -> tf.Tensor:
        observation = tf.numpy_function(self._guarded(self._observe), list(state), tf.float32)
        return tf.ensure_shape(observation, [state.session.shape[0], self.observation_size])

    def candidates(self, state: State) -> tf.Tensor | None:
        if self.catalogue is None:
            return None
        return contract.for_each(self.catalogue, tf.shape(state.session)[0])

    def structure(self) -> contract.Structure:
        """One factor for each column. There is no graph, so only a learned one can be used."""
        columns, action = self.observation_size, self.action_size * max(1, self.slate_size)
        return contract.Structure(
            state=contract.neighbouring([1] * columns),
            action=contract.neighbouring([action]),
            graphs={},
            user_columns=list(range(columns)),
        )

    def failure(self) -> UserError | None:
        return self._error

    def step(self, state: State, action: tf.Tensor, seed: tf.Tensor) -> contract.Outcome:
        """Takes one step. The environments use their generators, and `seed` is not used."""
        numbers, done = tf.numpy_function(
            self._guarded(self._step), [*state, action], [tf.float32, tf.bool]
        )
        rows = state.session.shape[0]
        reward, clicks, shown = tf.unstack(tf.ensure_shape(numbers, [3, rows]))
        done = tf.ensure_shape(done, [rows])
        after = State(tf.where(done, tf.constant(0, tf.int64), state.session), state.steps + 1)
        return contract.Outcome(after, reward, clicks, shown, done)

    def _observe(self, sessions: np.ndarray, steps: np.ndarray) -> np.ndarray:
        observations = np.zeros([len(sessions), self.observation_size], np.float32)
        for row, (session, step) in enumerate(
            zip(sessions.tolist(), steps.tolist(), strict=True)
        ):
            if session:
                observations[row] = self._at(session, step).observation
        return observations

    def _step(
        self, sessions: np.ndarray, steps: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reward, clicks and shown, float32 [3, B], and done, bool [B]."""
        numbers = [(0.0, 0.0, 0.0)] * len(sessions)
        done = [True] * len(sessions)
        default = max(1, self.slate_size)
        for row, (session, step) in enumerate(
            zip(sessions.tolist(), steps.tolist(), strict=True)
        ):
            if not session:
                continue
            live = self._at(session, step)
            observation, reward, terminated, truncated, info = live.env.step(
                self._action.of(actions[row])
            )
            live.observation = self._flat(observation)
            live.steps = step + 1
            numbers[row] = reward, info.get("clicks", 0.0), info.get("shown", default)
            done[row] = bool(terminated or truncated)
            if done[row]:
                self._end(session)
        return np.array(numbers, np.float32).reshape(-1, 3).T, np.array(done, bool)

    def _at(self, session: int, steps: int) -> _Session:
        """The environment of a session. Starts one if none has taken this number of steps."""
        live = self._live.pop(session, None)
        if live is not None and live.steps == steps:
            self._live[session] = live
            return live
        if live is not None:
            self._idle.append(live.env)
        if steps and not self._warned:
            self._warned = True
            logging.warning(
                "%s: environments are not part of a checkpoint: sessions that were under way "
                "begin anew",
                self._id,
            )
        # Another seed than at the start, so that the session does not repeat its first half.
        return self._begin(session, session + steps, steps)

    def _begin(self, session: int, seed: int, steps: int = 0) -> _Session:
        if not self._idle and len(self._live) >= _SPARE * self._largest:
            self._end(next(iter(self._live)))  # abandoned before its end
        env = self._idle.pop() if self._idle else self._make()
        observation, _ = env.reset(seed=seed % 2**31)
        self._live[session] = _Session(env, steps, self._flat(observation))
        return self._live[session]

    def _end(self, session: int) -> None:
        self._idle.append(self._live.pop(session).env)

    def _flat(self, observation: Any) -> np.ndarray:
        """An observation as float32 [O]."""
        flat = np.asarray(gymnasium.spaces.flatten(self._space, observation), np.float32)
        if flat.shape != (self.observation_size,):
            raise ValueError(
                f"observation of {flat.size} numbers; expected {self.observation_size}, as in "
                f"the observation space {self._space}"
            )
        return flat

    def _make(self) -> Any:
        # Gymnasium's checker runs for the first environment only.
        checked = bool(self._live or self._idle)
        return gymnasium.make(
            self._spec, max_episode_steps=self._limit, disable_env_checker=checked or None
        )

    def _guarded(self, call: Callable) -> Callable:
        """Wraps a callback to record its error, of which TensorFlow raises only the text."""

        def guarded(sessions: np.ndarray, *others: np.ndarray) -> Any:
            self._largest = max(self._largest, len(sessions))
            try:
                return call(sessions, *others)
            except Exception as error:
                self._error = self._error or _user_error(self._id, error)
                raise

        return guarded


class _Action(NamedTuple):
    """Conversion of the contract's actions to those of an environment.

    Attributes:
      slate_size: k; 0 for a continuous action.
      size: D.
      of: function from an action of the contract, int32 [k] or float32 [D], to one of the
        environment.
    """

    slate_size: int
    size: int
    of: Callable[[np.ndarray], Any]


def _spec(gym_id: str, gym_module: str) -> Any:
    """Looks up the specification of a registered environment.

    Raises:
      UserError: if the module cannot be imported, or the id is not registered.
    """
    try:
        if gym_module:
            importlib.import_module(gym_module)
    except Exception as error:
        raise UserError(
            f"gym_module={gym_module} cannot be imported: {_where(error)}; expected the dotted "
            "name of a module on Python's path"
        ) from error
    try:
        return gymnasium.spec(gym_id)
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(
            f"gym_id={gym_id}: {error}; expected the id of a registered environment, and in "
            "gym_module the module that registers it"
        ) from error


def _actions(gym_id: str, space: Any) -> _Action:
    """Makes the conversion of actions for an environment.

    Raises:
      UserError: if the contract does not support its action space.
    """
    spaces, expected = gymnasium.spaces, ""
    if isinstance(space, spaces.Discrete):
        return _Action(1, int(space.n), lambda action: space.start + action[0])
    if isinstance(space, spaces.MultiDiscrete):
        places, items = space.nvec.size, int(space.nvec.flat[0])
        if (space.nvec == items).all() and places <= items:
            return _Action(
                places,
                items,
                lambda action: (space.start + action.reshape(space.shape)).astype(space.dtype),
            )
        expected = "k times the same number n of items, k at most n"
    elif isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        if space.is_bounded():
            middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2

            def scaled(action: np.ndarray) -> np.ndarray:
                value = middle + half * np.clip(action.reshape(space.shape), -1.0, 1.0)
                return np.clip(value, space.low, space.high).astype(space.dtype)

            return _Action(0, int(np.prod(space.shape)), scaled)
        expected = "finite bounds"
    raise UserError(
        f"gym_id={gym_id}: action space {space}; expected "
        + (expected or "a Box of floats, Discrete or MultiDiscrete")
    )


def _user_error(gym_id: str, error: Exception) -> UserError:
    return UserError(f"gym_id={gym_id}: {_where(error)}")


def _where(error: Exception) -> str:
    """An error's class, text and line, e.g. `ValueError: no such film (films.py, line 3)`."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
