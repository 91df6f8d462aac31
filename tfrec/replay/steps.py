"""A replay of flat steps: state and action are vectors, and some rows are synthetic.

Real and synthetic rows are separate ring buffers, so that synthetic rows never replace real
ones. Both are in the same variables, so that a batch is one gather. All state is in variables,
so a checkpoint of the module resumes exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfrec.replay import ring


class Steps(NamedTuple):
    """Steps of any users, one a row.

    Attributes:
      state: float32 [B, S], s_t.
      action: float32 [B, D], a_t.
      reward: float32 [B], r_t.
      next_state: float32 [B, S], s_{t+1}.
      discount: float32 [B], discount of the return after s_{t+1}; 0 if the session ended.
      user: int32 [B], the user, or the session if users are not identified.
      own_next: bool [B], whether `next_state` is a state of this user. False if a simulator
        starts the next user within the last step of a session; that `next_state` must not be
        learned from.
      synthetic: bool [B], whether the row combines two others.
    """

    state: tf.Tensor
    action: tf.Tensor
    reward: tf.Tensor
    next_state: tf.Tensor
    discount: tf.Tensor
    user: tf.Tensor
    own_next: tf.Tensor
    synthetic: tf.Tensor


class StepReplay(tf.Module):
    """A ring buffer of real steps and one of synthetic steps.

    A row takes 8 S + 4 D + 14 bytes: a million with S = 91 and D = 27 take 0.85 GB.

    Args:
      state_size: S.
      action_size: D.
      capacity: capacity in real rows.
      synthetic_capacity: additional capacity in synthetic rows.
    """

    def __init__(
        self, state_size: int, action_size: int, capacity: int, synthetic_capacity: int = 0
    ):
        super().__init__(name="step_replay")
        self.capacity, self.synthetic_capacity = capacity, synthetic_capacity
        rows = capacity + synthetic_capacity  # synthetic rows follow the real ones
        self.state = ring.storage([rows, state_size], tf.float32, "state")
        self.action = ring.storage([rows, action_size], tf.float32, "action")
        self.reward = ring.storage([rows], tf.float32, "reward")
        self.next_state = ring.storage([rows, state_size], tf.float32, "next_state")
        self.discount = ring.storage([rows], tf.float32, "discount")
        self.user = ring.storage([rows], tf.int32, "user")
        self.own_next = ring.storage([rows], tf.bool, "own_next")
        self.added = ring.storage([], tf.int64, "added")
        self.added_synthetic = ring.storage([], tf.int64, "added_synthetic")

    @property
    def size(self) -> tf.Tensor:
        """Real rows held, int64."""
        return tf.minimum(self.added, self.capacity)

    @property
    def synthetic_size(self) -> tf.Tensor:
        """Synthetic rows held, int64."""
        return tf.minimum(self.added_synthetic, self.synthetic_capacity)

    def add(self, steps: Steps) -> None:
        """Stores B real rows over the oldest ones. Graph code.

        Raises:
          tf.errors.InvalidArgumentError: if B is more than the capacity, or a row is
            tagged synthetic.
        """
        tf.debugging.assert_equal(
            tf.reduce_any(steps.synthetic), False, "synthetic rows go to add_synthetic"
        )
        self._write(steps, self.added, 0, self.capacity)

    def add_synthetic(self, steps: Steps, valid: tf.Tensor) -> None:
        """Stores the valid ones, bool [B], of B synthetic rows over the oldest.

        Raises:
          tf.errors.InvalidArgumentError: if more are valid than it can hold, or a row is
            not tagged synthetic.
        """
        tf.debugging.assert_equal(
            tf.reduce_all(steps.synthetic), True, "rows that are not synthetic go to add"
        )
        rows = tf.nest.map_structure(lambda column: tf.boolean_mask(column, valid), steps)
        self._write(rows, self.added_synthetic, self.capacity, self.synthetic_capacity)

    def sample(self, shape: int | Sequence[int | tf.Tensor], seed: tf.Tensor) -> Steps:
        """Samples batches of rows with equal probability. Graph code.

        At most half of each batch is synthetic; further synthetic rows are replaced by real
        ones. The replay must hold at least one real row.

        Args:
          shape: B for one batch, or [N, B] for N batches in one gather.
          seed: int32 [2]; equal seeds and contents give equal rows.

        Returns:
          Rows [B, ...] or [N, B, ...].
        """
        shape = [shape] if isinstance(shape, int) else list(shape)
        seeds = tf.random.experimental.stateless_split(seed, 2)
        size = self.size
        real = tf.random.stateless_uniform(shape, seeds[0], 0, size, tf.int64)
        if not self.synthetic_capacity:
            return self.rows(real)
        number = tf.random.stateless_uniform(
            shape, seeds[1], 0, size + self.synthetic_size, tf.int64
        )
        synthetic = number >= size  # [.., B]
        count = tf.cumsum(tf.cast(synthetic, tf.int32), axis=-1)  # [.., B], within a batch
        allowed = synthetic & (count <= shape[-1] // 2)
        slot = tf.where(allowed, self.capacity + number - size, real)
        return self.rows(slot)

    def sample_real(self, batch: int, seed: tf.Tensor) -> Steps:
        """Samples real rows with equal probability; seed is int32 [2]. Graph code."""
        return self.rows(tf.random.stateless_uniform([batch], seed, 0, self.size, tf.int64))

    def rows(self, slot: tf.Tensor) -> Steps:
        """The rows in slots, int64 [..]; those from `capacity` on are synthetic."""
        return Steps(
            state=tf.gather(self.state, slot),  # [.., S]
            action=tf.gather(self.action, slot),  # [.., D]
            reward=tf.gather(self.reward, slot),
            next_state=tf.gather(self.next_state, slot),  # [.., S]
            discount=tf.gather(self.discount, slot),
            user=tf.gather(self.user, slot),
            own_next=tf.gather(self.own_next, slot),
            synthetic=slot >= self.capacity,
        )

    def _write(self, steps: Steps, added: tf.Variable, first: int, capacity: int) -> None:
        batch = tf.shape(steps.reward, tf.int64)[0]
        tf.debugging.assert_less_equal(
            batch, tf.constant(capacity, tf.int64), "more rows at once than the replay holds"
        )
        # A buffer without capacity stores no rows, but a remainder by 0 is an error.
        slot = first + ring.next_slots(added, batch, max(1, capacity))
        for name in steps._fields[:-1]:  # the slot determines whether a row is synthetic
            getattr(self, name).scatter_update(tf.IndexedSlices(getattr(steps, name), slot))
        added.assign_add(batch)
