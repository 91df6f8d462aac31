"""Simulated users of a catalogue as an environment.

`UserEnvironment` wraps a `user_models.UserModel`, which models feedback and exits, as a
`contract.Simulator` whose sessions start from logged histories. It gives two views of a user:
the history of item ids, for methods with a state tower, and an observation of fixed width, for
all other networks.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, user_models

_DECAY = 0.7  # factor by which the weight of an event falls with each later event


class State(NamedTuple):
    """B sessions.

    Attributes:
      world: the users' hidden state.
      history_item: int32 [B, H], oldest first, left-padded with 0; 0 also for items shown to
        users who have left.
      history_feedback: float32 [B, H, F], raw units.
      step: int32 [B], steps taken in the session.
      exited: bool [B], whether the user has left; False if the session was cut at the cap.
      blocked: bool [B, A], items that were shown in the session; [B, 0] if items may repeat.
      shown: int32 [B, S], items of the session, 0 for unused slots; S is 0 if the observation
        has no columns of shown items.
      context_values: int32 [B, K] or (), see `types.Starts`.
    """

    world: user_models.ModelState
    history_item: tf.Tensor
    history_feedback: tf.Tensor
    step: tf.Tensor
    exited: tf.Tensor
    blocked: tf.Tensor
    shown: tf.Tensor
    context_values: tf.Tensor | tuple[()] = ()


class HistoryEncoder:
    """Summarises an observation of item ids in a vector, for networks without a state tower.

    The encoder is ours, not that of a paper. D is the width of an item vector. The first
    feedback column of a clicked event is positive; the other events are skipped ones.

    Args:
      spec: the log's spec.
      vectors: float [N + 1, D], item vectors; row 0 is zero.

    Attributes:
      before: columns of the events before the session, which are constant in a session.
      feature_columns: int [4, D], the columns of clicked items and, with negative sign, of
        skipped items, before the session and in it.
      size: number of columns.
    """

    def __init__(self, spec: types.DataSpec, vectors: np.ndarray):
        self._spec = spec
        self._vectors = tf.constant(vectors, tf.float32)
        self._scales = tf.constant([column.scale for column in spec.feedback], tf.float32)
        width = vectors.shape[1]
        self.before = np.arange(2 * width)
        self.size = 6 * width + 2 * len(spec.feedback) + 1
        self.feature_columns = np.arange(4 * width).reshape(4, width)

    def __call__(self, observation: types.Observation) -> tf.Tensor:
        """Computes the summary.

        Args:
          observation: observation of B users.

        Returns:
          float32 [B, size]: the mean vector of items clicked before the session, the negative
          mean vector of items skipped before the session, both for the session, the mean
          vector of items shown in the session with larger weights of later ones, the vector of
          the last item, its feedback, the mean feedback, and steps taken / max_steps. Means
          divide by the number of events + 1, so that they distinguish few events from many.
        """
        item, feedback = observation.history_item, observation.history_feedback
        positions = tf.range(self._spec.history_length)
        valid = tf.cast(item > 0, tf.float32)  # [B, H]
        age = self._spec.history_length - 1 - positions
        current = tf.cast(age[None] < observation.step[:, None], tf.float32) * valid
        clicked = tf.cast(feedback[..., 0] > 0, tf.float32) * valid
        vectors = tf.gather(self._vectors, item)  # [B, H, D]
        scaled = feedback / self._scales  # [B, H, F]

        def mean(weight: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
            total = tf.einsum("bh,bhd->bd", weight, values)
            return total / (tf.reduce_sum(weight, axis=1, keepdims=True) + 1.0)

        before, skipped = valid - current, valid - clicked
        recency = current * _DECAY ** tf.cast(age, tf.float32)
        step = tf.cast(observation.step[:, None], tf.float32) / self._spec.max_steps
        return tf.concat(
            [
                mean(clicked * before, vectors),
                -mean(skipped * before, vectors),
                mean(clicked * current, vectors),
                -mean(skipped * current, vectors),
                mean(recency, vectors),
                vectors[:, -1] * current[:, -1:],
                scaled[:, -1] * current[:, -1:],
                mean(current, scaled),
                step,
            ],
            axis=1,
        )


class UserEnvironment(contract.Simulator):
    """A `contract.Simulator` of users of a catalogue.

    Items are positions 0 to A - 1, dense ids - 1. A recommendation is one item. A session ends
    when the user leaves or has taken `max_steps` steps.

    Args:
      world: the user model.
      starts: session starts from which `reset` samples. None if all sessions are started by
        `begin`.
      vectors: float [N + 1, D], item vectors, see `tfrec.data.item_vectors`. None for policies
        that read the history: the observation and the candidates then have width 0.
      reward: weight of each feedback column in the reward; by default 1 for clicks, 0 for the
        rest.

    Attributes:
      world: the user model.
      spec: the log's spec.
      encoder: encoder of the observation's columns before those of shown items; None without
        item vectors.
    """

    slate_size = 1

    def __init__(
        self,
        world: user_models.UserModel,
        starts: types.Starts | None = None,
        vectors: np.ndarray | None = None,
        reward: Sequence[float] | np.ndarray | None = None,
    ):
        spec = world.spec
        self.world, self.spec = world, spec
        self._starts = None if starts is None else types.constants(starts)
        weights = reward if reward is not None else np.eye(len(spec.feedback))[0]
        self._reward = tf.constant(weights, tf.float32)
        self.encoder: HistoryEncoder | None = None
        self.observation_size = 0
        if vectors is None:
            vectors = np.zeros([spec.num_items + 1, 0])
        else:
            self.encoder = HistoryEncoder(spec, vectors)
            self.feature_columns = self.encoder.feature_columns
            self.observation_size = self.encoder.size
            if not world.repeats:
                self.shown_columns = self.encoder.size + np.arange(spec.max_steps)
                self.observation_size += spec.max_steps
        self.catalogue = tf.constant(vectors[1 : spec.num_candidates + 1], tf.float32)
        self.action_size = vectors.shape[1]

    def at(self, starts: types.Starts) -> Self:
        """The same users with other session starts."""
        other = copy.copy(self)
        other._starts = types.constants(starts)
        return other

    def random_starts(self, batch: int | tf.Tensor, seed: tf.Tensor) -> types.Starts:
        """Samples `batch` of the environment's starts with replacement; seed is int32 [2].

        Raises:
          ValueError: if the environment has no starts.
        """
        if self._starts is None:
            raise ValueError("this environment has no starts; give `starts`, or call `begin`")
        number = tf.random.stateless_uniform(
            [batch], seed, 0, tf.shape(self._starts.user)[0], tf.int32
        )
        return tf.nest.map_structure(lambda part: tf.gather(part, number), self._starts)

    def begin(self, starts: types.Starts) -> State:
        """Starts one session for each of B starts."""
        batch = tf.shape(starts.user)[0]
        items = 0 if self.world.repeats else self.spec.num_candidates
        return State(
            self.world.reset(starts),
            starts.history_item,
            starts.history_feedback,
            step=tf.zeros_like(starts.user),
            exited=tf.zeros_like(starts.user, tf.bool),
            blocked=tf.zeros([batch, items], tf.bool),
            shown=self._nothing_shown(batch),
            context_values=starts.context_values,
        )

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> State:
        return self.begin(self.random_starts(batch, seed))

    def history(self, state: State) -> types.Observation:
        return types.Observation(
            state.history_item, state.history_feedback, state.step, state.context_values
        )

    def blocked(self, state: State) -> tf.Tensor | None:
        return None if self.world.repeats else state.blocked

    def observation(self, state: State) -> tf.Tensor:
        return self._observation(self.history(state), state.shown)

    def candidates(self, state: State) -> tf.Tensor:
        return contract.for_each(self.catalogue, tf.shape(state.step)[0])

    def timestep(
        self, history: types.Observation, blocked: tf.Tensor, seed: tf.Tensor
    ) -> contract.Timestep:
        """Makes the policy's input for users without a hidden state.

        Args:
          history: histories of B users.
          blocked: bool [B, A], items that may not be shown. The observation's columns of shown
            items are 0.
          seed: int32 [2].
        """
        batch = tf.shape(history.step)[0]
        return contract.history_timestep(history, seed, blocked)._replace(
            observation=self._observation(history, self._nothing_shown(batch)),
            candidates=contract.for_each(self.catalogue, batch),
        )

    def step(self, state: State, action: tf.Tensor, seed: tf.Tensor) -> contract.Outcome:
        item = contract.item_of(action)
        world, feedback, exits = self.world.step(state.world, item, seed)
        blocked = state.blocked
        if not self.world.repeats:
            blocked |= tf.one_hot(item - 1, self.spec.num_candidates, True, False)
        # Users who have left are stepped too, until the loop drops or replaces them.
        event = tf.where(state.exited, types.PAD, item)[:, None]  # [B, 1]
        feedback = tf.where(state.exited[:, None], 0.0, feedback)  # [B, F]
        after = State(
            world,
            tf.concat([state.history_item[:, 1:], event], axis=1),
            tf.concat([state.history_feedback[:, 1:], feedback[:, None]], axis=1),
            step=state.step + 1,
            exited=state.exited | exits,
            blocked=blocked,
            shown=self._shown(state, event),
            context_values=state.context_values,
        )
        return contract.Outcome(
            after,
            reward=tf.linalg.matvec(feedback, self._reward),
            clicks=feedback[:, 0],
            shown=tf.ones_like(feedback[:, 0]),
            done=after.exited | (after.step >= self.spec.max_steps),
        )

    def _observation(self, history: types.Observation, shown: tf.Tensor) -> tf.Tensor:
        if self.encoder is None:
            return tf.zeros([tf.shape(history.step)[0], 0])
        summary = self.encoder(history)
        if self.shown_columns is None:
            return summary
        return tf.concat([summary, tf.cast(shown, tf.float32)], axis=1)

    def _nothing_shown(self, batch: tf.Tensor) -> tf.Tensor:
        slots = 0 if self.shown_columns is None else len(self.shown_columns)
        return tf.zeros([batch, slots], tf.int32)

    def _shown(self, state: State, event: tf.Tensor) -> tf.Tensor:
        if self.shown_columns is None:
            return state.shown
        slot = tf.one_hot(state.step, self.spec.max_steps, dtype=tf.int32)
        return state.shown + slot * event

    def structure(self) -> contract.Structure | None:
        """Two factors of the state: the events before the session, and those of the session.

        The next session factor depends on itself, on the item and, through the user's taste, on
        the events before the session, so that the true graph admits no exchange. The heuristic
        graph ignores taste, as if all users had the same response probabilities.
        """
        if self.encoder is None:
            return None
        before = self.encoder.before.tolist()
        user, current, action = range(3)
        heuristic = np.zeros([3, 3])
        heuristic[user, user] = heuristic[current, current] = heuristic[action, current] = 1.0
        true = heuristic.copy()
        true[user, current] = 1.0
        return contract.Structure(
            state=contract.neighbouring([len(before), self.observation_size - len(before)]),
            action=contract.neighbouring([self.action_size]),
            graphs={"heuristic": heuristic, "true": true},
            user_columns=before,
        )
