"""Causal self-attention over packed rows: the transformer blocks of sequential recommenders.

Axes: T tokens (events) of all rows of a batch, ordered by row, C cells of the padded groups,
b rows and L cells per row of one group, D width, H heads.

All layers but attention are applied to single tokens, [T, D], without padding. For attention,
rows of similar length are padded to one group. Rows are padded on the right, so that the causal
mask hides the padding from every token.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from tfrec.ops import autodiff


class Packing(NamedTuple):
    """Positions of the tokens of ragged rows in padded groups.

    Attributes:
      shapes: int32 [G, 2], rows and cells per row of each group.
      token: int32 [C], the token in each cell, ordered by group; any token in padding.
      cell: int32 [T], the cell of each token.
    """

    shapes: tf.Tensor
    token: tf.Tensor
    cell: tf.Tensor


def padded(x: tf.Tensor, packing: Packing) -> tf.Tensor:
    """Copies tokens [T, D] to their cells, [C, D]; padding has the values of some token."""
    return _to_cells(x, packing.token, packing.cell)


def unpadded(cells: tf.Tensor, packing: Packing) -> tf.Tensor:
    """Copies cells [C, D] to tokens [T, D] without the padding."""
    is_token = tf.scatter_nd(
        packing.cell[:, None], tf.ones_like(packing.cell, tf.float32), tf.shape(packing.token)
    )[:, None]  # [C, 1], 0 in padding
    return _to_tokens(cells, packing.token, packing.cell, is_token)


# The gradient of one is the other, a gather; TensorFlow's gradient would sum slices.


@autodiff.custom_gradient
def _to_cells(
    x: tf.Tensor, token: tf.Tensor, cell: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple]]:
    # Padding has no gradient, because no loss depends on its output.
    return tf.gather(x, token), lambda gradient: (tf.gather(gradient, cell), None, None)


@autodiff.custom_gradient
def _to_tokens(
    cells: tf.Tensor, token: tf.Tensor, cell: tf.Tensor, is_token: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple]]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None, None]:
        return tf.gather(upstream, token) * is_token, None, None, None

    return tf.gather(cells, cell), gradient


def of_rows(
    x: tf.Tensor, packing: Packing, function: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Applies a function to the rows of each padded group.

    Args:
      x: float [T, D], tokens.
      packing: packing of the tokens' rows.
      function: maps a group, float [b, L, D], to float [b, L, E]. Its output in padding is
        dropped; a causal function does not read the padding.

    Returns:
      float [T, E].
    """
    cells = padded(x, packing)  # [C, D]
    results, start = [], 0
    for group in range(packing.shapes.shape[0]):
        rows, length = packing.shapes[group, 0], packing.shapes[group, 1]
        part = tf.reshape(cells[start : start + rows * length], [rows, length, x.shape[1]])
        result = function(part)
        results.append(tf.reshape(result, [-1, result.shape[-1]]))
        start += rows * length
    return unpadded(tf.concat(results, axis=0), packing)


def causal_attention(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, dropout: float, seed: tf.Tensor | None
) -> tf.Tensor:
    """softmax(Q K^T / sqrt(D / H)) V, in which a cell attends to itself and earlier cells.

    Args:
      query: float [b, H, L, D / H].
      key: float [b, H, L, D / H].
      value: float [b, H, L, D / H].
      dropout: share of attention weights that are dropped, if a seed is given.
      seed: int32 [2]; None for predictions.

    Returns:
      float [b, H, L, D / H].
    """
    length, width = tf.shape(query)[2], query.shape[3]
    scores = tf.matmul(query * (1.0 / math.sqrt(width)), key, transpose_b=True)  # [b, H, L, L]
    later = 1.0 - tf.linalg.band_part(tf.ones([length, length]), -1, 0)  # [L, L]
    weights = tf.nn.softmax(scores - 1e9 * later)
    return tf.matmul(dropped(weights, dropout, seed), value)


def dropped(x: tf.Tensor, rate: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Dropout, which sets values to zero at a rate and scales the rest to retain the mean.

    It uses one random byte per value instead of the four of `tf.nn.dropout`, which halves the
    time on a CPU. The rate is rounded to a multiple of 1/256: .1 is .1016.

    Args:
      x: float, any shape.
      rate: share of zeros, below 1.
      seed: int32 [2]; None for no dropout.
    """
    threshold = round(rate * 256)
    if seed is None or not threshold:
        return x
    size = tf.size(x)
    words = tf.random.stateless_uniform(
        [(size + 3) // 4], seed, minval=None, maxval=None, dtype=tf.int32
    )
    byte = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size], tf.shape(x))
    return tf.where(byte >= threshold, x * (256.0 / (256 - threshold)), 0.0)


class LayerNorm(tf.Module):
    """Layer normalisation of the last axis with a gain and a bias (Ba et al. 2016)."""

    def __init__(self, width: int, name: str):
        super().__init__(name=name)
        self.gain = tf.Variable(tf.ones([width]), name="gain")
        self.bias = tf.Variable(tf.zeros([width]), name="bias")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        return centred * (tf.math.rsqrt(variance + 1e-8) * self.gain) + self.bias


class Block(tf.Module):
    """One block of SASRec (Kang and McAuley 2018, section III-B): x + f(LayerNorm(x)) twice.

    The first f is causal attention, the second a position-wise network of two layers with ReLU.

    Args:
      width: D.
      heads: H, a divisor of D.
      hidden: width of the position-wise network's inner layer.
      dropout: rate of dropout after each f and of attention weights.
      seeds: seeds of the initial weights.
      name: name of the module.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        dropout: float,
        seeds: Iterator[int],
        name: str,
    ):
        super().__init__(name=name)
        self.heads, self.dropout = heads, dropout
        self.attention_norm = LayerNorm(width, "attention_norm")
        self.network_norm = LayerNorm(width, "network_norm")

        def kernel(inputs: int, outputs: int, name: str) -> tf.Variable:
            initial = tf_keras.initializers.GlorotUniform(seed=next(seeds))
            return tf.Variable(initial([inputs, outputs]), name=name)

        self.projection = kernel(width, 3 * width, "projection")  # query, key, value
        self.projection_bias = tf.Variable(tf.zeros([3 * width]), name="projection_bias")
        self.output = kernel(width, width, "output")
        self.output_bias = tf.Variable(tf.zeros([width]), name="output_bias")
        self.inner = kernel(width, hidden, "inner")
        self.inner_bias = tf.Variable(tf.zeros([hidden]), name="inner_bias")
        self.outer = kernel(hidden, width, "outer")
        self.outer_bias = tf.Variable(tf.zeros([width]), name="outer_bias")

    def __call__(self, x: tf.Tensor, packing: Packing, seed: tf.Tensor | None) -> tf.Tensor:
        """Transforms tokens [T, D] to tokens [T, D].

        Args:
          x: float [T, D].
          packing: packing of the tokens' rows.
          seed: seed of dropout, int32 [2]; None for predictions.
        """
        rate, seeds = self.dropout, _seeds(seed)
        attended = self._attended(self.attention_norm(x), packing, seeds)
        x += dropped(attended, rate, next(seeds))
        inner = tf.nn.relu(self.network_norm(x) @ self.inner + self.inner_bias)
        inner = dropped(inner, rate, next(seeds))
        return x + dropped(inner @ self.outer + self.outer_bias, rate, next(seeds))

    def _attended(
        self, x: tf.Tensor, packing: Packing, seeds: Iterator[tf.Tensor | None]
    ) -> tf.Tensor:
        heads, width = self.heads, x.shape[-1]

        def attended(projected: tf.Tensor) -> tf.Tensor:
            rows, length = tf.unstack(tf.shape(projected)[:2])
            split = tf.reshape(projected, [rows, length, 3, heads, width // heads])
            query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
            mixed = causal_attention(
                query, key, value, self.dropout, next(seeds)
            )  # [b, H, L, D / H]
            return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [rows, length, width])

        projected = x @ self.projection + self.projection_bias  # [T, 3 D]
        return of_rows(projected, packing, attended) @ self.output + self.output_bias


def _seeds(seed: tf.Tensor | None) -> Iterator[tf.Tensor | None]:
    """Endless different seeds from one, int32 [2]; endless None from None."""
    for number in itertools.count():
        yield None if seed is None else seed + [0, number]
