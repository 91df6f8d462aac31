"""SASRec: self-attention over a user's items, one prediction at each of them.

Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018. The paper's loss is
binary cross-entropy with one negative. The others are gSASRec's (Petrov and Macdonald, RecSys
2023) and cross-entropy over the catalogue or over sampled negatives (Klenitskiy and Vasilev,
RecSys 2023).
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import tensorflow as tf

from tfrec.baselines.sequential import batches, next_item_model
from tfrec.nn import attention
from tfrec.options import option


@dataclasses.dataclass(frozen=True)
class SasrecConfig(next_item_model.NextItemConfig):
    """The network."""

    blocks: int = option(2, "blocks of attention", at_least=1, at_most=8)
    heads: int = option(1, "attention heads; a divisor of width", at_least=1)
    inner: int = option(64, "inner width of a block's position-wise network", at_least=1)
    dropout: float = option(0.1, "share of numbers dropped in training", at_least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(
                f"heads is {self.heads}; expected a divisor of width, which is {self.width}"
            )


class Sasrec(next_item_model.NextItemModel):
    """The network.

    Args:
      config: network and loss.
      num_items: N.
      seed: of the initial weights.
    """

    config: SasrecConfig

    def __init__(self, config: SasrecConfig, num_items: int, seed: int):
        super().__init__(config, num_items, seed, "sasrec")
        self.positions = next_item_model.normal(
            [config.length, config.width], seed, 1, "positions"
        )
        of_blocks = itertools.count(seed * 1_000 % 2**31)
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
        x = tf.gather(self.items, inputs.item - 1) * math.sqrt(self.config.width)  # [T, D]
        x += tf.gather(self.positions, inputs.place)
        x = attention.dropped(x, self.config.dropout, seed)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, inputs.packing, None if seed is None else seed + [0, 64 * number])
        return self.norm(x)
