"""SASRec: self-attention over a user's items, one prediction at each of them.

Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018. The paper's loss is
binary cross-entropy with one negative. The others are gSASRec's (Petrov and Macdonald, RecSys
2023) and cross-entropy over the catalogue or over sampled negatives (Klenitskiy and Vasilev,
RecSys 2023).
"""

from __future__ import annotations

from collections.abc import Iterator

from tfrec.baselines.sequential import self_attention
from tfrec.baselines.sequential.config import SasrecConfig
from tfrec.nn import attention


class Sasrec(self_attention.SelfAttentionModel):
    """The network.

    Args:
      config: network and loss.
      num_items: N.
      seed: of the initial weights.
    """

    config: SasrecConfig

    def __init__(self, config: SasrecConfig, num_items: int, seed: int):
        super().__init__(config, num_items, seed, "sasrec")

    def block(self, seeds: Iterator[int], name: str) -> attention.Block:
        config = self.config
        return attention.Block(
            config.width, config.heads, config.inner, config.dropout, seeds, name
        )
