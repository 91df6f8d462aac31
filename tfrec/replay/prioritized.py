"""Prioritized replay with sampling in the graph.

Schaul et al. 2016 (arXiv 1511.05952), the proportional variant: a step is sampled with
probability p_i / sum p, where p_i = (|error_i| + epsilon)^alpha, and its loss is
weighted by (N p_i / sum p)^-beta, divided by the batch's largest weight.

The sum tree has two levels, steps under sessions: sampling accumulates the sums of sessions and
then the priorities of one session's steps. Sums are recomputed from the steps, so that rounding
errors do not accumulate as in a tree with incremental updates.
"""

import dataclasses

import tensorflow as tf

from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorityConfig(Options):
    """Exponents of priorities and of importance weights."""

    alpha: float = option(0.5, "exponent of a step's error; 0 for uniform sampling", at_least=0)
    beta: float = option(
        0.4,
        "exponent of the importance weights at the first batch; it rises to 1",
        at_least=0,
        at_most=1,
    )
    beta_draws: int = option(1000, "batches after which the exponent is 1", at_least=1)
    epsilon: float = option(
        1e-3, "constant added to errors, so that every step has a priority", at_least=0
    )


class Priorities(tf.Module):
    """Priorities of the steps of a ring buffer of sessions; all state is in variables.

    Args:
      config: exponents.
      capacity: sessions.
      max_steps: T, steps of the longest session.
    """

    def __init__(self, config: PriorityConfig, capacity: int, max_steps: int):
        super().__init__(name="priorities")
        self.config = config
        # p_i, 0 for padding, and its sum over each session.
        self.step = tf.Variable(tf.zeros([capacity, max_steps]), trainable=False, name="step")
        self.session = tf.Variable(tf.zeros([capacity]), trainable=False, name="session")
        self.largest = tf.Variable(1.0, trainable=False, name="largest")
        self.draws = tf.Variable(0, dtype=tf.int64, trainable=False, name="draws")

    @property
    def beta(self) -> tf.Tensor:
        """The current importance exponent, which rises linearly from `config.beta` to 1."""
        progress = tf.cast(self.draws, tf.float32) / max(1, self.config.beta_draws)
        return self.config.beta + (1.0 - self.config.beta) * tf.minimum(progress, 1.0)

    def add(self, slot: tf.Tensor, length: tf.Tensor) -> None:
        """Sets the steps of new sessions to the largest priority so far.

        Args:
          slot: int64 [B], slots of the sessions, whose old priorities are overwritten.
          length: int32 [B], steps in each.
        """
        live = tf.sequence_mask(length, self.step.shape[1], tf.float32)  # [B, T]
        self._assign(slot, live * self.largest)

    def clear(self) -> None:
        """Sets the priorities of all steps to 0."""
        self.step.assign(tf.zeros_like(self.step))
        self.session.assign(tf.zeros_like(self.session))

    def draw(self, batch: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Samples steps in proportion to their priorities, one from each of B equal strata.

        Args:
          batch: B.
          seed: int32 [2].

        Returns:
          Slot and step, int64 [B] each; and the importance weight, float [B], at most 1.
        """
        # Float64, because float32 sums would skip steps at the end of a million.
        ends = tf.cumsum(tf.cast(self.session, tf.float64))
        total = ends[-1]
        share = tf.random.stateless_uniform([batch], seed, dtype=tf.float64)
        share = (tf.range(batch, dtype=tf.float64) + share) / batch
        point = share * total * (1.0 - 1e-12)  # below the total in spite of rounding
        slot = tf.searchsorted(ends, point, side="right", out_type=tf.int64)  # [B]
        priorities = tf.gather(self.step, slot)  # [B, T]
        inner = tf.cumsum(tf.cast(priorities, tf.float64), axis=1)
        before = tf.gather(ends, slot) - tf.cast(tf.gather(self.session, slot), tf.float64)
        offset = point - before  # [B]
        step = tf.reduce_sum(tf.cast(inner <= offset[:, None], tf.int64), axis=1)  # [B]
        # The stored sum of a session may differ from that of its steps in the last digit.
        last = tf.reduce_sum(tf.cast(priorities > 0.0, tf.int64), axis=1) - 1
        step = tf.minimum(step, last)
        priority = tf.gather(priorities, step, axis=1, batch_dims=1)  # [B]
        # N / sum p is a common factor of the batch and cancels.
        weight = tf.pow(priority, -self.beta)
        self.draws.assign_add(1)
        return slot, step, weight / tf.reduce_max(weight)

    def update(self, slot: tf.Tensor, step: tf.Tensor, error: tf.Tensor) -> None:
        """Sets the priorities of steps from their new errors.

        Args:
          slot: int64 [B].
          step: int64 [B].
          error: float [B], of any sign.
        """
        priority = tf.pow(tf.abs(error) + self.config.epsilon, self.config.alpha)
        self.step.scatter_nd_update(tf.stack([slot, step], axis=1), priority)
        self._assign(slot, tf.gather(self.step, slot))
        self.largest.assign(tf.maximum(self.largest, tf.reduce_max(priority)))

    def _assign(self, slot: tf.Tensor, priority: tf.Tensor) -> None:
        """Sets priorities [B, T] of complete sessions, and their sums."""
        self.step.scatter_update(tf.IndexedSlices(priority, slot))
        total = tf.reduce_sum(priority, axis=1)
        self.session.scatter_update(tf.IndexedSlices(total, slot))
