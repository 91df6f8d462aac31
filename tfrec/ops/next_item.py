"""Losses of next-item prediction: binary cross-entropy, gBCE and (sampled) softmax.

Axes: T predicted events (tokens), B rows (users) of the batch, D width, K candidates: the
catalogue or the negatives of the batch.

The score of an item is the product of its embedding and the token's hidden vector. An offset
[B, K] is added to the scores of a row's candidates: 0, or `EXCLUDED` for items that are no
negatives of this user.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from tfrec.ops import autodiff

EXCLUDED = -1e9  # added to a score, leaves the item without weight

_CELLS_AT_ONCE = 1 << 21  # scores of a chunk: 8 MiB, which stay in the processor's caches


def binary_cross_entropy(positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """-log s(positive) - log(1 - s(negative)), mean over tokens (SASRec, equation 6).

    Args:
      positive: float [T], scores of the next items.
      negative: float [T], scores of one negative each; `EXCLUDED` has no effect.
    """
    return tf.reduce_mean(tf.nn.softplus(-positive) + tf.nn.softplus(negative))


def calibration(negatives: int, num_items: int, trust: float) -> float:
    """The exponent beta of gBCE: a (t (1 - 1/a) + 1/a), with sampling rate a = K / (N - 1).

    Args:
      negatives: K.
      num_items: N.
      trust: t of Petrov and Macdonald (2023), 0 for plain BCE to 1 for unbiased probabilities.
    """
    rate = negatives / (num_items - 1)
    return rate * (trust * (1 - 1 / rate) + 1 / rate)


def generalised_binary_cross_entropy(
    positive: tf.Tensor, negative: tf.Tensor, beta: float
) -> tf.Tensor:
    """Generalised BCE, of gSASRec (Petrov and Macdonald 2023, equation 9), mean over tokens.

    -(beta log s(positive) + sum_k log(1 - s(negative_k))) / (K + 1).

    Args:
      positive: float [T].
      negative: float [T, K], offsets included.
      beta: from `calibration`.
    """
    total = beta * tf.nn.softplus(-positive) + tf.reduce_sum(tf.nn.softplus(negative), axis=1)
    return tf.reduce_mean(total) / (negative.shape[1] + 1)


def softmax(
    hidden: tf.Tensor,
    candidates: tf.Tensor,
    positive: tf.Tensor,
    row: tf.Tensor,
    offset: tf.Tensor | None,
    positive_among: bool,
) -> tf.Tensor:
    """Cross-entropy of the next item among candidates, mean over tokens.

    The gradient is computed with the loss, in chunks of tokens, so that the scores [T, K] are
    never in memory together and no product is computed twice.

    Args:
      hidden: float [T, D].
      candidates: float [K, D], embeddings.
      positive: float [T], scores of the next items.
      row: int32 [T], each token's row; read only with an offset.
      offset: float [B, K], or None for no offset.
      positive_among: whether the candidates include each token's next item. Otherwise the
        candidates are negatives, the next item is added to them, and the offset must exclude
        it from the negatives.

    Returns:
      A scalar with gradients for hidden, candidates and positive.
    """
    has_offset = offset is not None
    if offset is None:
        offset = tf.zeros([1, 1])
    loss = _softmax_loss(positive_among, has_offset)
    return loss(hidden, candidates, positive, row, offset)


@functools.cache
def _softmax_loss(positive_among: bool, has_offset: bool) -> Callable[..., tf.Tensor]:
    """`softmax` of the tensors alone, with its gradient."""
    chunk = _compiled_chunk(positive_among, has_offset)

    @autodiff.custom_gradient
    def loss(hidden, candidates, positive, row, offset):
        width, count = hidden.shape[1], candidates.shape[0]
        size = max(32, _CELLS_AT_ONCE // count // 32 * 32)
        tokens = tf.shape(hidden)[0]
        chunks = (tokens + size - 1) // size
        pad = chunks * size - tokens
        parts = (
            tf.reshape(tf.pad(hidden, [[0, pad], [0, 0]]), [chunks, size, width]),
            tf.reshape(tf.pad(positive, [[0, pad]]), [chunks, size]),
            tf.reshape(tf.pad(row, [[0, pad]]), [chunks, size]),
            tf.reshape(tf.pad(tf.ones([tokens]), [[0, pad]]), [chunks, size]),
        )
        gradient_arrays = (
            tf.TensorArray(tf.float32, chunks, element_shape=[size, width]),
            tf.TensorArray(tf.float32, chunks, element_shape=[size]),
        )

        def add_chunk(i, total, by_candidate, by_hidden, by_positive):
            chunk_loss, hidden_slope, candidate_slope, positive_slope = chunk(
                *(part[i] for part in parts), candidates, offset
            )
            return (
                i + 1,
                total + chunk_loss,
                by_candidate + candidate_slope,
                by_hidden.write(i, hidden_slope),
                by_positive.write(i, positive_slope),
            )

        _, total, by_candidate, by_hidden, by_positive = tf.while_loop(
            lambda i, *_: i < chunks,
            add_chunk,
            (0, 0.0, tf.zeros([count, width]), *gradient_arrays),
            parallel_iterations=1,
        )
        mean = 1.0 / tf.cast(tokens, tf.float32)
        slopes = (
            tf.reshape(by_hidden.stack(), [-1, width])[:tokens],
            by_candidate,
            tf.reshape(by_positive.stack(), [-1])[:tokens],
        )
        return total * mean, lambda upstream: (
            *(upstream * mean * slope for slope in slopes), None, None,
        )  # fmt: skip

    return loss


@functools.cache
def _compiled_chunk(
    positive_among: bool, has_offset: bool
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Function of the summed loss of a chunk of tokens and its gradients; compiled once."""

    @tf.function(jit_compile=True, autograph=False)
    def chunk(hidden, positive, row, weight, candidates, offset):
        scores = tf.matmul(hidden, candidates, transpose_b=True)  # [S, K]
        if has_offset:
            scores += tf.gather(offset, row)
        top = tf.reduce_max(scores, axis=1)
        powers = tf.exp(scores - top[:, None])
        total = tf.reduce_sum(powers, axis=1)
        log_total = tf.math.log(total) + top
        if positive_among:
            losses, slope = log_total - positive, tf.ones_like(positive)
        else:  # log(exp(log_total) + exp(positive)) - positive
            losses, slope = (
                tf.nn.softplus(log_total - positive),
                tf.sigmoid(log_total - positive),
            )
        slope *= weight
        by_score = powers * (slope / total)[:, None]  # [S, K]
        return (
            tf.reduce_sum(losses * weight),
            tf.matmul(by_score, candidates),
            tf.matmul(by_score, hidden, transpose_a=True),
            -slope,
        )

    return chunk
