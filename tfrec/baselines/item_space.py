"""Items as points of a space in which an actor acts: which items are near where it points?"""

import numpy as np
import tensorflow as tf

from tfrec.simulators import session


def unit_vectors(item_vectors: np.ndarray, candidates: int) -> np.ndarray:
    """Item vectors as actions: each axis standardised, then each vector scaled to length 1.

    An axis of the factorisation is as long as its singular value; here all count alike.
    On the sphere the actor cannot run into the corners of a box, where its gradient ends.

    Args:
      item_vectors: float [N + 1, D].
      candidates: A; the mean and deviation are those of items 1..A.

    Returns:
      float32 [N + 1, D]; row 0 (no item) is 0, as are items at the centre of all.
    """
    among = item_vectors[1 : candidates + 1]
    deviation = among.std(axis=0)
    space = (item_vectors - among.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1.0)
    space[0] = 0.0
    length = np.linalg.norm(space, axis=1, keepdims=True)
    return (space / np.where(length > 1e-6, length, 1.0)).astype(np.float32)


class ItemSpace(tf.Module):
    """Where the items are, and which of them are near a point.

    Args:
      vectors: float [N + 1, D], from `unit_vectors`.
      candidates: A; items 1..A may be chosen.
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
        return session.best(self.closeness(point), blocked)

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
