"""CoCoRec: a user's patterns within categories, recent events, and patterns of similar users.

Cai et al., Category-aware Collaborative Sequential Recommendation, SIGIR 2021. x_t is the
embedding of event t, c_t its category, e_c that of a category:

    z_t  in-category pattern: x_t plus attention over the events up to t of category c_t
    r_t  recent actions: y_t = x_t + e_(c_t) plus attention over the last events' y
    p_t  = softmax(W r_t + b), the category of the next event
    m_t  = sum over categories c of p_t(c) z_s, with s the latest event of category c
    n_t  attention of m_t over the patterns z of other users, the most similar ones in the
         category that p_t finds most likely
    hidden_t = W_h [r_t; m_t; n_t] + b_h

The loss is that of the next item plus that of its category. Patterns of other users come from
a memory of the latest batches, which holds one event per user and batch; training excludes
patterns of the same user. The paper gives no size of that memory, and the authors' public code
has neither self-attention nor other users. Every prefix of a row is a training example.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfrec.baselines.sequential import batches, next_item_model
from tfrec.baselines.sequential.config import CocorecConfig
from tfrec.nn import attention

_NOBODY = -1  # user and category of an empty place of the memory
_MASKED = -1e9


class Cocorec(next_item_model.NextItemModel):
    """The network, its memory and its losses.

    Args:
      config: sizes and losses.
      num_items: N.
      seed: of the initial weights.
      category: int [N], the category of each item, 0 to `config.num_categories` - 1; None for a
        model with restored variables.
    """

    config: CocorecConfig

    def __init__(
        self,
        config: CocorecConfig,
        num_items: int,
        seed: int,
        category: np.ndarray | None = None,
    ):
        super().__init__(config, num_items, seed, "cocorec")
        width, numbers = config.width, iter(range(1, 100))
        if category is None:
            category = np.zeros([num_items])
        self.category = tf.Variable(
            np.asarray(category, np.int32), trainable=False, name="category"
        )

        def kernel(shape: list[int], name: str) -> tf.Variable:
            return next_item_model.normal(shape, seed, next(numbers), name)

        self.categories = kernel([config.num_categories, width], "categories")
        self.within = kernel([width, 3 * width], "within")  # query, key, value of z
        self.lately = kernel([width, 3 * width], "lately")  # of r
        self.next_category = kernel([width, config.num_categories], "next_category")
        self.category_bias = tf.Variable(
            tf.zeros([config.num_categories]), name="category_bias"
        )
        if config.neighbours:  # other users' patterns are read
            self.query = kernel([width, width], "query")
            self.value = kernel([width, width], "value")
        self.output = kernel([3 * width, width], "output")
        self.output_bias = tf.Variable(tf.zeros([width]), name="output_bias")
        self.pattern_norm = attention.LayerNorm(width, "pattern_norm")
        self.recent_norm = attention.LayerNorm(width, "recent_norm")

        def memory(shape: list[int], value: float, dtype: tf.DType, name: str) -> tf.Variable:
            return tf.Variable(tf.fill(shape, tf.cast(value, dtype)), False, name=name)

        self.patterns = memory([config.memory, width], 0, tf.float32, "patterns")
        self.of_category = memory([config.memory], _NOBODY, tf.int32, "of_category")
        self.of_user = memory([config.memory], _NOBODY, tf.int32, "of_user")

    def contextual(
        self, x: tf.Tensor, inputs: batches.Inputs, seed: tf.Tensor | None
    ) -> tf.Tensor:
        hidden, _, _ = self._read(x, inputs, seed, None)
        return hidden

    def loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        inputs = batch.inputs
        x = self.embedded(inputs.item)  # [T, D]
        user = tf.gather(batch.user, batch.row)  # [T]
        hidden, pattern, logits = self._read(x, inputs, seed, user)
        draws = seed + [0, batches.DRAWS]
        loss = self.prediction_loss(hidden, batch.target, batch.row, batch, draws)
        following = tf.gather(self.category, batch.target - 1)  # [T]
        loss += self.config.category_weight * tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(following, logits)
        )
        place = batches.drawn_places(inputs.last, seed + [0, 1])  # [B]
        self._remember(
            tf.gather(pattern, place),
            tf.gather(self.category, tf.gather(inputs.item, place) - 1),
            batch.user,
        )
        return loss

    def _read(
        self,
        x: tf.Tensor,
        inputs: batches.Inputs,
        seed: tf.Tensor | None,
        user: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Hidden vectors [T, D], in-category patterns [T, D], category logits [T, C].

        Args:
          x: float [T, D].
          inputs: the rows.
          seed: int32 [2] of dropout; None while predicting.
          user: int32 [T], user of each token, whose patterns in the memory are excluded; None
            to exclude no patterns.
        """
        config, width = self.config, self.config.width
        x = attention.dropped(x, config.dropout, seed)
        category = tf.gather(self.category, inputs.item - 1)  # [T]
        # Small whole numbers are exact as floats, and travel with the other columns.
        number = tf.cast(category, tf.float32)[:, None]  # [T, 1]
        y = x + tf.gather(self.categories, category)

        def attended(part: tf.Tensor) -> tf.Tensor:
            of_group = tf.cast(part[..., -1], tf.int32)  # [b, L]
            query, key, value = tf.split(part[..., : 3 * width], 3, axis=2)
            within = masked_attention(query, key, value, same_category(of_group))
            query, key, value = tf.split(part[..., 3 * width : -1], 3, axis=2)
            window = latest_cells(tf.shape(part)[1], config.recent)
            return tf.concat([within, masked_attention(query, key, value, window)], axis=2)

        columns = tf.concat([x @ self.within, y @ self.lately, number], axis=1)
        mixed = attention.of_rows(columns, inputs.packing, attended)  # [T, 2 D]
        pattern = self.pattern_norm(x + mixed[:, :width])
        recent = self.recent_norm(y + mixed[:, width:])
        logits = recent @ self.next_category + self.category_bias  # [T, C]
        chance = tf.nn.softmax(logits)

        def expected(part: tf.Tensor) -> tf.Tensor:
            of_group = tf.cast(part[..., -1], tf.int32)
            return expected_pattern(part[..., :width], part[..., width:-1], of_group)

        columns = tf.concat([pattern, chance, number], axis=1)
        user_pattern = attention.of_rows(columns, inputs.packing, expected)  # [T, D]
        likely = tf.argmax(logits, axis=1, output_type=tf.int32)
        others = self._of_others(user_pattern, likely, user)
        hidden = tf.concat([recent, user_pattern, others], axis=1)
        hidden = hidden @ self.output + self.output_bias
        return hidden, pattern, logits

    def _of_others(
        self, user_pattern: tf.Tensor, category: tf.Tensor, user: tf.Tensor | None
    ) -> tf.Tensor:
        """n_t, float [T, D]; 0 if the memory has no pattern of the category.

        Args:
          user_pattern: float [T, D], m_t.
          category: int32 [T].
          user: int32 [T] or None.
        """
        if not self.config.neighbours:
            return tf.zeros_like(user_pattern)
        readable = category[:, None] == self.of_category  # [T, M]
        if user is not None:
            readable &= user[:, None] != self.of_user
        scores = tf.matmul(user_pattern @ self.query, self.patterns, transpose_b=True)
        scores = tf.where(readable, scores / math.sqrt(self.config.width), _MASKED)
        best, place = tf.math.top_k(scores, self.config.neighbours)  # [T, K]
        weight = tf.nn.softmax(best) * tf.cast(best > _MASKED / 2, tf.float32)
        values = tf.gather(self.patterns @ self.value, place)  # [T, K, D]
        return tf.einsum("tk,tkd->td", weight, values)  # [T, D]

    def _remember(self, pattern: tf.Tensor, category: tf.Tensor, user: tf.Tensor) -> None:
        """Replaces the oldest patterns by those of users [B], float [B, D]."""
        size = self.config.memory
        for memory, new_rows in (
            (self.patterns, tf.stop_gradient(pattern)),
            (self.of_category, category),
            (self.of_user, user),
        ):
            memory.assign(tf.concat([new_rows, memory], axis=0)[:size])


def masked_attention(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """softmax(Q K^T / sqrt(D)) V over the cells that a mask admits, float [b, L, D].

    Args:
      query: float [b, L, D].
      key: float [b, L, D].
      value: float [b, L, D].
      mask: bool [b, L, L] or [L, L], query by key; each query has a key.
    """
    scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(query.shape[2])  # [b, L, L]
    return tf.matmul(tf.nn.softmax(tf.where(mask, scores, _MASKED)), value)


def latest_cells(length: tf.Tensor | int, count: int) -> tf.Tensor:
    """Which cells are among the last ones up to a cell, bool [L, L], query by key.

    Args:
      length: L.
      count: how many, the cell itself included.
    """
    cells = tf.range(length)
    back = cells[:, None] - cells  # [L, L]
    return (back >= 0) & (back < count)


def same_category(category: tf.Tensor) -> tf.Tensor:
    """Which cells up to a cell are of its category, bool [b, L, L], query by key.

    Args:
      category: int32 [b, L].
    """
    same = category[:, :, None] == category[:, None]
    return same & latest_cells(tf.shape(category)[1], tf.int32.max)


def latest_of_category(category: tf.Tensor) -> tf.Tensor:
    """Which cells are the latest of their category up to a cell, bool [b, L, L].

    Args:
      category: int32 [b, L].

    Returns:
      Query by key: the key is not later than the query, and no cell between has its category.
    """
    same = tf.cast(category[:, :, None] == category[:, None], tf.int32)
    up_to = tf.cumsum(same, axis=1)  # [b, L, L], cells of the key's category up to the query
    up_to_key = tf.linalg.diag_part(up_to)[:, None]  # [b, 1, L]
    return (up_to == up_to_key) & latest_cells(tf.shape(category)[1], tf.int32.max)


def expected_pattern(pattern: tf.Tensor, chance: tf.Tensor, category: tf.Tensor) -> tf.Tensor:
    """m_t: the latest pattern of each category by the chance of the category; [b, L, D].

    Args:
      pattern: float [b, L, D], z.
      chance: float [b, L, C], p.
      category: int32 [b, L].
    """
    # No gather: its gradient fails for a group without rows.
    of_category = tf.one_hot(category, chance.shape[2])  # [b, L, C]
    of_key = tf.matmul(chance, of_category, transpose_b=True)  # [b, L, L], query by key
    latest = tf.cast(latest_of_category(category), tf.float32)
    return tf.matmul(of_key * latest, pattern)
