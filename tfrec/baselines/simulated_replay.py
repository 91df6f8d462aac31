"""The memory of a planner: single steps, and a ring of the simulated ones.

A simulated step follows any real state, in the middle of a session too, so it is stored
with its own window of events and not as a part of a session.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrec import types
from tfrec.replay.transitions import Transitions


class Steps(NamedTuple):
    """Single steps, real or simulated: what the DQN learns from.

    Attributes:
      observation: s_t, [B, ...].
      item: int32 [B].
      reward: float [B].
      next_observation: s_{t+1}.
      stays: float [B], 0 where the user left after the item, else 1.
      next_blocked: bool [B, A] or None, see `Transitions`.
    """

    observation: types.Observation
    item: tf.Tensor
    reward: tf.Tensor
    next_observation: types.Observation
    stays: tf.Tensor
    next_blocked: tf.Tensor | None


class SimulatedReplay(tf.Module):
    """A ring of the latest simulated steps.

    Args:
      spec: the log's spec.
      capacity: steps it holds.
      repeats: whether an item may be shown twice in a session; if not, each step keeps
        which candidates may not follow, one byte each.
    """

    def __init__(self, spec: types.DataSpec, capacity: int, repeats: bool):
        super().__init__(name="simulated_replay")
        self.capacity = capacity
        h, f, a = spec.history_length, len(spec.feedback), spec.num_candidates
        # s_t and s_{t+1} are two windows on the same H + 1 events.
        self.history_item = _storage([capacity, h + 1], tf.int32, "history_item")
        self.history_feedback = _storage([capacity, h + 1, f], tf.float32, "history_feedback")
        self.step = _storage([capacity], tf.int32, "step")
        self.reward = _storage([capacity], tf.float32, "reward")
        self.stays = _storage([capacity], tf.float32, "stays")
        self.blocked = None if repeats else _storage([capacity, a], tf.bool, "blocked")
        self.added = tf.Variable(0, dtype=tf.int64, trainable=False, name="added")

    @property
    def size(self) -> tf.Tensor:
        """Steps held, int64."""
        return tf.minimum(self.added, self.capacity)

    def clear(self) -> None:
        """Drops every step."""
        self.added.assign(0)

    def add(self, steps: Steps) -> None:
        """Stores B steps over the oldest ones, B at most the capacity."""
        batch = tf.shape(steps.item, tf.int64)[0]
        slot = tf.math.floormod(self.added + tf.range(batch), self.capacity)
        last = steps.next_observation
        first = steps.observation
        item = tf.concat([first.history_item, last.history_item[:, -1:]], axis=1)  # [B, H + 1]
        feedback = tf.concat([first.history_feedback, last.history_feedback[:, -1:]], axis=1)
        pairs = [
            (self.history_item, item),
            (self.history_feedback, feedback),
            (self.step, first.step),
            (self.reward, steps.reward),
            (self.stays, steps.stays),
        ]
        if self.blocked is not None:
            pairs.append((self.blocked, steps.next_blocked))
        for variable, value in pairs:
            variable.scatter_update(tf.IndexedSlices(value, slot))
        self.added.assign_add(batch)

    def sample(self, batch: int, seed: tf.Tensor) -> Steps:
        """Draws B of the steps that are held, with equal probability."""
        slot = tf.random.stateless_uniform([batch], seed, 0, self.size, tf.int64)
        item = tf.gather(self.history_item, slot)
        feedback = tf.gather(self.history_feedback, slot)
        step = tf.gather(self.step, slot)
        return Steps(
            types.Observation(item[:, :-1], feedback[:, :-1], step),
            item[:, -1],
            tf.gather(self.reward, slot),
            types.Observation(item[:, 1:], feedback[:, 1:], step + 1),
            tf.gather(self.stays, slot),
            None if self.blocked is None else tf.gather(self.blocked, slot),
        )


def real_steps(drawn: Transitions) -> Steps:
    """One-step transitions of a replay whose own discount is 1."""
    return Steps(
        drawn.observation,
        drawn.item,
        drawn.reward,
        drawn.next_observation,
        drawn.discount,
        drawn.next_blocked,
    )


def each(function: Callable, *nests: Any) -> Any:
    """Applies a function to the tensors of nests of one structure; None stays None."""
    return tf.nest.map_structure(
        lambda first, *others: None if first is None else function(first, *others), *nests
    )


def _storage(shape: list[int], dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)
