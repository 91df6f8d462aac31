"""STAMP: attention over a session, with its mean and its last item as the query.

Liu et al., STAMP: Short-Term Attention/Memory Priority Model for Session-based
Recommendation, KDD 2018. With x_1..x_t the embeddings of the events up to now,

    m_s = mean(x_1..x_t)                                              (general interest)
    a_i = w_0 . sigmoid(W_1 x_i + W_2 x_t + W_3 m_s + b)              (equation 8)
    m_a = sum_i a_i x_i + m_s                                         (equation 7)
    h_s = tanh(W_s m_a + b_s), h_t = tanh(W_t x_t + b_t)
    hidden = h_s * h_t                                                (equation 9)

As in the authors' code, m_s is added in equation 7 and the softmax is taken of the scores
themselves; the paper has neither the sum nor a softmax without a sigmoid. Every prefix of a
session is a training example, all of them in one pass.
"""

from __future__ import annotations

import tensorflow as tf

from tfrec.baselines.sequential import batches, next_item_model
from tfrec.baselines.sequential.config import StampConfig
from tfrec.nn import attention


class Stamp(next_item_model.NextItemModel):
    """The network.

    Args:
      config: sizes and loss.
      num_items: N.
      seed: of the initial weights.
    """

    def __init__(self, config: StampConfig, num_items: int, seed: int):
        super().__init__(config, num_items, seed, "stamp")
        width, made = config.width, iter(range(1, 100))

        def kernel(name: str) -> tf.Variable:
            return next_item_model.normal([width, width], seed, next(made), name)

        def bias(name: str) -> tf.Variable:
            return tf.Variable(tf.zeros([width]), name=name)

        self.w_0 = next_item_model.normal([width], seed, next(made), "w_0")
        self.w_1, self.w_2, self.w_3 = kernel("w_1"), kernel("w_2"), kernel("w_3")
        self.attention_bias = bias("attention_bias")
        self.w_s, self.session_bias = kernel("w_s"), bias("session_bias")
        self.w_t, self.last_bias = kernel("w_t"), bias("last_bias")

    def contextual(
        self, x: tf.Tensor, inputs: batches.Inputs, seed: tf.Tensor | None
    ) -> tf.Tensor:
        del seed  # nothing is drawn
        memory = attention.of_rows(x, inputs.packing, self._memory)  # [T, D]
        session = tf.tanh(memory @ self.w_s + self.session_bias)
        return session * tf.tanh(x @ self.w_t + self.last_bias)

    def _memory(self, x: tf.Tensor) -> tf.Tensor:
        """The m_a of each event of rows, float [b, L, D]; later events have no part in it."""
        count = tf.range(1.0, tf.cast(tf.shape(x)[1], tf.float32) + 1.0)  # [L]
        mean = tf.cumsum(x, axis=1) / count[:, None]  # [b, L, D]
        key = tf.matmul(x, self.w_1)[:, None]  # [b, 1, L, D]
        query = tf.matmul(x, self.w_2) + tf.matmul(mean, self.w_3) + self.attention_bias
        gates = tf.sigmoid(key + query[:, :, None])  # [b, L, L, D]
        weights = tf.linalg.matvec(gates, self.w_0)  # [b, L, L]
        return tf.matmul(tf.linalg.band_part(weights, -1, 0), x) + mean
