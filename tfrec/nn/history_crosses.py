"""Crosses of the history with a candidate: how often it showed and clicked the same values.

For a candidate i and each crossed column k of the items, such as the shop, there are three
numbers:

    shown      events that share a value with i, over the root of the number of events
    clicked    clicked events that share a value with i, over the root of their number
    latest     1 if the latest clicked event shares a value with i

A score gets the additive term sum_kp w_kp(s) x_kp(s, i), whose weights are a linear function of
the state that starts at 0. Items of several values share a value to the degree of the cosine of
their sets, |A and B| / sqrt(|A| |B|). A missing and a rare value are shared with no item.

The numbers are linear in the item: x_kp(s, i) = h_kp(s) . c_k(i). The vector c_k(i) is fixed,
and h_kp(s) is the weighted sum of the vectors of the events. The term is therefore an inner
product of a query of the state with columns of the item's vector, and the search of a catalogue
stays exact.

A column of at most `width` values has a column of c_k for each value, and the numbers are
exact. A column of more values is sketched: each value has 4 entries of +-1/2, one in each
quarter of c_k, at hashed places (a sparse Johnson-Lindenstrauss transform, Kane and Nelson,
J. ACM 2014). A number then has an error of mean 0 and of a standard deviation of about

    sqrt(sum of the squared weights of the events' other values / width)
"""

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.nn.item_embedding import ItemEmbedding

PARTS = ("shown", "clicked", "latest")  # the axis P
_DEPTH = 4  # entries of a value in a sketch
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplicative hashing


class HistoryCrosses(tf.Module):
    """The crosses of all columns, W numbers of an item's vector.

    Axes: K crossed columns, P parts (`PARTS`), W the widths of all columns.

    Args:
      items: embedding of the items, which has the values of their features.
      inputs: width of the state that the weights are computed from.
      outputs: M, numbers that a term is added to.
    """

    def __init__(self, items: ItemEmbedding, inputs: int, outputs: int):
        super().__init__(name="history_crosses")
        assert items.features is not None
        self._items, self._crosses = items, items.features.crosses
        self._place, self._entry = codes(self._crosses, items.features.values)
        ends = np.cumsum([0, *(min(cross.size, cross.width) for cross in self._crosses)])
        self.width = int(ends[-1])
        self._ranges = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        slots = [np.arange(cross.slot, cross.slot + cross.slots) for cross in self._crosses]
        self._slots = np.concatenate(slots)  # [S]
        self._column_of_slot = np.repeat(np.arange(len(slots)), [len(x) for x in slots])  # [S]
        self._outputs = outputs
        self.weight_net = tf_keras.layers.Dense(
            outputs * len(self._crosses) * len(PARTS), kernel_initializer="zeros"
        )
        self.weight_net.build([None, inputs])

    def vectors(self, item: tf.Tensor) -> tf.Tensor:
        """Vectors c of items: int32 [...] -> float [..., W]."""
        place, entry = self._sparse(tf.reshape(item, [-1]))
        dense = self._sums(place, entry[..., None])[..., 0]  # [n, W]
        dense = tf.reshape(dense, tf.concat([tf.shape(item), [self.width]], axis=0))
        return tf.ensure_shape(dense, [*item.shape, self.width])

    def history(self, observation: types.Observation) -> tf.Tensor:
        """Sums h of B histories, float [B, W, P]."""
        shown = tf.cast(observation.history_item != types.PAD, tf.float32)  # [B, H]
        clicked = tf.clip_by_value(observation.history_feedback[..., 0], 0.0, 1.0) * shown
        is_click = tf.cast(clicked > 0.0, tf.float32)
        later_clicks = tf.cumsum(is_click, axis=1, exclusive=True, reverse=True)
        latest = is_click * tf.cast(later_clicks == 0.0, tf.float32)
        parts = tf.stack([_over_root(shown), _over_root(clicked), latest], axis=-1)  # [B, H, P]
        place, entry = self._sparse(tf.reshape(observation.history_item, [-1]))  # [B * H, E]
        entries = place.shape[1]
        weight = tf.reshape(parts, [-1, 1, len(PARTS)]) * entry[..., None]  # [B * H, E, P]
        events = parts.shape[1] * entries
        return self._sums(
            tf.reshape(place, [-1, events]), tf.reshape(weight, [-1, events, len(PARTS)])
        )

    def weights(self, state: tf.Tensor) -> tf.Tensor:
        """Weights w of states: float [B, inputs] -> float [B, M, K, P]."""
        shape = [-1, self._outputs, len(self._crosses), len(PARTS)]
        return tf.reshape(self.weight_net(state), shape)  # [B, M, K, P]

    def terms(self, history: tf.Tensor, weight: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """Additive terms of given items.

        Args:
          history: h, float [B, W, P].
          weight: w, float [B, M, K, P].
          vector: c, float [B, A, W].

        Returns:
          float [B, A, M].
        """
        numbers = [
            tf.matmul(vector[..., start:end], history[:, start:end])  # [B, A, P]
            for start, end in self._ranges
        ]
        return tf.einsum("bmkp,bapk->bam", weight, tf.stack(numbers, axis=-1))

    def query(self, history: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Queries whose inner product with c(i) is the term of item i.

        Args:
          history: h, float [B, W, P].
          weight: w, float [B, M, K, P].

        Returns:
          float [B, M, W].
        """
        parts = [
            tf.matmul(weight[:, :, column], history[:, start:end], transpose_b=True)
            for column, (start, end) in enumerate(self._ranges)
        ]
        return tf.concat(parts, axis=-1)

    def _sparse(self, item: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Places and entries of c that are not 0, [n, E] each: int32 [n] -> int32, float."""
        values = tf.gather(tf.gather(self._items.values, item), self._slots, axis=1)  # [n, S]
        place = tf.gather(tf.constant(self._place), values)  # [n, S, depth]
        entry = tf.gather(tf.constant(self._entry), values)  # [n, S, depth]
        present = tf.cast(entry[..., 0] != 0.0, tf.float32)  # [n, S]
        is_of = np.equal.outer(self._column_of_slot, self._column_of_slot)  # [S, S]
        count = tf.matmul(present, is_of.astype(np.float32))  # values of the column, [n, S]
        entry *= tf.math.rsqrt(tf.maximum(count, 1.0))[..., None]
        entries = entry.shape[1] * entry.shape[2]  # E
        return tf.reshape(place, [-1, entries]), tf.reshape(entry, [-1, entries])

    def _sums(self, place: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Sums of weights by place: int32 [n, E], float [n, E, Q] -> float [n, W, Q]."""
        rows, parts = tf.shape(place, tf.int64)[0], weight.shape[-1]
        index = tf.range(rows)[:, None] * self.width + tf.cast(place, tf.int64)  # [n, E]
        flat = tf.math.unsorted_segment_sum(
            tf.reshape(weight, [-1, parts]), tf.reshape(index, [-1]), rows * self.width
        )
        return tf.reshape(flat, [-1, self.width, parts])  # [n, W, Q]


def of_items(items: ItemEmbedding, inputs: int, outputs: int) -> HistoryCrosses | None:
    """Crosses of the declared columns; None if no column is crossed.

    Args:
      items: embedding of the items.
      inputs: as for `HistoryCrosses`.
      outputs: as for `HistoryCrosses`.
    """
    if items.features is None or not items.features.crosses:
        return None
    return HistoryCrosses(items, inputs, outputs)


def codes(crosses: tuple[types.CrossSpec, ...], values: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a value adds to the vector of its item, and what.

    Args:
      crosses: the crossed columns.
      values: V.

    Returns:
      Places, int32 [V + 1, depth], and entries, float32 [V + 1, depth], 0 for values that are
      not counted. The depth is 1 if no column is sketched. A value's code depends only on its
      rank among the values of its column, so it stays when other columns grow.
    """
    depth = _DEPTH if any(cross.size > cross.width for cross in crosses) else 1
    place = np.zeros([values + 1, depth], np.int32)
    entry = np.zeros([values + 1, depth], np.float32)
    start = 0
    for cross in crosses:
        rank, number = np.arange(cross.size), slice(cross.first, cross.first + cross.size)
        if cross.size <= cross.width:
            place[number, 0], entry[number, 0] = start + rank, 1.0
        else:
            edges = np.arange(_DEPTH + 1) * cross.width // _DEPTH  # of the quarters
            for k in range(_DEPTH):
                mixed = _mixed(rank * _DEPTH + k)
                width = np.uint64(edges[k + 1] - edges[k])
                place[number, k] = start + edges[k] + ((mixed >> np.uint64(33)) % width)
                sign = (mixed >> np.uint64(32)) & np.uint64(1)
                entry[number, k] = (2.0 * sign - 1.0) / np.sqrt(_DEPTH)
        start += min(cross.size, cross.width)
    return place, entry


def _over_root(count: tf.Tensor) -> tf.Tensor:
    """Weights of events over the root of their sum, float [B, H]; 0 if there are none."""
    return count * tf.math.rsqrt(tf.maximum(tf.reduce_sum(count, axis=1, keepdims=True), 1.0))


def _mixed(number: np.ndarray) -> np.ndarray:
    """Hashes of numbers, uint64: rounds of multiplication with a xor-shift between them."""
    mixed = number.astype(np.uint64) + np.uint64(1)
    for _ in range(3):
        mixed = mixed * _MULTIPLIER
        mixed ^= mixed >> np.uint64(32)
    return mixed
