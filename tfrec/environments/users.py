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

_DECAY = 0.7  # weight of an event of the session beside that of the next one, in `recent`


class State(NamedTuple):
    """B sessions.

    Attributes:
      world: the users' hidden state.
      history_item: int32 [B, H], oldest first, left-padded with 0; 0 also for what is shown
        to users who have left.
      history_feedback: float32 [B, H, F], raw units.
      step: int32 [B], steps taken in the session.
      exited: bool [B], whether the user has left; False where the session was cut at the cap.
      blocked: bool [B, A], items that were shown in the session; [B, 0] where items may repeat.
      shown: int32 [B, S], items of the session, 0 for none; S is 0 where the observation has no
        columns of what was shown.
    """

    world: user_models.ModelState
    history_item: tf.Tensor
    history_feedback: tf.Tensor
    step: tf.Tensor
    exited: tf.Tensor
    blocked: tf.Tensor
    shown: tf.Tensor


class HistoryEncoder:
    """Summarises an observation of item ids in a vector, for networks without a state tower.

    All ours. D is the width of an item vector; clicked and skipped events are those whose first
    feedback column is positive and not.

    Args:
      spec: the log's.
      vectors: float [N + 1, D], item vectors; row 0 is zero.

    Attributes:
      before: columns that describe the events before the session, which nothing in it changes.
      feature_columns: int [4, D], the columns of what was clicked and, with the sign turned, of
        what was skipped, before the session and in it.
      size: columns in all.
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
        """The summary.

        Args:
          observation: of B users.

        Returns:
          float32 [B, size]: the mean vector of what was clicked before the session, and the
          opposite of that of what was skipped; the same of the session; the mean vector of
          what was shown in the session, later events weighing more; the vector of the last
          item and the answer to it; the mean answers; the share of the longest session that
          is over. Means are over one event more than there are, so that they tell few events
          from many.
        """
        item, feedback = observation.history_item, observation.history_feedback
        positions = tf.range(self._spec.history_length)
        valid = tf.cast(item > 0, tf.float32)  # [B, H]
        age = self._spec.history_length - 1 - positions
        now = tf.cast(age[None] < observation.step[:, None], tf.float32) * valid
        clicked = tf.cast(feedback[..., 0] > 0, tf.float32) * valid
        vectors = tf.gather(self._vectors, item)  # [B, H, D]
        answers = feedback / self._scales  # [B, H, F]

        def mean(weight: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
            total = tf.einsum("bh,bhd->bd", weight, values)
            return total / (tf.reduce_sum(weight, axis=1, keepdims=True) + 1.0)

        before, skipped = valid - now, valid - clicked
        recency = now * _DECAY ** tf.cast(age, tf.float32)
        step = tf.cast(observation.step[:, None], tf.float32) / self._spec.max_steps
        return tf.concat(
            [
                mean(clicked * before, vectors),
                -mean(skipped * before, vectors),
                mean(clicked * now, vectors),
                -mean(skipped * now, vectors),
                mean(recency, vectors),
                vectors[:, -1] * now[:, -1:],
                answers[:, -1] * now[:, -1:],
                mean(now, answers),
                step,
            ],
            axis=1,
        )


class UserEnvironment(contract.Simulator):
    """Users of a catalogue, stepped side by side; a `contract.Simulator`.

    Items are positions 0 to A - 1, dense ids less 1. A recommendation is one item. A session
    ends when the user leaves or has taken `max_steps` steps.

    Args:
      world: the users.
      starts: where the sessions of `reset` begin; each takes one of them at random. None where
        every session is begun by `begin`.
      vectors: float [N + 1, D], item vectors, see `tfrec.data.item_vectors`. None for policies
        that read the history: the observation and the candidates then have width 0.
      reward: weight of each feedback column in the reward; clicks alone by default.

    Attributes:
      world: as given.
      spec: the log's.
      encoder: what `observation` gives, before the columns of what was shown; None without
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
        self._starts = None if starts is None else _constants(starts)
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
        """The same users with sessions that begin elsewhere."""
        other = copy.copy(self)
        other._starts = _constants(starts)
        return other

    def random_starts(self, batch: int | tf.Tensor, seed: tf.Tensor) -> types.Starts:
        """Draws `batch` of the environment's starts, with replacement; seed is int32 [2].

        Raises:
          ValueError: if the environment was made without starts.
        """
        if self._starts is None:
            raise ValueError("this environment has no starts; expected some, or use `begin`")
        number = tf.random.stateless_uniform(
            [batch], seed, 0, tf.shape(self._starts.user)[0], tf.int32
        )
        return types.Starts(*(tf.gather(part, number) for part in self._starts))

    def begin(self, starts: types.Starts) -> State:
        """New sessions, one for each of B starts."""
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
        )

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> State:
        return self.begin(self.random_starts(batch, seed))

    def history(self, state: State) -> types.Observation:
        return types.Observation(state.history_item, state.history_feedback, state.step)

    def blocked(self, state: State) -> tf.Tensor | None:
        return None if self.world.repeats else state.blocked

    def observation(self, state: State) -> tf.Tensor:
        return self._observation(self.history(state), state.shown)

    def candidates(self, state: State) -> tf.Tensor:
        return contract.for_each(self.catalogue, tf.shape(state.step)[0])

    def timestep(
        self, history: types.Observation, blocked: tf.Tensor, seed: tf.Tensor
    ) -> contract.Timestep:
        """What a policy is given of users whose hidden state is not known.

        Args:
          history: of B users.
          blocked: bool [B, A], items that may not be shown. The observation's columns of what
            was shown are 0.
          seed: int32 [2].
        """
        batch = tf.shape(history.step)[0]
        return contract.history_timestep(history, seed, blocked)._replace(
            observation=self._observation(history, self._nothing_shown(batch)),
            candidates=contract.for_each(self.catalogue, batch),
        )

    def step(self, state: State, action: tf.Tensor, seed: tf.Tensor) -> contract.Outcome:
        item = contract.item_of(action)
        world, feedback, left = self.world.step(state.world, item, seed)
        blocked = state.blocked
        if not self.world.repeats:
            blocked |= tf.one_hot(item - 1, self.spec.num_candidates, True, False)
        # Those who have left are stepped on until the loop that plays drops or replaces them.
        event = tf.where(state.exited, types.PAD, item)[:, None]  # [B, 1]
        feedback = tf.where(state.exited[:, None], 0.0, feedback)  # [B, F]
        after = State(
            world,
            tf.concat([state.history_item[:, 1:], event], axis=1),
            tf.concat([state.history_feedback[:, 1:], feedback[:, None]], axis=1),
            step=state.step + 1,
            exited=state.exited | left,
            blocked=blocked,
            shown=self._shown(state, event),
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
        here = tf.one_hot(state.step, self.spec.max_steps, dtype=tf.int32)
        return state.shown + here * event

    def structure(self) -> contract.Structure | None:
        """What came before the session, which never changes, and the rest.

        The session goes on from itself, the item and, through the user's taste, from what came
        before: in the true graph nothing can be exchanged. The rule of thumb leaves taste out
        of it, as if users answered alike.
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


def _constants(starts: types.Starts) -> types.Starts:
    return types.Starts(*(tf.constant(part) for part in starts))
