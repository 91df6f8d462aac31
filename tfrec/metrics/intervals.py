"""Confidence intervals of means over users and seeds, and the differences that they can detect.

Axes: U users, S seeds.

The values of a policy are a table of users by seeds. Its mean varies because other users could
have come, because training could have started from other seeds, and because of the noise of
sessions. The analysis of variance of the table (users crossed with seeds, both random) gives
three mean squares, and the variance of the mean has two parts:

    seeds    MS_seed / (U S)                         what differs between seeds
    users    max(0, MS_user - MS_residual) / (U S)   what the seeds share

The interval takes Student's t with Satterthwaite's degrees of freedom for the sum of both (F.
E. Satterthwaite, Biometrics Bulletin 2, 1946). With few seeds the first part can be small by
chance, and then the degrees of freedom are too many. The interval is therefore never shorter
than that of the seeds alone with S - 1 degrees of freedom. `benchmarks.interval_coverage`
measures the coverage.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.95
POWER = 0.8


class Interval(NamedTuple):
    """A mean with its interval.

    Attributes:
      mean: the mean.
      low: lower bound.
      high: upper bound.
      p_value: two-sided, of a mean of 0: below 1 - level where the interval excludes 0.
      detectable: minimum detectable difference: the smallest distance of the true mean from 0
        at which an interval of this precision excludes 0 with 80% power.
    """

    mean: float
    low: float
    high: float
    p_value: float
    detectable: float

    @property
    def bounds(self) -> dict[str, float]:
        """Mean, low and high, as documents and tables hold them."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


class Error(NamedTuple):
    """An estimated standard error.

    Attributes:
      size: the standard error, in the unit of the mean.
      freedom: its degrees of freedom.
    """

    size: float
    freedom: float


def of_mean(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of independent values.

    Args:
      values: float [n], for example a value for each user, or for each seed. One value has an
        interval of no width.
      level: confidence level.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return _interval(float(values.mean()), [Error(0.0, 1)], level)
    error = Error(_error_of_mean(values), len(values) - 1)
    return _interval(float(values.mean()), [error], level)


def of_table(values: np.ndarray, level: float = LEVEL, mean: float | None = None) -> Interval:
    """Interval of the mean of a table of users by seeds, over both; see the module's docstring.

    Args:
      values: float [U, S], two users or more. With one seed the interval is over users alone.
      level: confidence level.
      mean: the mean, where it is known without the rounding of `pseudo_values`.

    Raises:
      ValueError: if there are fewer than two users.
    """
    return of_tables([values], level, None if mean is None else [mean])


def of_tables(
    tables: Sequence[np.ndarray],
    level: float = LEVEL,
    means: Sequence[float] | None = None,
) -> Interval:
    """Interval of the mean of the means of independent tables, each of users by seeds.

    The tables are of several data sets, say, with users and seeds of their own. They are fixed:
    the interval says nothing about other data sets.

    Args:
      tables: float [U, S] each, two users or more.
      level: confidence level.
      means: their means, where they are known without the rounding of `pseudo_values`.

    Raises:
      ValueError: if a table has fewer than two users.
    """
    tables = [np.asarray(values, np.float64) for values in tables]
    by_table = [_errors(values) for values in tables]
    # For each of the two errors, that of the mean of the tables.
    errors = [
        _sum([Error(error.size / len(tables), error.freedom) for error in same])
        for same in zip(*by_table, strict=True)
    ]
    mean = np.mean([values.mean() for values in tables] if means is None else means)
    return _interval(float(mean), errors, level)


def _errors(values: np.ndarray) -> tuple[Error, Error]:
    """Errors of the mean of a table, float [U, S]: of the seeds alone, of users and seeds.

    With one seed both are those of the users.
    """
    users, seeds = values.shape
    if users < 2:
        raise ValueError(f"{users} users; expected at least two")
    if seeds == 1:
        over_users = Error(_error_of_mean(values[:, 0]), users - 1)
        return over_users, over_users
    by_user, by_seed = values.mean(axis=1), values.mean(axis=0)
    residual = values - by_user[:, None] - by_seed + values.mean()
    residual_square = np.sum(residual**2) / ((users - 1) * (seeds - 1))
    shared = np.var(by_user, ddof=1) / users - residual_square / (users * seeds)
    over_seeds = Error(_error_of_mean(by_seed), seeds - 1)
    over_users = Error(max(0.0, float(shared)) ** 0.5, users - 1)
    return over_seeds, _sum([over_seeds, over_users])


def pseudo_values(
    statistic: Callable[[np.ndarray], np.ndarray], cells: np.ndarray
) -> np.ndarray:
    """Linearises a statistic of sums: a table of which it is the mean, to first order.

    The interval of a ratio of means is that of the mean of these values (the delta method).
    The gradient is a complex-step derivative, exact up to rounding.

    Args:
      statistic: maps sums [..., K] to [...] by arithmetic, and does not change if all sums are
        multiplied by one number, as ratios do not.
      cells: float [U, S, K], the sums of each user in each seed.

    Returns:
      float [U, S].
    """
    total = cells.sum(axis=(0, 1))  # [K]
    step = 1e-30
    gradient = statistic(total + 1j * step * np.eye(len(total))).imag / step  # [K]
    return statistic(total) + cells[..., 0].size * (cells @ gradient)


def detectable_difference(error: Error, level: float = LEVEL, power: float = POWER) -> float:
    """Minimum detectable difference: the smallest at which the interval excludes 0.

    For n seeds whose paired differences have standard deviation s, the error is s / sqrt(n)
    with n - 1 degrees of freedom.

    Args:
      error: standard error of the difference.
      level: confidence level of the interval.
      power: probability that the interval excludes 0.

    Returns:
      The difference, in the unit of the error.
    """
    # The other bound excludes 0 with a probability below 0.0001, which is left out.
    quantile = _quantile(error.freedom, level)
    return error.size * float(special.nctdtrinc(error.freedom, 1 - power, quantile))


def _error_of_mean(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) / len(values) ** 0.5


def _quantile(freedom: float, level: float) -> float:
    return float(special.stdtrit(freedom, (1 + level) / 2))


def _sum(errors: Sequence[Error]) -> Error:
    """The error of the sum of independent estimates, with Satterthwaite's freedom."""
    variance = sum(error.size**2 for error in errors)
    if len(errors) == 1 or variance == 0.0:
        return errors[0]
    freedom = variance**2 / sum(error.size**4 / error.freedom for error in errors)
    return Error(variance**0.5, freedom)


def _interval(mean: float, errors: Sequence[Error], level: float) -> Interval:
    """The widest of the intervals of some errors, with the largest of their p-values."""
    if not np.isfinite(mean):
        return Interval(*[mean] * len(Interval._fields))
    half = max(error.size * _quantile(error.freedom, level) for error in errors)
    detectable = max(detectable_difference(error, level) for error in errors)
    p_value = max(_p_value(mean, error) for error in errors)
    return Interval(mean, mean - half, mean + half, p_value, detectable)


def _p_value(mean: float, error: Error) -> float:
    if mean == 0.0:
        return 1.0
    if error.size == 0.0:
        return 0.0
    return float(2 * special.stdtr(error.freedom, -abs(mean) / error.size))
