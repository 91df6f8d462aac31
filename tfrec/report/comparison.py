"""Methods on several data sets: measured beside published numbers, with significance.

Results are sessions by seed, in the form of `metrics.session.per_session`:
`{data set: {method: [sessions of seed 0, of seed 1, ...]}}`. A missing method is shown as not
run, and a method with fewer seeds than planned with their number.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfrec.metrics import session as metrics
from tfrec.report import style

BySeed = Sequence[metrics.Sessions]
Evaluated = Mapping[str, Mapping[str, BySeed]]
NOT_RUN = "not run"
_METRICS = ("reward", "ctr", "depth")


class Printed(NamedTuple):
    """A published cell: reward in clicks, CTR in clicks per step, depth in steps."""

    reward: float
    ctr: float
    depth: float


Published = Callable[[str, str], Printed | None]  # (method, data set) -> published cell


class Spread(NamedTuple):
    """A metric over seeds: the mean and the standard deviation between seeds."""

    mean: float
    std: float
    seeds: int


def spread(by_seed: BySeed, metric: str) -> Spread:
    """Summarises one metric of one cell over its seeds.

    Args:
      by_seed: sessions of each seed.
      metric: `reward` (clicks per session), `ctr` (clicks per step), `depth` (steps).
    """
    values = []
    for sessions in by_seed:
        total, steps = float(sessions["reward"].sum()), float(sessions["depth"].sum())
        count = len(sessions["reward"])
        values.append(
            {"reward": total / count, "ctr": total / steps, "depth": steps / count}[metric]
        )
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), std, len(values))


def markdown(
    evaluated: Evaluated,
    methods: Sequence[str],
    titles: Mapping[str, str],
    published: Published,
    seeds: int,
) -> str:
    """A table of methods by data sets: mean +- std over seeds, and the published number.

    Args:
      evaluated: sessions by data set and method.
      methods: rows, in order.
      titles: data set -> its heading, in order.
      published: published numbers.
      seeds: planned number of seeds; cells with fewer show their number.
    """
    headings = ["Method"]
    for title in titles.values():
        headings += [f"{title}: reward", "CTR", "depth"]
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1)]
    for method in methods:
        row = [style.policy_name(method)]
        for name in titles:
            by_seed = evaluated.get(name, {}).get(method, ())
            printed = published(method, name)
            row += [_cell(by_seed, metric, printed, seeds) for metric in _METRICS]
        lines.append(row)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(by_seed: BySeed, metric: str, printed: Printed | None, seeds: int) -> str:
    beside = "" if printed is None else f" ({_number(getattr(printed, metric), metric)})"
    if not by_seed:
        return NOT_RUN + beside
    summary = spread(by_seed, metric)
    text = _number(summary.mean, metric)
    if summary.seeds > 1:
        text += f" ± {_number(summary.std, metric)}"
    if summary.seeds < seeds:
        text += f" [{summary.seeds} of {seeds} seeds]"
    return text + beside


def _number(value: float, metric: str) -> str:
    return f"{value:.{3 if metric == 'ctr' else 1 if metric == 'depth' else 2}f}"


def to_csv(
    evaluated: Evaluated,
    methods: Sequence[str],
    titles: Mapping[str, str],
    published: Published,
) -> str:
    """CSV with full precision: a line for each cell and metric, with its interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("mean", "std", "low", "high", "seeds", "published")
    writer.writerow(["data_set", "method", "metric", *columns])
    for name in titles:
        for method in methods:
            by_seed = evaluated.get(name, {}).get(method, ())
            printed = published(method, name)
            summary = metrics.summarise(by_seed) if by_seed else {}
            for metric in _METRICS:
                beside = "" if printed is None else getattr(printed, metric)
                if not by_seed:
                    writer.writerow([name, method, metric, *[""] * 4, 0, beside])
                    continue
                over_seeds, interval = spread(by_seed, metric), summary[metric]
                numbers = (over_seeds.mean, over_seeds.std, interval["low"], interval["high"])
                writer.writerow([name, method, metric, *numbers, over_seeds.seeds, beside])
    return text.getvalue()


class Gain(NamedTuple):
    """Relative gain of one cell over another.

    Attributes:
      mean: relative gain, e.g. .037 for +3.7%.
      low: lower bound of the 95% interval.
      high: upper bound of the 95% interval.
      p_value: two-sided p-value of no difference.
      detectable: smallest true gain that as many users and seeds detect with 80% power.
    """

    mean: float
    low: float
    high: float
    p_value: float
    detectable: float

    @property
    def interval(self) -> str:
        """The gain with its interval."""
        return f"{self.mean:+.1%} [{self.low:+.1%}, {self.high:+.1%}]"

    @property
    def power(self) -> str:
        """The detectable gain in words, for a comparison that is undecided."""
        return f"80% power from ±{self.detectable:.1%}"

    def __str__(self) -> str:
        undecided = f", {self.power}" if self.low <= 0 <= self.high else ""
        return f"{self.interval}{undecided}, p {_p_value(self.p_value)}"


def _p_value(value: float) -> str:
    text = style.p_value(value)
    return text if text.startswith("<") else f"= {text}"


def gain(ours: BySeed, theirs: BySeed, metric: str = "reward") -> Gain | None:
    """Relative gain of `ours` over `theirs`; None if one is missing.

    Interval and p-value are those of the ratio, paired over users and seeds, and include the
    uncertainty of `theirs`.
    """
    return mean_gain([(ours, theirs)], metric)


def mean_gain(pairs: Sequence[tuple[BySeed, BySeed]], metric: str = "reward") -> Gain | None:
    """The mean over data sets of the relative gain; None if anything is missing.

    Args:
      pairs: for each data set, ours and theirs.
      metric: the compared metric.
    """
    return _compared(pairs, lambda ours, theirs: ours / theirs - 1.0, metric)


def difference_of_gains(
    quadruples: Sequence[tuple[BySeed, BySeed, BySeed, BySeed]], metric: str = "reward"
) -> Gain | None:
    """The difference of two relative gains, the mean over data sets; None if one is missing.

    Args:
      quadruples: for each data set, policies a, b, c and d of (a / b - 1) - (c / d - 1).
      metric: the compared metric.
    """
    return _compared(quadruples, lambda a, b, c, d: a / b - c / d, metric)


def _compared(
    groups: Sequence[tuple[BySeed, ...]], function: Callable[..., np.ndarray], metric: str
) -> Gain | None:
    """A function of policies by `metrics.compare`, over the seeds that all of a group have."""
    paired = []
    for group in groups:
        seeds = min(map(len, group))
        if not seeds or any(spread(x[:seeds], metric).mean <= 0 for x in group[1::2]):
            return None
        paired.append([policy[:seeds] for policy in group])
    return Gain(**metrics.compare(paired, function)[metric]) if paired else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for the number of comparisons by Holm's method, in their order.

    The chance that any true null hypothesis of the family is rejected at a level stays below
    that level, for any dependence between the comparisons.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)  # the smallest p is multiplied by their number
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(factors * np.asarray(p_values)[order])
    return np.minimum(corrected, 1.0).tolist()


def against(
    evaluated: Evaluated, method: str, others: Sequence[str], titles: Mapping[str, str]
) -> str:
    """A table of a method's gain in reward over others: gain, interval, p, corrected p.

    The last line states the number of comparisons of the correction.

    Args:
      evaluated: sessions by data set and method.
      method: the method with the gains.
      others: the methods to compare with, in order.
      titles: data set -> its heading, in order.
    """
    gains = {
        (other, name): gain(
            evaluated.get(name, {}).get(method, ()), evaluated.get(name, {}).get(other, ())
        )
        for other in others
        for name in titles
    }
    compared = {key: value for key, value in gains.items() if value}
    corrected = dict(
        zip(compared, holm([value.p_value for value in compared.values()]), strict=True)
    )
    lines = [
        [f"{style.policy_name(method)} against", *titles.values(), "mean"],
        ["---"] + ["---:"] * (len(titles) + 1),
    ]
    for other in others:
        cells = [
            f"{compared[key]} (Holm {_p_value(corrected[key])})" if key in compared else NOT_RUN
            for key in ((other, name) for name in titles)
        ]
        means = [value.mean for (of, _), value in compared.items() if of == other]
        mean = f"{np.mean(means):+.1%}" if means else NOT_RUN
        lines.append([style.policy_name(other), *cells, mean])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return table + (
        "\nIntervals are 95%, paired over users and seeds; p is two-sided. Where an interval "
        "includes 0, as many users and seeds detect the stated gain with 80% power. Holm: "
        f"corrected for the number of comparisons in this table, {len(compared)}.\n"
    )


def shares(
    evaluated: Evaluated,
    methods: Sequence[str],
    titles: Mapping[str, str],
    low: str = "random",
    high: str = "optimum",
) -> str:
    """A table of shares of the way in reward from one policy to another, in percent.

    Each has a 95% interval over users and seeds, which includes the uncertainty of both ends.
    A method with fewer seeds than an end is compared on those that it has.

    Args:
      evaluated: sessions by data set and method.
      methods: rows, in order.
      titles: data set -> its heading, in order. One without either end is left out.
      low: the policy at 0%.
      high: the policy at 100%.

    Returns:
      The table; empty if no data set has both ends.
    """
    columns = {
        name: title
        for name, title in titles.items()
        if evaluated.get(name, {}).get(low) and evaluated[name].get(high)
    }
    if not columns:
        return ""
    heading = f"Share of the way from {style.policy_name(low)} to {style.policy_name(high)}"
    lines = [[heading, *columns.values()], ["---"] + ["---:"] * len(columns)]
    for method in methods:
        row = [style.policy_name(method)]
        for name in columns:
            ends = evaluated[name]
            cells = [ends.get(method, ()), ends[low], ends[high]]
            seeds = min(map(len, cells))
            if not seeds:
                row.append(NOT_RUN)
                continue
            policy, bottom, top = (by_seed[:seeds] for by_seed in cells)
            share = metrics.share(policy, bottom, top)
            bounds = f"{share['low']:.0%}, {share['high']:.0%}"
            row.append(f"{share['mean']:.0%} [{bounds}]")
        lines.append(row)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
