"""Agreement of two rankings of the same methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.stats


class RankAgreement(NamedTuple):
    """Two rankings of the same methods; rank 1 has the highest value, ties share their mean.

    Attributes:
      first: method -> rank by the first values.
      second: method -> rank by the second values.
      rho: Spearman's correlation of the ranks; None with fewer than three methods, or where
        one side has equal values alone.
      p_value: of rho = 0, two-sided, by permutations: exact up to seven methods, of 9,999
        permutations beyond; None where rho is.
    """

    first: dict[str, float]
    second: dict[str, float]
    rho: float | None
    p_value: float | None


def ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Rank of each name: 1 for the highest value; equal values share the mean of theirs."""
    found = scipy.stats.rankdata([-value for value in values.values()])
    return dict(zip(values, found.tolist(), strict=True))


def rank_agreement(first: Mapping[str, float], second: Mapping[str, float]) -> RankAgreement:
    """Ranks of the methods that both sides have, and how far they agree.

    Args:
      first: method -> value.
      second: the same from elsewhere.
    """
    both = [name for name in first if name in second]
    one, other = ([side[name] for name in both] for side in (first, second))
    rho = p_value = None
    if len(both) > 2 and len(set(one)) > 1 and len(set(other)) > 1:
        rho = float(scipy.stats.spearmanr(one, other).statistic)
        fixed = scipy.stats.rankdata(other) - (len(both) + 1) / 2
        # Over permutations Spearman's correlation is this sum times a constant.
        permuted = scipy.stats.permutation_test(
            (scipy.stats.rankdata(one),),
            lambda ranked, axis: np.sum(ranked * fixed, axis=axis),
            permutation_type="pairings",
            vectorized=True,
            rng=np.random.default_rng(0),
        )
        p_value = float(permuted.pvalue)
    return RankAgreement(
        ranks(dict(zip(both, one, strict=True))),
        ranks(dict(zip(both, other, strict=True))),
        rho,
        p_value,
    )
