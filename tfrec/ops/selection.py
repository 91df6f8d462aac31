"""Selection of items by their scores."""

import math

import tensorflow as tf

# Not the lowest float: sums of it stay finite, and so do gradients.
_BLOCKED = -1e9
_TRIES = 16  # draws among which an item that may be shown is looked for


def best_item(scores: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
    """The item with the highest score among those not blocked.

    Args:
      scores: float [B, A], column i for item i + 1.
      blocked: bool [B, A] or None.

    Returns:
      int32 [B], dense item ids.
    """
    if blocked is not None:
        scores = tf.where(blocked, scores.dtype.min, scores)
    return tf.argmax(scores, axis=-1, output_type=tf.int32) + 1


def random_item(
    rows: int | tf.Tensor, items: int, blocked: tf.Tensor | None, seed: tf.Tensor
) -> tf.Tensor:
    """Draws one of the items that are not blocked, with equal probability.

    Drawing a number for every item is costly where there are many. A few items are drawn
    instead, and the first of them that is not blocked is taken.

    Args:
      rows: B.
      items: A.
      blocked: bool [B, A] or None.
      seed: int32 [2].

    Returns:
      int32 [B], dense item ids.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    tries = tf.random.stateless_uniform([rows, _TRIES], seeds[0], 0, items, tf.int32)
    if blocked is None:
        return tries[:, 0] + 1
    free = tf.logical_not(tf.gather(blocked, tries, batch_dims=1))  # [B, tries]
    chosen = tf.gather(tries, tf.argmax(free, axis=1), batch_dims=1) + 1
    none = tf.where(tf.logical_not(tf.reduce_any(free, axis=1)))  # [b, 1]
    noise = tf.random.stateless_uniform([tf.shape(none)[0], items], seeds[1])
    others = best_item(noise, tf.gather_nd(blocked, none))
    return tf.tensor_scatter_nd_update(chosen, none, others)


def best_items(scores: tf.Tensor, blocked: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The items with the highest scores among those not blocked; of equal ones the first.

    Args:
      scores: float [B, A], column i for item i + 1; one that is not finite counts as blocked.
      blocked: bool [B, A].
      size: k.

    Returns:
      Dense item ids, int32 [B, min(k, A)], and their scores; 0 and minus infinity where no
      item is left.
    """
    free = ~blocked & tf.math.is_finite(scores)
    lowest = tf.constant(-math.inf, scores.dtype)
    best, place = tf.math.top_k(tf.where(free, scores, lowest), min(size, scores.shape[1]))
    return tf.where(tf.math.is_finite(best), place + 1, 0), best


def best_slate(scores: tf.Tensor, size: int, blocked: tf.Tensor | None = None) -> tf.Tensor:
    """Positions of the highest scores, best first.

    Args:
      scores: float [B, m].
      size: k, items in a slate.
      blocked: bool [B, m], positions that may not be chosen; None if all may.

    Returns:
      int32 [B, k].
    """
    return tf.math.top_k(available(scores, blocked), size).indices


def available(scores: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
    """Scores with those of blocked positions so low that a softmax gives them no share.

    Args:
      scores: float [B, m].
      blocked: bool [B, m], or None.
    """
    return scores if blocked is None else tf.where(blocked, _BLOCKED, scores)


def blocked_by(shown: tf.Tensor, items: int) -> tf.Tensor:
    """Mask of the positions that were shown already.

    Args:
      shown: [B, S], 1 + position of each item shown so far, 0 for none; any numeric type.
      items: m.

    Returns:
      bool [B, m].
    """
    shown = tf.cast(shown, tf.int32)
    batch = tf.shape(shown)[0]
    row = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(shown))
    cell = tf.reshape(tf.stack([row, shown], axis=-1), [-1, 2])  # [B * S, 2]
    count = tf.scatter_nd(cell, tf.ones_like(cell[:, 0]), [batch, items + 1])
    return count[:, 1:] > 0
