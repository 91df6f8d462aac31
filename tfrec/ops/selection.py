"""Selection of items by their scores."""

import math

import tensorflow as tf

# Not the lowest float, so that sums and gradients are finite.
_BLOCKED = -1e9
_TRIES = 16  # samples per row to find an item that may be shown


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
    """Samples one of the items that are not blocked, with equal probability.

    Random numbers for all items are costly in large catalogues. Instead, a few items are
    sampled, and the first one that is not blocked is returned.

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
    allowed = tf.logical_not(tf.gather(blocked, tries, batch_dims=1))  # [B, tries]
    first_allowed = tf.gather(tries, tf.argmax(allowed, axis=1), batch_dims=1) + 1
    failed = tf.where(tf.logical_not(tf.reduce_any(allowed, axis=1)))  # [b, 1]
    noise = tf.random.stateless_uniform([tf.shape(failed)[0], items], seeds[1])
    fallback = best_item(noise, tf.gather_nd(blocked, failed))
    return tf.tensor_scatter_nd_update(first_allowed, failed, fallback)


def pool_size(share: float, items: int) -> int:
    """Number of items in a share of a catalogue, at least 1."""
    return max(1, round(share * items))


def random_good_item(
    scores: tf.Tensor, blocked: tf.Tensor | None, size: int, seed: tf.Tensor
) -> tf.Tensor:
    """Samples one of the best items that are not blocked, with equal probability.

    Args:
      scores: float [B, A], column i for item i + 1.
      blocked: bool [B, A] or None.
      size: number of items to sample from, see `pool_edge`.
      seed: int32 [2].

    Returns:
      int32 [B], dense item ids.
    """
    noise = tf.random.stateless_uniform(tf.shape(scores), seed)
    in_pool = scores >= pool_edge(scores, blocked, size)
    return best_item(tf.where(in_pool, noise, -1.0), blocked)


def pool_edge(
    scores: tf.Tensor, blocked: tf.Tensor | None, size: float | tf.Tensor
) -> tf.Tensor:
    """Returns the score that the best `size` allowed items reach, float [B, 1].

    The range of the scores is bisected, which is several times faster than a top-k. Items
    whose scores differ by less than a millionth of the range may be included together.

    Args:
      scores: float [B, A].
      blocked: bool [B, A] or None.
      size: number of items; where fewer are allowed, all of them are included.
    """
    free = scores if blocked is None else tf.where(blocked, scores.dtype.max, scores)
    low = tf.reduce_min(free, axis=1, keepdims=True)  # [B, 1], reached by every allowed item
    # Blocked items are never in the pool, so they get the lowest score.
    scores = scores if blocked is None else tf.where(blocked, scores.dtype.min, scores)
    high = tf.reduce_max(scores, axis=1, keepdims=True)
    for _ in range(20):
        middle = (low + high) / 2.0
        reached = tf.reduce_sum(tf.cast(scores >= middle, tf.float32), axis=1, keepdims=True)
        enough = reached >= size
        low = tf.where(enough, middle, low)
        high = tf.where(enough, high, middle)
    return low


def best_items(scores: tf.Tensor, blocked: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The items with the highest scores among those not blocked; ties in the order of items.

    Args:
      scores: float [B, A], column i for item i + 1; items without a finite score are blocked.
      blocked: bool [B, A].
      size: k.

    Returns:
      Dense item ids, int32 [B, min(k, A)], and their scores; padded with 0 and minus infinity.
    """
    allowed = ~blocked & tf.math.is_finite(scores)
    lowest = tf.constant(-math.inf, scores.dtype)
    best, place = tf.math.top_k(tf.where(allowed, scores, lowest), min(size, scores.shape[1]))
    return tf.where(tf.math.is_finite(best), place + 1, 0), best


def best_slate(scores: tf.Tensor, size: int, blocked: tf.Tensor | None = None) -> tf.Tensor:
    """Positions of the highest scores, best first.

    Args:
      scores: float [B, m].
      size: k, items in a slate.
      blocked: bool [B, m], positions that may not be selected; None if all may.

    Returns:
      int32 [B, k].
    """
    return tf.math.top_k(available(scores, blocked), size).indices


def available(scores: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
    """Scores with a value for blocked positions that has probability 0 in a softmax.

    Args:
      scores: float [B, m].
      blocked: bool [B, m], or None.
    """
    return scores if blocked is None else tf.where(blocked, _BLOCKED, scores)


def blocked_by(shown: tf.Tensor, items: int) -> tf.Tensor:
    """Mask of the positions that were shown.

    Args:
      shown: [B, S], 1 + position of each shown item, 0 for unused slots; any numeric type.
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
