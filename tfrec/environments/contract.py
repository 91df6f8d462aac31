"""The contract of an environment: thousands of sessions stepped side by side in one graph.

RecSim, RecoGym, VirtualTB, users of a catalogue and Gymnasium environments implement it, and
every policy takes its `Timestep`. An action is either a slate of items, which have features and
may be new at every step, or a continuous vector. Users of a catalogue
(`users.UserEnvironment`) also give a history of item ids, from which methods with a state tower
compute their state.

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

State = Any  # nest of tensors, each [B, ...]; only the simulator reads it


class Outcome(NamedTuple):
    """Result of one step of B sessions.

    Attributes:
      state: state after the step; undefined for a session that is done.
      reward: float32 [B], the simulator's reward.
      clicks: float32 [B], clicks in this step.
      shown: float32 [B], items shown in this step: CTR is clicks / shown.
      done: bool [B], whether the session ended with this step.
    """

    state: State
    reward: tf.Tensor
    clicks: tf.Tensor
    shown: tf.Tensor
    done: tf.Tensor


class Structure(NamedTuple):
    """Factors of a simulator's state and action, and their causal influence.

    Causal augmentation exchanges factors of a state. The N factors are those of the state,
    then those of the action: the features of a slate's items side by side, or the continuous
    action itself.

    Attributes:
      state: columns of the observation in each factor.
      action: columns of the action in each factor.
      graphs: name -> influence of each factor on each factor of the next step. `true` follows
        from the simulator's code, `heuristic` is a rule of thumb. Either float [N, N], the
        same in every step; or pairs (column of the action, factor of the state) that are
        linked where the column is not 0.
      user_columns: columns of the observation that measure the similarity of two users.
      expected_reward: observation [B, O] and action [B, A] to the expected reward [B] of the
        step; None if it depends on hidden state.
    """

    state: tuple[tuple[int, ...], ...]
    action: tuple[tuple[int, ...], ...]
    graphs: dict[str, np.ndarray | list[tuple[int, int]]]
    user_columns: list[int]
    expected_reward: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None


def neighbouring(sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Factors of adjacent columns, from the number of columns in each."""
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(tuple(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True))


class ViewVectors(NamedTuple):
    """Item vectors estimated from views.

    Attributes:
      items: float32 [P, W].
      sessions: number of sessions played to collect the views.
      steps: number of recommendations in these sessions.
    """

    items: np.ndarray
    sessions: int
    steps: int


class Views(Protocol):
    """Representations from organic views, which users make without recommendations."""

    def vectors(self, width: int, sessions: int, seed: int) -> ViewVectors:
        """Item vectors from the views of users under random recommendations.

        Args:
          width: W, at most the number of items.
          sessions: number of sessions to play.
          seed: seed of these sessions.
        """

    def encoder(self, observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Encodes users by item vectors [P, W]: float [B, O] to float [B, 3 W + 1]."""

    def short_encoder(self, observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """A shorter encoding of users: float [B, O] to float [B, W]."""


class Timestep(NamedTuple):
    """Input of a policy at one step of B sessions.

    A policy reads the fields that it needs. In a graph the others cost nothing, because
    TensorFlow prunes operations without effect on the result.

    Attributes:
      observation: float32 [B, O], the observable part of the user's state; O is 0 if the
        history is the whole observation.
      candidates: float32 [B, m, D], features of the items to choose from; None if the action
        is continuous or the policy needs no features.
      state: the simulator's hidden state, for privileged controls.
      seed: int32 [2], for stochastic policies.
      blocked: bool [B, m], candidates that were shown in this session and may not be shown
        again; None if items may repeat.
      user: int32 [B], the number of each session, for policies that hold a value for a whole
        session; None if sessions are not numbered.
      history: the latest events of each user as item ids; None if the environment has no
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


# -> action for `Simulator.step`: int32 [B, k] or float32 [B, D]
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
    """A timestep of B users with only the history of each.

    Args:
      history: of B users.
      seed: int32 [2].
      blocked: bool [B, A], items that may not be shown; None if all may.
    """
    nothing = tf.zeros([tf.shape(history.step)[0], 0])
    return Timestep(nothing, None, None, seed, blocked, history=history)


class Simulator(Protocol):
    """A batched simulator. All methods are graph code and deterministic given the seed.

    A subclass declares only those optional parts that it has: the columns, `history`, `views`
    and `structure` are None by default.

    Attributes:
      observation_size: O, width of an observation.
      slate_size: k, items in a recommendation; 0 if the action is continuous.
      action_size: D, width of a continuous action, or of an item's features.
      catalogue: float32 [m, D], the candidates if they are the same for all sessions and
        steps; else None.
      feature_columns: int [C, D], the C columns of an observation that describe the user's
        relation to each item feature; None if no columns do. Methods that read an observation
        feature by feature need it, because the sizes do not determine the layout.
      view_columns: int [m], for each item the column of an observation that is above 0 if the
        user has viewed the item; None if views are not observed.
      shown_columns: int [S], the columns of an observation that hold 1 + position of each item
        shown in this session, and 0 for unused slots, if no item may be shown twice; None if
        items may repeat. They are for masks and not for networks.
    """

    observation_size: int
    slate_size: int
    action_size: int
    catalogue: tf.Tensor | None
    feature_columns: np.ndarray | None = None
    view_columns: np.ndarray | None = None
    shown_columns: np.ndarray | None = None

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> State:
        """Starts sessions of new users; seed is int32 [2]."""

    def observation(self, state: State) -> tf.Tensor:
        """The observable part of a state, float32 [B, O]."""

    def candidates(self, state: State) -> tf.Tensor | None:
        """Features of the items to choose from, float32 [B, m, D]; None if continuous."""

    def history(self, state: State) -> types.Observation | None:
        """The latest events of each user as item ids; None without a catalogue."""
        return None

    def blocked(self, state: State) -> tf.Tensor | None:
        """Mask of candidates that may not be shown, bool [B, m]; None if items may repeat."""
        return None if self.shown_columns is None else blocked(self, self.observation(state))

    def views(self) -> Views | None:
        """Representations from organic views; None if users have no such views."""
        return None

    def structure(self) -> Structure | None:
        """Factors of state and action with their causal influence; None if undefined."""
        return None

    def controls(self) -> dict[str, Callable[[], tuple[Simulator, Policy]]]:
        """Controls: name -> function that makes a simulator and a policy for it.

        Most controls use this simulator. A control that needs another view of the same users,
        such as a posterior over them, uses a simulator with that view.
        """
        return {"random": lambda: (self, random_policy(self))}

    def of_split(self, split: str) -> Simulator:
        """This simulator with the users of a split of its log; unchanged without a log."""
        return self

    def inputs(self) -> dict[str, identity.Source]:
        """Files that determine the simulator's responses, as inputs of a run."""
        return {}

    def failure(self) -> errors.UserError | None:
        """The error of user code that a step called; None without an error."""
        return None

    def step(self, state: State, action: tf.Tensor, seed: tf.Tensor) -> Outcome:
        """Takes one step in every session.

        Args:
          state: of B sessions, none of them done.
          action: int32 [B, k], positions among the candidates, or float32 [B, D] in [-1, 1].
          seed: int32 [2].
        """


def restarted(simulator: Simulator, state: State, done: tf.Tensor, seed: tf.Tensor) -> State:
    """The state with new sessions in place of those that are done, bool [B]."""
    new_sessions = simulator.reset(tf.shape(done)[0], seed)
    return nests.where(done, new_sessions, state)


@contextlib.contextmanager
def failures(simulator: Simulator) -> Iterator[None]:
    """Replaces the TensorFlow error of a failed step by the simulator's `failure`.

    Raises:
      UserError: if user code that a step called has failed.
    """
    try:
        yield
    except tf.errors.OpError as error:
        failure = simulator.failure()
        if failure is None:
            raise
        raise failure from error


def for_each(catalogue: tf.Tensor, sessions: tf.Tensor) -> tf.Tensor:
    """Repeats the candidates of one catalogue for each of B sessions.

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
    """Makes the policy's input in a state.

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
    """Computes `Simulator.blocked` from an observation.

    Args:
      simulator: the environment.
      observation: float [B, O], from `Simulator.observation`.

    Returns:
      bool [B, m], candidates that may not be shown; None where items may repeat.
    """
    if simulator.shown_columns is None:
        return None
    assert simulator.catalogue is not None
    shown = tf.gather(observation, simulator.shown_columns, axis=1)
    return selection.blocked_by(shown, simulator.catalogue.shape[0])


def random_policy(simulator: Simulator) -> Policy:
    """A uniform policy: k different candidates, or any action in [-1, 1]."""

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
