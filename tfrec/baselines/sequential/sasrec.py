"""SASRec: self-attention over a user's items, one prediction at each of them.

Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018. The paper's loss is
binary cross-entropy with one negative. The others are gSASRec's (Petrov and Macdonald, RecSys
2023) and cross-entropy over the catalogue or over sampled negatives (Klenitskiy and Vasilev,
RecSys 2023), which rank far better.

The user's other training items are no negatives (`own_negatives` makes them some): lists leave
out what the user has, so that it need not be ranked below what follows.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.baselines.sequential import batches
from tfrec.baselines.sequential.learner import TrainingConfig
from tfrec.data import sequences
from tfrec.nn import attention
from tfrec.ops import next_item
from tfrec.options import option

# Beyond this many items, the catalogue's scores of a batch cost more than the rest of it.
_FULL_SOFTMAX_ITEMS = 60_000


@dataclasses.dataclass(frozen=True)
class SasrecConfig(TrainingConfig):
    """Network and loss."""

    width: int = option(64, "width of embeddings and blocks", at_least=1, at_most=4096)
    blocks: int = option(2, "blocks of attention", at_least=1, at_most=64)
    heads: int = option(1, "attention heads; a divisor of width", at_least=1)
    inner: int = option(64, "inner width of a block's position-wise network", at_least=1)
    length: int = option(200, "latest events that are read", at_least=1, at_most=4096)
    dropout: float = option(0.1, "share of numbers dropped in training", at_least=0, below=1)
    loss: Literal["auto", "bce", "gbce", "softmax", "sampled_softmax"] = option(
        "auto",
        "bce: the paper's, one negative; gbce: gSASRec's; softmax: cross-entropy over the "
        "catalogue; sampled_softmax: over negatives; auto: softmax up to 60,000 items, then "
        "sampled_softmax",
    )
    negatives: int = option(
        3_000, "negatives of gbce and sampled_softmax, uniform, shared by a batch", at_least=1
    )
    trust: float = option(0.75, "t of gbce, 0 as bce to 1 unbiased", at_least=0, at_most=1)
    own_negatives: bool = option(
        False, "whether a user's other training items may be negatives of the user"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(
                f"heads is {self.heads}; expected a divisor of width, which is {self.width}"
            )


def loss_of(config: SasrecConfig, num_items: int) -> str:
    """The loss that trains on a catalogue of this size."""
    if config.loss != "auto":
        return config.loss
    return "softmax" if num_items <= _FULL_SOFTMAX_ITEMS else "sampled_softmax"


class Sasrec(tf.Module):
    """The network, with its loss and its scores.

    Args:
      config: network and loss.
      num_items: N.
      seed: of the initial weights.
    """

    def __init__(self, config: SasrecConfig, num_items: int, seed: int):
        super().__init__(name="sasrec")
        self.config, self.num_items = config, num_items
        seeds = itertools.count()

        def normal(shape: list[int], name: str) -> tf.Variable:
            pair = types.seed_pair(seed, next(seeds))
            return tf.Variable(tf.random.stateless_normal(shape, pair, stddev=0.02), name=name)

        self.items = normal([num_items, config.width], "items")  # dense id i at row i - 1
        self.positions = normal([config.length, config.width], "positions")
        of_blocks = itertools.count(seed * 1_000)
        self.blocks = [
            attention.Block(
                config.width,
                config.heads,
                config.inner,
                config.dropout,
                of_blocks,
                f"block_{i}",
            )
            for i in range(config.blocks)
        ]
        self.norm = attention.LayerNorm(config.width, "norm")

    def hidden(self, inputs: batches.Inputs, seed: tf.Tensor | None) -> tf.Tensor:
        """Float [T, D], what each token says about the next one.

        Args:
          inputs: the rows.
          seed: int32 [2] of dropout; None while predicting.
        """
        x = tf.gather(self.items, inputs.item - 1) * math.sqrt(self.config.width)  # [T, D]
        x += tf.gather(self.positions, inputs.place)
        x = attention.dropped(x, self.config.dropout, seed)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, inputs.packing, None if seed is None else seed + [0, 64 * number])
        return self.norm(x)

    def loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        """Mean loss over the tokens of a batch.

        Args:
          batch: the rows.
          seed: int32 [2] of dropout and negatives.
        """
        config, kind = self.config, loss_of(self.config, self.num_items)
        hidden = self.hidden(batch.inputs, seed)  # [T, D]
        positive = tf.reduce_sum(hidden * tf.gather(self.items, batch.target - 1), axis=1)
        draws = seed + [0, 64 * (config.blocks + 1)]
        if kind == "softmax" and config.own_negatives:
            return next_item.softmax(hidden, self.items, positive, batch.row, None, True)
        own = self._own(batch)  # [B, N]
        if kind == "softmax":
            return next_item.softmax(hidden, self.items, positive, batch.row, own, False)
        if kind == "bce":
            ids = self._drawn(tf.shape(batch.target), draws)  # [T]
            negative = tf.reduce_sum(hidden * tf.gather(self.items, ids), axis=1)
            negative += tf.gather_nd(own, tf.stack([batch.row, ids], axis=1))
            return next_item.binary_cross_entropy(positive, negative)
        ids = self._drawn([config.negatives], draws)  # [K]
        candidates, offset = tf.gather(self.items, ids), tf.gather(own, ids, axis=1)
        if kind == "sampled_softmax":
            return next_item.softmax(hidden, candidates, positive, batch.row, offset, False)
        negative = tf.matmul(hidden, candidates, transpose_b=True)  # [T, K]
        negative += tf.gather(offset, batch.row)
        beta = next_item.calibration(config.negatives, self.num_items, config.trust)
        return next_item.generalised_binary_cross_entropy(positive, negative, beta)

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the catalogue for what follows each history, float32 [V, N].

        Args:
          history: V rows; one without events is given equal scores.
        """
        found = np.zeros([len(history), self.num_items], np.float32)
        rows = np.flatnonzero(history.lengths > 0)
        if len(rows):
            inputs, order = batches.scoring_inputs(history.select(rows), self.config.length)
            found[rows[order]] = self._compiled_scores(inputs).numpy()
        return found

    @tf.function(input_signature=[batches.INPUTS_SPEC], autograph=False)
    def _compiled_scores(self, inputs: batches.Inputs) -> tf.Tensor:
        return self.scores_of(inputs)

    def scores_of(self, inputs: batches.Inputs) -> tf.Tensor:
        """Scores of the catalogue for what follows each row, float [B, N]. Graph code."""
        last = tf.gather(self.hidden(inputs, None), inputs.last)  # [B, D]
        return tf.matmul(last, self.items, transpose_b=True)  # [B, N]

    def _drawn(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """Uniform rows of the item table."""
        return tf.random.stateless_uniform(shape, seed, 0, self.num_items, tf.int32)

    def _own(self, batch: batches.Batch) -> tf.Tensor:
        """Offsets [B, N] that keep each user's own training items from its negatives."""
        rows = tf.shape(batch.inputs.last)[0]
        has = tf.scatter_nd(
            batch.own, tf.ones([tf.shape(batch.own)[0]]), [rows, self.num_items]
        )
        return tf.where(has > 0, next_item.EXCLUDED, 0.0)
