"""What SASRec and HSTU share: item and position embeddings, a stack of blocks, a last norm."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Iterator

import tensorflow as tf

from tfrec.baselines.sequential import batches, next_item_model
from tfrec.baselines.sequential.config import SelfAttentionConfig
from tfrec.nn import attention

Block = Callable[[tf.Tensor, attention.Packing, "tf.Tensor | None"], tf.Tensor]


class SelfAttentionModel(next_item_model.NextItemModel):
    """A network of causal attention blocks over the tokens of each row.

    Args:
      config: network and loss.
      num_items: N.
      seed: of the initial weights.
      name: of the module.
    """

    config: SelfAttentionConfig

    def __init__(self, config: SelfAttentionConfig, num_items: int, seed: int, name: str):
        super().__init__(config, num_items, seed, name)
        self.positions = next_item_model.normal(
            [config.length, config.width], seed, 1, "positions"
        )
        seeds = itertools.count(seed * 1_000 % 2**31)
        self.blocks = [self.block(seeds, f"block_{i}") for i in range(config.blocks)]
        self.norm = attention.LayerNorm(config.width, "norm")

    @abc.abstractmethod
    def block(self, seeds: Iterator[int], name: str) -> Block:
        """A block: tokens [T, D], their packing and a seed of dropout to tokens [T, D].

        Args:
          seeds: of the initial weights.
          name: of the module.
        """

    def contextual(
        self, x: tf.Tensor, inputs: batches.Inputs, seed: tf.Tensor | None
    ) -> tf.Tensor:
        x = x * math.sqrt(self.config.width) + tf.gather(self.positions, inputs.place)
        x = attention.dropped(x, self.config.dropout, seed)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, inputs.packing, None if seed is None else seed + [0, 64 * number])
        return self.norm(x)
