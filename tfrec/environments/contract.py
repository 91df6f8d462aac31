"""The contract of an environment: thousands of sessions stepped side by side in one graph.

RecSim, RecoGym, VirtualTB, users of a catalogue and Gymnasium environments meet it, and every
policy takes its `Timestep`. An action is a slate of items, given by features and possibly new
at every step, or a continuous vector. Users of a catalogue (`users.UserEnvironment`) also give
a history of item ids, from which methods with a state tower compute their state.

Items are positions from 0 in actions and masks, and dense ids from 1 in histories, logs and
episodes, where 0 is padding. `action_of` and `item_of` convert between the two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrec import errors, types
from tfrec.data import identity
from tfrec.ops import nests, selection

State = Any  # a nest of tensors, each [B, ...]; only the simulator looks inside


class Outcome(NamedTuple):
    """What a step of B sessions gives.

    Attributes:
      state: after the step. That of a session that is done has no meaning.
      reward: float32 [B], the simulator's own reward.
      clicks: float32 [B], clicks of this step.
      shown: float32 [B], what was shown in this step: CTR is clicks / shown.
      done: bool [B], whether the session ended with this step.
    """

    state: State
    reward: tf.Tensor
    clicks: tf.Tensor
    shown: tf.Tensor
    done: tf.Tensor


class Structure(NamedTuple):
    """Which parts a simulator's users have, and which part bears on which.

    Causal augmentation exchanges parts of a state. Parts of the state come first, then those of
    the action, which is what was shown: features of a slate's items side by side, or the
    continuous action itself. N is the number of all parts.

    Attributes:
      state: columns of the observation in each part.
      action: columns of the action in each part.
      graphs: influence of part on next part by name: `true`, by the simulator's own code, and
        `heuristic`, a rule of thumb. Either float [N, N], the same in every step; or pairs
        (column of the action, part of the state) that are linked where the column is not 0.
      user_columns: columns of the observation that say how alike two users are.
      expected_reward: observation [B, O] and action [B, A] to the expected reward [B] of the
        step; None where it depends on what is hidden.
    """

    state: tuple[tuple[int, ...], ...]
    action: tuple[tuple[int, ...], ...]
    graphs: dict[str, np.ndarray | list[tuple[int, int]]]
    user_columns: list[int]
    expected_reward: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None


def neighbouring(sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Parts of neighbouring columns, from the number of columns in each."""
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(tuple(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True))


class ViewVectors(NamedTuple):
    """Items as views tell of them.

    Attributes:
      items: float32 [P, W].
      sessions: how many were played for them.
      steps: recommendations made in them.
    """

    items: np.ndarray
    sessions: int
    steps: int


class Views(Protocol):
    """What views say of items, in a simulator whose users view items by themselves."""

    def vectors(self, width: int, sessions: int, seed: int) -> ViewVectors:
        """Item vectors from what users view while they are recommended at random.

        Args:
          width: W, at most the number of items.
          sessions: how many to play.
          seed: of the play.
        """

    def encoder(self, observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """The user in terms of item vectors [P, W]: float [B, O] to float [B, 3 W + 1]."""

    def short_encoder(self, observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """The same in few numbers: float [B, O] to float [B, W]."""


class Timestep(NamedTuple):
    """What a policy is given at one step of B sessions.

    A policy reads the fields that it needs. In a graph the others cost nothing: TensorFlow
    prunes operations that no result depends on.

    Attributes:
      observation: float32 [B, O], what an honest policy sees of the user; O is 0 where the
        history says everything.
      candidates: float32 [B, m, D], features of the items to choose from; None where the
        action is continuous, or the policy needs none.
      state: the simulator's hidden state, for controls that are allowed to look.
      seed: int32 [2], for stochastic policies.
      blocked: bool [B, m], candidates that were shown in this session and may not be shown
        again; None where items may repeat.
      user: int32 [B], the number of each session, for policies that keep something for a
        whole session; None where sessions are not numbered.
      history: the latest events of each user as item ids; None where the environment has no
        catalogue. `history_of` reads it.
    """

    observation: tf.Tensor
    candidates: tf.Tensor | None
    state: State
    seed: tf.Tensor
    blocked: tf.Tensor | None = None
    user: tf.Tensor | None = None
    history: types.Observation | None = None

    def per_session(self, values: tf.Tensor) -> tf.Tensor:
        """The values of the sessions of this timestep, [B, ...].

        Args:
          values: [S, ...], one for each numbered session; [B, ...] where sessions are not
            numbered.
        """
        return values if self.user is None else tf.gather(values, self.user)


# -> what `step` of the simulator takes: int32 [B, k] or float32 [B, D]
Policy = Callable[[Timestep], tf.Tensor]


def action_of(item: tf.Tensor) -> tf.Tensor:
    """The action that recommends one item: dense ids from 1, [B], to positions, [B, 1]."""
    return item[:, None] - 1


def item_of(action: tf.Tensor) -> tf.Tensor:
    """The item of an action that recommends one: positions, [B, 1], to dense ids, [B]."""
    return action[:, 0] + 1


def history_of(timestep: Timestep) -> types.Observation:
    """The latest events of each user as item ids.

    Raises:
      ValueError: if the environment has no catalogue.
    """
    if timestep.history is None:
        raise ValueError(
            "this policy reads a history of item ids; expected an environment of users of a "
            "catalogue"
        )
    return timestep.history


def history_timestep(
    history: types.Observation, seed: tf.Tensor, blocked: tf.Tensor | None = None
) -> Timestep:
    """A timestep of B users of whom nothing but the history is known.

    Args:
      history: of B users.
      seed: int32 [2].
      blocked: bool [B, A], items that may not be shown; None if all may.
    """
    nothing = tf.zeros([tf.shape(history.step)[0], 0])
    return Timestep(nothing, None, None, seed, blocked, history=history)


class Simulator(Protocol):
    """A batched simulator. All methods are graph code, and the same seed gives the same.

    A class that inherits from this one declares only what it has of the optional parts: the
    columns, `history`, `views` and `structure` are None by default.

    Attributes:
      observation_size: O, what a policy sees of the user.
      slate_size: k, items in a recommendation; 0 where the action is continuous.
      action_size: D, width of a continuous action, or of an item's features.
      catalogue: float32 [m, D], what `candidates` gives for every session where that is the
        same items always; else None.
      feature_columns: int [C, D], the C columns of an observation that describe the user's
        relation to each item feature; None where no columns do. Methods that read an
        observation feature by feature need it: the sizes alone do not tell.
      view_columns: int [m], the column of an observation that is above 0 for each item that
        the user has viewed; None where views are not observed.
      shown_columns: int [S], the columns of an observation that hold 1 + position of each item
        shown in this session, 0 for none, where no item may be shown twice; None where items
        may repeat. They are for masks and not for networks.
    """

    observation_size: int
    slate_size: int
    action_size: int
    catalogue: tf.Tensor | None
    feature_columns: np.ndarray | None = None
    view_columns: np.ndarray | None = None
    shown_columns: np.ndarray | None = None

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> State:
        """New sessions of new users; seed is int32 [2]."""

    def observation(self, state: State) -> tf.Tensor:
        """What a policy may see, float32 [B, O]."""

    def candidates(self, state: State) -> tf.Tensor | None:
        """Features of the items to choose from, float32 [B, m, D]; None if continuous."""

    def history(self, state: State) -> types.Observation | None:
        """The latest events of each user as item ids; None where there is no catalogue."""
        return None

    def blocked(self, state: State) -> tf.Tensor | None:
        """Which candidates may not be shown, bool [B, m]; None where items may repeat."""
        return None if self.shown_columns is None else blocked(self, self.observation(state))

    def views(self) -> Views | None:
        """What views say of its items; None where users view nothing by themselves."""
        return None

    def structure(self) -> Structure | None:
        """The parts of its users; None where they are not known."""
        return None

    def controls(self) -> dict[str, Callable[[], tuple[Simulator, Policy]]]:
        """The controls: name -> makes the simulator to play in and the policy.

        Most play in this simulator. A control that needs another view of the same users, such
        as a posterior over them, names the simulator that gives it.
        """
        return {"random": lambda: (self, random_policy(self))}

    def of_split(self, split: str) -> Simulator:
        """The users of a split of a log; this simulator itself where there is no log."""
        return self

    def inputs(self) -> dict[str, identity.Source]:
        """The files that decide what the simulator answers, as inputs of a run."""
        return {}

    def failure(self) -> errors.UserError | None:
        """What went wrong in code of the user that a step called; None where nothing did."""
        return None

    def step(self, state: State, action: tf.Tensor, seed: tf.Tensor) -> Outcome:
        """One step of every session.

        Args:
          state: of B sessions, none of them done.
          action: int32 [B, k], positions among the candidates, or float32 [B, D] in [-1, 1].
          seed: int32 [2].
        """


def restarted(simulator: Simulator, state: State, done: tf.Tensor, seed: tf.Tensor) -> State:
    """The state with new sessions in the place of those that are done, bool [B]."""
    fresh = simulator.reset(tf.shape(done)[0], seed)
    return nests.where(done, fresh, state)


@contextlib.contextmanager
def failures(simulator: Simulator) -> Iterator[None]:
    """Raises a simulator's own `failure` in the place of the error that TensorFlow makes of it.

    Raises:
      UserError: if code of the user that a step called went wrong.
    """
    try:
        yield
    except tf.errors.OpError as error:
        failure = simulator.failure()
        if failure is None:
            raise
        raise failure from error


def for_each(catalogue: tf.Tensor, sessions: tf.Tensor) -> tf.Tensor:
    """The candidates of so many sessions that choose from one catalogue.

    Args:
      catalogue: float32 [m, D].
      sessions: int32 scalar, B.

    Returns:
      float32 [B, m, D].
    """
    return tf.broadcast_to(catalogue, tf.concat([[sessions], catalogue.shape], 0))


def timestep_of(
    simulator: Simulator, state: State, seed: tf.Tensor, user: tf.Tensor | None = None
) -> Timestep:
    """What a policy is given in a state.

    Args:
      simulator: the environment.
      state: of B sessions.
      seed: int32 [2].
      user: int32 [B], the number of each session; None where they are not numbered.
    """
    return Timestep(
        simulator.observation(state),
        simulator.candidates(state),
        state,
        seed,
        simulator.blocked(state),
        user,
        simulator.history(state),
    )


def blocked(simulator: Simulator, observation: tf.Tensor) -> tf.Tensor | None:
    """What an observation says of `Simulator.blocked`.

    Args:
      simulator: the environment.
      observation: float [B, O], as the environment gives it.

    Returns:
      bool [B, m], candidates that may not be shown; None where items may repeat.
    """
    if simulator.shown_columns is None:
        return None
    assert simulator.catalogue is not None
    shown = tf.gather(observation, simulator.shown_columns, axis=1)
    return selection.blocked_by(shown, simulator.catalogue.shape[0])


def random_policy(simulator: Simulator) -> Policy:
    """A uniform choice: k different candidates, or any action in [-1, 1]."""

    def policy(timestep: Timestep) -> tf.Tensor:
        batch = tf.shape(timestep.observation)[0]
        if timestep.candidates is None:
            shape = [batch, simulator.action_size]
            return tf.random.stateless_uniform(shape, timestep.seed, -1.0, 1.0)
        noise = tf.random.stateless_uniform(
            [batch, timestep.candidates.shape[1]], timestep.seed
        )
        return selection.best_slate(noise, simulator.slate_size, timestep.blocked)

    return policy
