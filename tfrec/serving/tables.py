"""The item table of an exported model and its exact top-k: a maximum inner product search.

The search has two passes. The first reads the table once, a chunk at a time, and stores the
best score of every 64 neighbouring items (a block). The k best items are in the k best blocks,
since each of those holds an item at least as good as any outside them. The second pass scores
only these blocks again and takes their top k. Memory is B x a chunk, not B x N, and a top-k
over N / 64 numbers instead of N saves more than half the time.

Layout: chunks of [D, S], so that a row of scores is a weighted sum of D long rows, which
TensorFlow's matmul does at nearly the speed at which memory is read, also for one query.

Reduced tables (bfloat16, int8) are widened a chunk at a time, while it is in the cache. int8
has one scale for each dimension, which multiplies the query at no cost; a scale for each item
would cost another pass over the scores. Scores of reduced tables select a shortlist, which the
caller scores exactly.
"""

import numpy as np
import tensorflow as tf

PRECISIONS = ("float32", "bfloat16", "int8")
NOTHING = -float("inf")  # the score of excluded items and padding

_BLOCK = 64  # items with one stored score in the first pass
_CHUNK = 32_768  # items scored at once: 4 MB of scores for 32 queries stay in the cache
_EXCLUDED = 64  # more exclusions would make pairwise comparison too expensive
_SHARE = 16  # the second pass pays for at most one block in 16


class ItemTable(tf.Module):
    """Searchable table of item vectors, [N, D].

    Args:
      vectors: float32 [N, D].
      precision: one of PRECISIONS.
      chunk: approximate number of items that are scored at once.
    """

    def __init__(self, vectors: np.ndarray, precision: str = "float32", chunk: int = _CHUNK):
        super().__init__(name="item_table")
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}; expected one of {PRECISIONS}")
        vectors = np.asarray(vectors, np.float32)
        self.precision = precision
        self._count, self._width = vectors.shape
        self._chunks = -(-self._count // chunk)
        blocks = -(-self._count // (self._chunks * _BLOCK))  # of a chunk
        self._size = blocks * _BLOCK  # S
        self._blocks = self._chunks * blocks
        largest = np.max(np.abs(vectors), axis=0)  # [D]
        self._scale = np.ones_like(largest)
        if precision == "int8":
            self._scale = np.where(largest > 0, largest, 1.0).astype(np.float32) / 127
            vectors = np.rint(np.nan_to_num(vectors / self._scale))
        self._largest = tf.constant(largest)  # NaN where a vector has one: see `bound`
        padding = [(0, self._chunks * self._size - self._count), (0, 0)]
        chunked = np.pad(vectors, padding).reshape(self._chunks, self._size, self._width)
        stored = tf.cast(np.ascontiguousarray(chunked.transpose(0, 2, 1)), precision)
        self._table = tf.Variable(stored, trainable=False, name="item_vectors")  # [C, D, S]

    @property
    def nbytes(self) -> int:
        """Size of the table in bytes."""
        return self._table.shape.num_elements() * self._table.dtype.size

    def bound(self, query: tf.Tensor) -> tf.Tensor:
        """Upper bound of all scores, [B]; NaN or Inf if a score may be."""
        return tf.linalg.matvec(tf.abs(query), self._largest)

    def vectors(self, index: tf.Tensor) -> tf.Tensor:
        """Stored vectors of items, in the precision of the table.

        Args:
          index: int32 [...], 0..N-1.

        Returns:
          float32 [..., D].
        """
        chunk, place = (index // self._size)[..., None], (index % self._size)[..., None]
        row = chunk * self._width + tf.range(self._width)  # [..., D]
        values = tf.gather(tf.reshape(self._table, [-1]), row * self._size + place)
        return tf.cast(values, tf.float32) * self._scale

    def best(
        self, query: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The items with the largest inner products; ties go to the smaller index.

        Args:
          query: float32 [B, D], finite.
          exclude: int32 [B, E], excluded items, in any order; -1 for none.
          k: int32, 1..N.

        Returns:
          Scores and indices, [B, k] each, best first; -inf where fewer than k remain.
        """
        if self.precision == "int8":
            query = query * self._scale
        # The best item of a block may be excluded, or padding in the last block; so many more
        # blocks are scored.
        excluded = tf.shape(exclude)[1]
        blocks = k + excluded + 1
        few = tf.logical_and(blocks <= self._blocks // _SHARE, excluded <= _EXCLUDED)
        score, index = tf.cond(
            few,
            lambda: self._best_by_blocks(query, exclude, k, blocks),
            lambda: self._best_by_chunks(query, exclude, k),
        )
        return tf.ensure_shape(score, [None, None]), tf.ensure_shape(index, [None, None])

    def _best_by_blocks(
        self, query: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor, blocks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def body(chunk, tops):
            scores = tf.reshape(self._scores(query, chunk), [-1, per_chunk, _BLOCK])
            return chunk + 1, tops.write(chunk, tf.reduce_max(scores, axis=2))

        per_chunk = self._size // _BLOCK
        tops = tf.TensorArray(tf.float32, self._chunks, element_shape=[None, per_chunk])
        _, tops = tf.while_loop(
            lambda chunk, _: chunk < self._chunks, body, (0, tops), parallel_iterations=1
        )
        top = tf.reshape(tf.transpose(tops.stack(), [1, 0, 2]), [-1, self._blocks])
        if (self._blocks - 1) * _BLOCK >= self._count:  # blocks of padding alone
            padding = tf.range(self._blocks) * _BLOCK >= self._count
            top = tf.where(padding, NOTHING, top)
        _, block = tf.math.top_k(top, k=blocks)  # [B, R]
        block = -tf.math.top_k(-block, k=blocks).values  # ascending: top_k keeps the first
        index = block[..., None] * _BLOCK + tf.range(_BLOCK)  # [B, R, 64]
        index = tf.reshape(index, [-1, blocks * _BLOCK])
        # Row (chunk x D + d) x S / 64 + place of the table seen as [C x D x S / 64, 64].
        row = block + block // per_chunk * (per_chunk * (self._width - 1))
        row = row[..., None] + tf.range(self._width) * per_chunk  # [B, R, D]
        vectors = tf.gather(tf.reshape(self._table, [-1, _BLOCK]), row)  # [B, R, D, 64]
        scores = tf.matmul(query[:, None, None], tf.cast(vectors, tf.float32))
        scores = tf.reshape(scores, [-1, blocks * _BLOCK])
        excluded_item = tf.reduce_any(
            index[..., None] == exclude[:, None], axis=2
        )  # [B, R x 64]
        excluded_item = tf.logical_or(excluded_item, index >= self._count)
        score, column = tf.math.top_k(tf.where(excluded_item, NOTHING, scores), k=k)
        return score, tf.gather(index, column, batch_dims=1)

    def _best_by_chunks(
        self, query: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Merges the best of each chunk, for any k and any number of exclusions."""

        def body(chunk, score, index):
            item = chunk * self._size + tf.range(self._size)  # [S]
            scores = tf.where(item < self._count, self._scores(query, chunk), NOTHING)
            new, column = best_of_scores(
                scores, exclude - chunk * self._size, tf.minimum(k, self._size)
            )
            score = tf.concat([score, new], axis=1)
            index = tf.concat([index, tf.gather(item, column)], axis=1)
            score, column = tf.math.top_k(score, k=tf.minimum(k, tf.shape(score)[1]))
            return chunk + 1, score, tf.gather(index, column, batch_dims=1)

        batch = tf.shape(query)[0]
        open_width = tf.TensorShape([None, None])
        _, score, index = tf.while_loop(
            lambda chunk, *_: chunk < self._chunks,
            body,
            (0, tf.zeros([batch, 0]), tf.zeros([batch, 0], tf.int32)),
            shape_invariants=(tf.TensorShape([]), open_width, open_width),
            parallel_iterations=1,
        )
        return score, index

    def _scores(self, query: tf.Tensor, chunk: tf.Tensor) -> tf.Tensor:
        """Scores of one chunk, [B, S]."""
        return tf.matmul(query, tf.cast(self._table[chunk], tf.float32))


def shortlist(k: tf.Tensor, count: int) -> tf.Tensor:
    """Number of items of a reduced table to score exactly for the k best."""
    return tf.minimum(k + tf.maximum(3 * k, 64), count)


def by_index(index: tf.Tensor, score: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Items [B, X] in ascending order, with their scores."""
    order = tf.argsort(index, axis=1)
    return tf.gather(index, order, batch_dims=1), tf.gather(score, order, batch_dims=1)


def best_of_scores(
    scores: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Selects the best items of given scores.

    Args:
      scores: float32 [B, N].
      exclude: int32 [B, E]; values outside 0..N-1 are ignored.
      k: int32, 1..N.

    Returns:
      Scores and indices, [B, k] each, best first, the first of equal ones.
    """
    row = tf.broadcast_to(tf.range(tf.shape(scores)[0])[:, None], tf.shape(exclude))
    inside = tf.logical_and(exclude >= 0, exclude < tf.shape(scores)[1])
    # Ignored values have no column: they get column 0 and +inf, which has no effect.
    scores = tf.tensor_scatter_nd_min(
        scores,
        tf.stack([row, tf.where(inside, exclude, 0)], axis=-1),  # [B, E, 2]
        tf.where(inside, NOTHING, -NOTHING),
    )
    return tf.math.top_k(scores, k=k)


def among(values: tf.Tensor, sorted_rows: tf.Tensor) -> tf.Tensor:
    """Whether values, [B, X], occur in the ascending row, [B, E] -> bool [B, X]."""
    # One more position, so that no row is empty; -1 is not an item.
    row = tf.pad(sorted_rows, [[0, 0], [1, 0]], constant_values=-1)  # [B, E + 1]
    place = tf.searchsorted(row, values)  # E + 1 where all are smaller
    place = tf.minimum(place, tf.shape(row)[1] - 1)
    return tf.logical_and(tf.gather(row, place, batch_dims=1) == values, values >= 0)
