"""Simulated users of a catalogue as an environment of the methods that learn step by step.

`session.World` answers for users who start where a log says; `session.rollout` plays whole
sessions of it. Here the same world meets `contract.Simulator`: sessions side by side, a new
user in the place of one who has left, observations of fixed width.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, session

_DECAY = 0.7  # weight of an event of the session beside that of the next one, in `recent`


class State(NamedTuple):
    """B sessions.

    Attributes:
      world: the users' hidden state.
      history_item: int32 [B, H], oldest first, left-padded with 0.
      history_feedback: float32 [B, H, F], raw units.
      step: int32 [B], steps taken in the session.
      shown: int32 [B, S], items of the session, 0 for none; S is 0 where items may repeat.
    """

    world: session.WorldState
    history_item: tf.Tensor
    history_feedback: tf.Tensor
    step: tf.Tensor
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
      starts: where sessions begin; each new session takes one of them at random.
      vectors: float [N + 1, D], item vectors, see `tfrec.data.item_vectors`.
      reward: weight of each feedback column in the reward; clicks alone by default.

    Attributes:
      world: as given.
      encoder: what `observation` gives, before the columns of what was shown.
    """

    slate_size = 1

    def __init__(
        self,
        world: session.World,
        starts: types.Starts,
        vectors: np.ndarray,
        reward: Sequence[float] | None = None,
    ):
        spec = world.spec
        self.world, self._spec = world, spec
        self._starts = types.Starts(*(tf.constant(part) for part in starts))
        weights = reward if reward is not None else np.eye(len(spec.feedback))[0]
        self._reward = tf.constant(weights, tf.float32)
        self.encoder = HistoryEncoder(spec, vectors)
        self.catalogue = tf.constant(vectors[1 : spec.num_candidates + 1], tf.float32)
        self.action_size = vectors.shape[1]
        self.feature_columns = self.encoder.feature_columns
        self.observation_size = self.encoder.size
        if not world.repeats:
            self.shown_columns = self.encoder.size + np.arange(spec.max_steps)
            self.observation_size += spec.max_steps

    def at(self, starts: types.Starts) -> Self:
        """The same users with sessions that begin elsewhere."""
        other = copy.copy(self)
        other._starts = types.Starts(*(tf.constant(part) for part in starts))
        return other

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> State:
        number = tf.random.stateless_uniform(
            [batch], seed, 0, tf.shape(self._starts.user)[0], tf.int32
        )
        starts = types.Starts(*(tf.gather(part, number) for part in self._starts))
        slots = 0 if self.shown_columns is None else self._spec.max_steps
        return State(
            self.world.reset(starts),
            starts.history_item,
            starts.history_feedback,
            tf.zeros_like(starts.user),
            tf.zeros([batch, slots], tf.int32),
        )

    def history(self, state: State) -> types.Observation:
        """What methods with a state tower read."""
        return types.Observation(state.history_item, state.history_feedback, state.step)

    def observation(self, state: State) -> tf.Tensor:
        summary = self.encoder(self.history(state))
        if self.shown_columns is None:
            return summary
        return tf.concat([summary, tf.cast(state.shown, tf.float32)], axis=1)

    def candidates(self, state: State) -> tf.Tensor:
        return contract.for_each(self.catalogue, tf.shape(state.step)[0])

    def step(self, state: State, action: tf.Tensor, seed: tf.Tensor) -> contract.Outcome:
        item = action[:, 0] + 1
        world, feedback, left = self.world.step(state.world, item, seed)
        after = State(
            world,
            tf.concat([state.history_item[:, 1:], item[:, None]], axis=1),
            tf.concat([state.history_feedback[:, 1:], feedback[:, None]], axis=1),
            state.step + 1,
            self._shown(state, item),
        )
        return contract.Outcome(
            after,
            reward=tf.linalg.matvec(feedback, self._reward),
            clicks=feedback[:, 0],
            shown=tf.ones_like(feedback[:, 0]),
            done=left | (after.step >= self._spec.max_steps),
        )

    def _shown(self, state: State, item: tf.Tensor) -> tf.Tensor:
        if self.shown_columns is None:
            return state.shown
        here = tf.one_hot(state.step, self._spec.max_steps, dtype=tf.int32)
        return state.shown + here * item[:, None]

    def structure(self) -> contract.Structure:
        """What came before the session, which never changes, and the rest.

        The session goes on from itself, the item and, through the user's taste, from what came
        before: in the true graph nothing can be exchanged. The rule of thumb leaves taste out
        of it, as if users answered alike.
        """
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

    def policy(self, act: contract.Policy) -> session.Policy:
        """A step-by-step policy as one of whole sessions, for `session.rollout`.

        Args:
          act: of this environment; it must not read the hidden state.
        """

        def recommend(timestep: session.SessionTimestep) -> tf.Tensor:
            observation = self.encoder(timestep.observation)
            if self.shown_columns is not None:  # `blocked` says it
                padding = len(self.shown_columns)
                observation = tf.pad(observation, [[0, 0], [0, padding]])
            candidates = contract.for_each(self.catalogue, tf.shape(observation)[0])
            asked = contract.Timestep(
                observation, candidates, None, timestep.seed, timestep.blocked
            )
            return act(asked)[:, 0] + 1

        return recommend

    def adapted(self, recommend: session.Policy) -> contract.Policy:
        """A policy of whole sessions as one of this environment; it may read hidden states."""

        def act(timestep: contract.Timestep) -> tf.Tensor:
            asked = session.SessionTimestep(
                self.history(timestep.state),
                timestep.blocked,
                timestep.state.world,
                timestep.seed,
            )
            return recommend(asked)[:, None] - 1

        return act
