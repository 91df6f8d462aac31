"""A replay of complete sessions in variables, on an accelerator if there is one.

Sessions are padded arrays. A batch of steps is sampled by gathers in the graph, which also
slice the history of each step out of its session. All state is in variables, so a checkpoint
of the module resumes exactly.
"""

from typing import NamedTuple

import tensorflow as tf

from tfrec import types
from tfrec.replay import ring


class Rows(NamedTuple):
    """Steps sampled from the replay.

    Attributes:
      observation: the policy's observation, [B, ...].
      item: int32 [B].
      label: float [B, M], the label stored for this step.
      first_label: float [B, M], the label stored for the session's first step.
      goal: float [B, M], the goal stored with the session.
      slot: int64 [B], the slot of the step's session in the replay.
    """

    observation: types.Observation
    item: tf.Tensor
    label: tf.Tensor
    first_label: tf.Tensor
    goal: tf.Tensor
    slot: tf.Tensor


class EpisodeReplay(tf.Module):
    """A ring buffer of sessions, each with a label per step and one goal.

    Args:
      spec: the log's spec.
      capacity: capacity in sessions.
      label_size: M, width of a step's label and of a session's goal.
    """

    def __init__(self, spec: types.DataSpec, capacity: int, label_size: int):
        super().__init__(name="replay")
        self.spec, self.capacity = spec, capacity
        h, t, f = spec.history_length, spec.max_steps, len(spec.feedback)
        self.item = ring.storage([capacity, h + t], tf.int32, "item")
        self.feedback = ring.storage([capacity, h + t, f], tf.float32, "feedback")
        self.label = ring.storage([capacity, t, label_size], tf.float32, "label")
        self.goal = ring.storage([capacity, label_size], tf.float32, "goal")
        self.length = ring.storage([capacity], tf.int32, "length")
        self.ends = ring.storage([capacity], tf.int64, "ends")  # running total of the lengths
        self.added = ring.storage([], tf.int64, "added")
        if spec.state_features is not None:
            slots = spec.context_slots
            self.context_values = ring.storage([capacity, slots], tf.int32, "context_values")

    @property
    def size(self) -> tf.Tensor:
        """Steps held, int64."""
        return self.ends[-1]

    def next_slots(self, episodes: types.Episodes) -> tf.Tensor:
        """Slots to which `add` writes B sessions, int64 [B]; B is at most the capacity."""
        return ring.next_slots(
            self.added, tf.shape(episodes.length, tf.int64)[0], self.capacity
        )

    def add(self, episodes: types.Episodes, label: tf.Tensor, goal: tf.Tensor) -> None:
        """Stores B sessions over the oldest ones.

        Args:
          episodes: B sessions, B at most the capacity.
          label: float [B, T, M].
          goal: float [B, M].
        """
        slot = self.next_slots(episodes)
        item = tf.concat([episodes.history_item, episodes.item], axis=1)  # [B, H + T]
        feedback = tf.concat([episodes.history_feedback, episodes.feedback], axis=1)
        for variable, value in (
            (self.item, item),
            (self.feedback, feedback),
            (self.label, label),
            (self.goal, goal),
            (self.length, episodes.length),
            *self._context(episodes),
        ):
            variable.scatter_update(tf.IndexedSlices(value, slot))
        self.ends.assign(tf.cumsum(tf.cast(self.length, tf.int64)))
        self.added.assign_add(tf.size(slot, tf.int64))

    def _context(self, episodes: types.Episodes) -> list[tuple[tf.Variable, tf.Tensor]]:
        """The variables of users' features with the values to store."""
        if self.spec.state_features is None:
            return []
        return [(self.context_values, types.context_values_of(episodes))]

    def clear(self) -> None:
        """Removes all sessions; at least one must be added before sampling."""
        self.length.assign(tf.zeros_like(self.length))
        self.ends.assign(tf.zeros_like(self.ends))

    def sample(self, batch: int, seed: tf.Tensor) -> Rows:
        """Samples stored steps with equal probability.

        Args:
          batch: B.
          seed: int32 [2].
        """
        return self.rows(self.numbers(batch, seed))

    def numbers(self, batch: int, seed: tf.Tensor) -> tf.Tensor:
        """Numbers of B uniformly sampled steps, int64 [B]; see `rows`."""
        return tf.random.stateless_uniform([batch], seed, 0, self.size, tf.int64)

    def places(self, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Session and step of numbered steps, int64 [B] each.

        Args:
          number: int64 [B] in [0, size), position in the concatenation of all sessions.
        """
        ends = self.ends.read_value()
        row = tf.searchsorted(ends, number, side="right", out_type=tf.int64)  # [B]
        length = tf.cast(tf.gather(self.length, row), tf.int64)
        return row, number - (tf.gather(ends, row) - length)

    def observation(self, row: tf.Tensor, step: tf.Tensor) -> types.Observation:
        """Observation after `step` steps of a session: the H events before it, [B, ...].

        Args:
          row: the session, int64 [B].
          step: int64 [B], from 0 to the session's length.
        """
        window = step[:, None] + tf.range(self.spec.history_length, dtype=tf.int64)  # [B, H]
        cell = tf.stack([tf.broadcast_to(row[:, None], tf.shape(window)), window], axis=-1)
        return types.Observation(
            history_item=tf.gather_nd(self.item, cell),
            history_feedback=tf.gather_nd(self.feedback, cell),
            step=tf.cast(step, tf.int32),
            context_values=(
                () if self.spec.state_features is None else tf.gather(self.context_values, row)
            ),
        )

    def rows(self, number: tf.Tensor) -> Rows:
        """The numbered steps; `number` as in `places`."""
        return self._at(*self.places(number))

    def later(self, rows: Rows, steps: int) -> tuple[Rows, tf.Tensor]:
        """What follows steps of this replay some steps later in their sessions.

        Args:
          rows: B steps.
          steps: at least 1.

        Returns:
          The later steps, and whether the session has them, bool [B]; where it has not, the
          row is the session's last step.
        """
        step = rows.observation.step + steps
        last = tf.gather(self.length, rows.slot) - 1
        return self._at(rows.slot, tf.cast(tf.minimum(step, last), tf.int64)), step <= last

    def _at(self, row: tf.Tensor, step: tf.Tensor) -> Rows:
        """Steps of sessions, int64 [B] each."""
        cell = tf.stack([row, step], axis=1)  # [B, 2]
        shown = tf.stack([row, step + self.spec.history_length], axis=1)
        return Rows(
            observation=self.observation(row, step),
            item=tf.gather_nd(self.item, shown),
            label=tf.gather_nd(self.label, cell),
            first_label=tf.gather_nd(self.label, tf.stack([row, tf.zeros_like(row)], axis=1)),
            goal=tf.gather(self.goal, row),
            slot=row,
        )
