"""The replay of a planner: single steps, and a ring buffer of simulated ones.

A simulated step may start from any state of a real session, so it is stored with its history of
events and not as a part of a session.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrec import types
from tfrec.replay.ring import Ring
from tfrec.replay.transitions import Transitions


class Steps(NamedTuple):
    """Single steps, real or simulated, of the DQN's updates.

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
        h, f, a = spec.history_length, len(spec.feedback), spec.num_candidates
        columns = {
            # s_t and s_{t+1} are two windows on the same H + 1 events.
            "history_item": tf.TensorSpec([h + 1], tf.int32),
            "history_feedback": tf.TensorSpec([h + 1, f], tf.float32),
            "step": tf.TensorSpec([], tf.int32),
            "reward": tf.TensorSpec([], tf.float32),
            "stays": tf.TensorSpec([], tf.float32),
        }
        if not repeats:
            columns["blocked"] = tf.TensorSpec([a], tf.bool)
        if spec.state_features is not None:
            columns["context_values"] = tf.TensorSpec([spec.context_slots], tf.int32)
        self.ring = Ring(capacity, columns)

    @property
    def size(self) -> tf.Tensor:
        """Steps held, int64."""
        return self.ring.size

    def clear(self) -> None:
        """Drops every step."""
        self.ring.clear()

    def add(self, steps: Steps) -> None:
        """Stores B steps over the oldest ones, B at most the capacity."""
        last = steps.next_observation
        first = steps.observation
        item = tf.concat([first.history_item, last.history_item[:, -1:]], axis=1)  # [B, H + 1]
        feedback = tf.concat([first.history_feedback, last.history_feedback[:, -1:]], axis=1)
        rows = {
            "history_item": item,
            "history_feedback": feedback,
            "step": first.step,
            "reward": steps.reward,
            "stays": steps.stays,
        }
        if "blocked" in self.ring.columns:
            rows["blocked"] = steps.next_blocked
        if "context_values" in self.ring.columns:
            rows["context_values"] = types.context_values_of(first)
        self.ring.add(rows)

    def sample(self, batch: int, seed: tf.Tensor) -> Steps:
        """Draws B of the steps that are held, with equal probability."""
        rows = self.ring.sample(batch, seed)
        item, feedback, step = rows["history_item"], rows["history_feedback"], rows["step"]
        user = rows.get("context_values", ())
        return Steps(
            types.Observation(item[:, :-1], feedback[:, :-1], step, user),
            item[:, -1],
            rows["reward"],
            types.Observation(item[:, 1:], feedback[:, 1:], step + 1, user),
            rows["stays"],
            rows.get("blocked"),
        )


def real_steps(drawn: Transitions) -> Steps:
    """One-step transitions of a replay with discount 1."""
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
