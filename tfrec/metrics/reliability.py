"""Reliability of predictions: predicted against observed values, in bins.

For example, 30% of the steps with a predicted click probability of 0.3 should have a click.
"""

from typing import NamedTuple

import numpy as np

_NORMAL_95 = 1.959964


class ReliabilityCurve(NamedTuple):
    """Predicted and observed means, one entry for each bin, in rising order, [K].

    Attributes:
      predicted: mean prediction.
      observed: mean outcome.
      low, high: 95% interval of the observed mean.
      size: number of examples.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    size: np.ndarray


def curve(predicted: np.ndarray, outcome: np.ndarray, bins: int = 10) -> ReliabilityCurve:
    """Bins examples by prediction, equally many in each bin.

    Equal predictions stay in one bin, so there can be fewer bins than requested. The interval
    is Wilson's for 0/1 outcomes and the normal one for amounts; both assume independent
    examples.

    Args:
      predicted: [L], probabilities or expected amounts.
      outcome: [L], 0/1 or amounts in the unit of the prediction.
      bins: maximum number of bins.

    Raises:
      ValueError: if the lengths differ, are 0, or a value is not finite.
    """
    predicted = np.asarray(predicted, np.float64)
    outcome = np.asarray(outcome, np.float64)
    if predicted.ndim != 1 or predicted.shape != outcome.shape or not predicted.size:
        raise ValueError(
            f"predictions are {predicted.shape} and outcomes {outcome.shape}; expected two "
            "vectors of one length above 0"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(outcome).all()):
        raise ValueError("predictions and outcomes must be finite numbers")
    # Inner edges: an example belongs to the first bin with an upper edge not below it.
    edges = np.unique(np.quantile(predicted, np.arange(1, bins) / bins))
    _, group = np.unique(np.searchsorted(edges, predicted), return_inverse=True)  # [L]
    count = np.bincount(group)
    mean = np.bincount(group, outcome) / count
    if np.isin(outcome, (0, 1)).all():
        low, high = _wilson(mean, count)
    else:
        variance = np.bincount(group, (outcome - mean[group]) ** 2) / np.maximum(count - 1, 1)
        half = _NORMAL_95 * np.sqrt(variance / count)
        low, high = mean - half, mean + half
    return ReliabilityCurve(np.bincount(group, predicted) / count, mean, low, high, count)


def calibration_error(reliability: ReliabilityCurve) -> float:
    """Mean distance of observed from predicted over examples, in their unit."""
    distance = np.abs(reliability.observed - reliability.predicted)
    return float(np.average(distance, weights=reliability.size))


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95% interval of a share: inside [0, 1] and not empty at 0 or 1."""
    z2 = _NORMAL_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2)))
    half = half / (1 + z2 / count)
    return centre - half, centre + half
