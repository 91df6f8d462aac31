"""Comparison of methods on the same users: paired bootstrap, and agreement of two rankings.

Axes: M methods, V users, B resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.stats

RESAMPLES = 2_000
_AT_ONCE = 1 << 24  # numbers of a batch of resamples: 128 MiB


class PairedDifferences(NamedTuple):
    """Differences of M methods to one reference.

    Attributes:
      mean: float [M], over users.
      low: float [M], of the 95% interval over users (percentiles of the bootstrap).
      high: float [M].
      p_value: float [M], two-sided: twice the share of resamples on the other side of 0,
        at least 2 / (B + 1).
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


def paired_bootstrap(
    values: np.ndarray, reference: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifferences:
    """Differences to a reference on the same users; every method has the same resamples.

    Args:
      values: float [M, V], a metric of each method for each user.
      reference: float [V], the same of the reference.
      resamples: B.
      seed: of the resamples.

    Raises:
      ValueError: with fewer than two users.
    """
    difference = np.asarray(values, np.float64) - reference  # [M, V]
    methods, users = difference.shape
    if users < 2:
        raise ValueError(f"{users} users; expected at least two to resample")
    found = scipy.stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // max(1, methods * users)),
        vectorized=True,
        axis=-1,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    means = found.bootstrap_distribution  # [M, B]
    other_side = np.minimum((means <= 0).sum(axis=1), (means >= 0).sum(axis=1))
    return PairedDifferences(
        difference.mean(axis=1),
        found.confidence_interval.low,
        found.confidence_interval.high,
        np.minimum(1.0, 2 * (other_side + 1) / (resamples + 1)),
    )


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
