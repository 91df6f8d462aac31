"""HSTU: gated attention without a softmax, weighted by content and by relative position.

Zhai et al., Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
Generative Recommendations, ICML 2024. With X the tokens of a row after layer normalisation, a
block is

    U, V, Q, K = split(silu(X W_1))                                   (equation 1)
    A V = silu(Q K^T + r) / n V                                       (equation 2)
    x + (norm(A V) * U) W_2 + b_2                                     (equation 3)

where r_ij = r[i - j] is the relative attention bias of positions, n the longest row that is
read, and a token attends to itself and those before it. A sum of pointwise weights keeps how
much of something a history holds, which a softmax divides away.

As in the authors' code, learned positions are added to the item embeddings and the division by
n is in A. Different here: the last layer normalisation and the losses are those of `sasrec`
(the authors normalise to unit length and train on a sampled softmax with temperature), and the
bias has no part for time.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf
import tf_keras

from tfrec.baselines.sequential import self_attention
from tfrec.baselines.sequential.config import HstuConfig
from tfrec.nn import attention


class Hstu(self_attention.SelfAttentionModel):
    """The network.

    Args:
      config: network and loss.
      num_items: N.
      seed: of the initial weights.
    """

    config: HstuConfig

    def __init__(self, config: HstuConfig, num_items: int, seed: int):
        super().__init__(config, num_items, seed, "hstu")

    def block(self, seeds: Iterator[int], name: str) -> HstuBlock:
        return HstuBlock(self.config, seeds, name)


class HstuBlock(tf.Module):
    """One block.

    Args:
      config: network.
      seeds: of the initial weights.
      name: of the module.
    """

    def __init__(self, config: HstuConfig, seeds: Iterator[int], name: str):
        super().__init__(name=name)
        self.config = config
        self.input_norm = attention.LayerNorm(config.width, "input_norm")
        self.attention_norm = attention.LayerNorm(config.width, "attention_norm")

        def kernel(outputs: int, name: str) -> tf.Variable:
            initial = tf_keras.initializers.GlorotUniform(seed=next(seeds))
            return tf.Variable(initial([config.width, outputs]), name=name)

        self.projection = kernel(4 * config.width, "projection")  # U, V, Q, K
        self.output = kernel(config.width, "output")
        self.output_bias = tf.Variable(tf.zeros([config.width]), name="output_bias")
        # By how many events the key precedes the query, 0 to length - 1.
        self.position_bias = tf.Variable(tf.zeros([config.length]), name="position_bias")

    def __call__(
        self, x: tf.Tensor, packing: attention.Packing, seed: tf.Tensor | None
    ) -> tf.Tensor:
        """Tokens [T, D] to tokens [T, D].

        Args:
          x: float [T, D].
          packing: of the tokens' rows.
          seed: int32 [2] of dropout; None while predicting.
        """
        width, heads = self.config.width, self.config.heads
        projected = tf.nn.silu(self.input_norm(x) @ self.projection)  # [T, 4 D]
        gate, to_attend = projected[:, :width], projected[:, width:]  # [T, D], [T, 3 D]

        def attended(part: tf.Tensor) -> tf.Tensor:
            rows, length = tf.unstack(tf.shape(part)[:2])
            split = tf.reshape(part, [rows, length, 3, heads, width // heads])
            value, query, key = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
            bias = relative_bias(self.position_bias, length)  # [L, L]
            mixed = pointwise_attention(query, key, value, bias, self.config.length)
            return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [rows, length, width])

        mixed = attention.of_rows(to_attend, packing, attended)  # [T, D]
        gated = attention.dropped(self.attention_norm(mixed) * gate, self.config.dropout, seed)
        return x + gated @ self.output + self.output_bias


def relative_bias(by_distance: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
    """The bias r of equation 2 for the cells of a row; 0 where the key is the later one.

    Args:
      by_distance: float [n], the bias of a key that many events before the query.
      length: L, at most n.

    Returns:
      float [L, L], query by key.
    """
    cells = tf.range(length)
    distance = cells[:, None] - cells  # [L, L]
    return tf.gather(by_distance, tf.maximum(distance, 0))


def pointwise_attention(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, bias: tf.Tensor, longest: int
) -> tf.Tensor:
    """silu(Q K^T + r) / n V, where a cell attends to itself and those before it (equation 2).

    Args:
      query: float [b, H, L, D / H].
      key: float [b, H, L, D / H].
      value: float [b, H, L, D / H].
      bias: float [L, L].
      longest: n.

    Returns:
      float [b, H, L, D / H].
    """
    scores = tf.matmul(query, key, transpose_b=True) + bias  # [b, H, L, L]
    weights = tf.linalg.band_part(tf.nn.silu(scores), -1, 0)
    return tf.matmul(weights, value) / longest
