"""Items as points of an actor's action space, and the search for items near a point."""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.ops import selection


def unit_vectors(item_vectors: np.ndarray, candidates: int, log: types.Episodes) -> np.ndarray:
    """Items as actions: vectors of co-clicks and of users' behaviour after each item.

    Co-clicks describe the users that an item suits, not its effect on exits. The vectors
    therefore also have standardised columns of such statistics of the log. The factorisation's
    axes retain their relative lengths, and together they have the same weight as all these
    columns. Then each vector is scaled to length 1: on the sphere the actor cannot
    run into the corners of a box, where its gradient ends.

    Args:
      item_vectors: float [N + 1, D], co-click vectors.
      candidates: A; means and deviations are those of items 1..A.
      log: training sessions.

    Returns:
      float32 [N + 1, D + F + 1]; row 0 (no item) is 0, as are items at the centre of all.
    """
    responses = _mean_responses(log, len(item_vectors))  # [N + 1, F + 1]
    of_candidates = responses[1 : candidates + 1]
    deviation = of_candidates.std(axis=0)
    # Relative to the column's size, because units of amounts are arbitrary.
    varies = deviation > 1e-9 * np.abs(of_candidates).max(axis=0)
    responses = (responses - of_candidates.mean(axis=0)) / np.where(varies, deviation, 1.0)
    tastes = item_vectors - item_vectors[1 : candidates + 1].mean(axis=0)
    length = np.sqrt((tastes[1 : candidates + 1] ** 2).sum(axis=1).mean())
    tastes = tastes * np.sqrt(responses.shape[1]) / max(float(length), 1e-6)
    space = np.concatenate([tastes, responses], axis=1)  # [N + 1, D + F + 1]
    space[0] = 0.0
    lengths = np.linalg.norm(space, axis=1, keepdims=True)
    return (space / np.where(lengths > 1e-6, lengths, 1.0)).astype(np.float32)


def _mean_responses(log: types.Episodes, rows: int, prior: float = 10.0) -> np.ndarray:
    """Each item's mean feedback (log(1 + x)) and share of exits, float [rows, F + 1].

    Rarely shown items are drawn to the mean of all, as if shown `prior` times more.
    """
    steps = np.arange(log.item.shape[1])
    length = np.asarray(log.length)[:, None]
    left = (steps == length - 1) & np.asarray(log.exited)[:, None]  # [B, T]
    feedback = np.log1p(np.maximum(np.asarray(log.feedback, np.float64), 0.0))
    live = steps < length
    values = np.concatenate([feedback, left[..., None]], axis=-1)[live]  # [steps, F + 1]
    item = np.asarray(log.item)[live]
    count = np.bincount(item, minlength=rows)[:, None]
    sums = np.stack([np.bincount(item, column, rows) for column in values.T], axis=1)
    return (sums + prior * values.mean(axis=0)) / (count + prior)


class ItemSpace(tf.Module):
    """Where the items are, and which of them are near a point.

    Args:
      vectors: float [N + 1, D], from `unit_vectors`.
      candidates: A; items 1..A may be shown.
    """

    def __init__(self, vectors: np.ndarray, candidates: int):
        super().__init__(name="item_space")
        self.candidates = candidates
        self.vectors = tf.Variable(vectors, trainable=False, name="vectors")  # [N + 1, D]

    def vector(self, item: tf.Tensor) -> tf.Tensor:
        """Vectors of items, float [..., D]; item is int32 [...]."""
        return tf.gather(self.vectors, item)

    def closeness(self, point: tf.Tensor) -> tf.Tensor:
        """Minus the squared distance to each candidate, but for |point|^2: float [B, A]."""
        near = self.vectors[1 : self.candidates + 1]  # [A, D]
        product = tf.matmul(point, near, transpose_b=True)  # [B, A]
        return 2.0 * product - tf.reduce_sum(near**2, axis=-1)

    def nearest(self, point: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
        """The nearest candidate that is not blocked, int32 [B]; point is float [B, D]."""
        return selection.best_item(self.closeness(point), blocked)

    def neighbours(
        self, point: tf.Tensor, count: int, blocked: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The nearest candidates, nearest first; blocked ones come last.

        Args:
          point: float [B, D].
          count: k, at most A.
          blocked: bool [B, A] or None.

        Returns:
          int32 [B, k], item ids; and which of them are blocked, bool [B, k] or None.
        """
        closeness = self.closeness(point)
        if blocked is not None:
            closeness = tf.where(blocked, closeness.dtype.min, closeness)
        _, index = tf.math.top_k(closeness, count)
        barred = None if blocked is None else tf.gather(blocked, index, batch_dims=1)
        return index + 1, barred
