"""Methods on several data sets: our numbers beside printed ones, with significance.

What is judged comes as sessions by seed, as `metrics.session.per_session` gives them:
`{data set: {method: [sessions of seed 0, of seed 1, ...]}}`. A method that is absent, or
has fewer seeds than planned, is shown as not run or as far as it was run.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfrec.metrics import session as metrics
from tfrec.report import style

BySeed = Sequence[metrics.Sessions]
Judged = Mapping[str, Mapping[str, BySeed]]
NOT_RUN = "not run"
_METRICS = ("reward", "ctr", "depth")


class Printed(NamedTuple):
    """A published cell: reward in clicks, CTR in clicks per step, depth in steps."""

    reward: float
    ctr: float
    depth: float


Published = Callable[[str, str], Printed | None]  # (method, data set) -> what was printed


class Spread(NamedTuple):
    """A metric over seeds: the mean and the standard deviation between seeds."""

    mean: float
    std: float
    seeds: int


def spread(by_seed: BySeed, metric: str) -> Spread:
    """One metric of one cell over its seeds.

    Args:
      by_seed: sessions of each seed.
      metric: `reward` (clicks per session), `ctr` (clicks per step), `depth` (steps).
    """
    values = []
    for found in by_seed:
        total, steps = float(found["reward"].sum()), float(found["depth"].sum())
        count = len(found["reward"])
        values.append(
            {"reward": total / count, "ctr": total / steps, "depth": steps / count}[metric]
        )
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), std, len(values))


def markdown(
    judged: Judged,
    methods: Sequence[str],
    titles: Mapping[str, str],
    published: Published,
    seeds: int,
) -> str:
    """A table of methods by data sets: mean +- std over seeds, the printed number beside it.

    Args:
      judged: sessions by data set and method.
      methods: rows, in order.
      titles: data set -> its heading, in order.
      published: what was printed.
      seeds: how many a cell should have; a cell with fewer says so.
    """
    headings = ["Method"]
    for title in titles.values():
        headings += [f"{title}: reward", "CTR", "depth"]
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1)]
    for method in methods:
        row = [style.policy_name(method)]
        for name in titles:
            by_seed = judged.get(name, {}).get(method, ())
            printed = published(method, name)
            row += [_cell(by_seed, metric, printed, seeds) for metric in _METRICS]
        lines.append(row)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(by_seed: BySeed, metric: str, printed: Printed | None, seeds: int) -> str:
    beside = "" if printed is None else f" ({_number(getattr(printed, metric), metric)})"
    if not by_seed:
        return NOT_RUN + beside
    found = spread(by_seed, metric)
    text = _number(found.mean, metric)
    if found.seeds > 1:
        text += f" ± {_number(found.std, metric)}"
    if found.seeds < seeds:
        text += f" [{found.seeds} of {seeds} seeds]"
    return text + beside


def _number(value: float, metric: str) -> str:
    return f"{value:.{3 if metric == 'ctr' else 1 if metric == 'depth' else 2}f}"


def to_csv(
    judged: Judged,
    methods: Sequence[str],
    titles: Mapping[str, str],
    published: Published,
) -> str:
    """The same at full precision, a line for each cell and metric, with its interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("mean", "std", "low", "high", "seeds", "published")
    writer.writerow(["data_set", "method", "metric", *columns])
    for name in titles:
        for method in methods:
            by_seed = judged.get(name, {}).get(method, ())
            printed = published(method, name)
            summary = metrics.summarise(by_seed) if by_seed else {}
            for metric in _METRICS:
                beside = "" if printed is None else getattr(printed, metric)
                if not by_seed:
                    writer.writerow([name, method, metric, *[""] * 4, 0, beside])
                    continue
                found, interval = spread(by_seed, metric), summary[metric]
                numbers = (found.mean, found.std, interval["low"], interval["high"])
                writer.writerow([name, method, metric, *numbers, found.seeds, beside])
    return text.getvalue()


class Gain(NamedTuple):
    """By how much one cell exceeds another, as a share of the other.

    Attributes:
      mean: e.g. .037 for +3.7%.
      low: of the 95% interval.
      high: of the 95% interval.
      p_value: two-sided, of no difference.
    """

    mean: float
    low: float
    high: float
    p_value: float

    def __str__(self) -> str:
        return (
            f"{self.mean:+.1%} [{self.low:+.1%}, {self.high:+.1%}], "
            f"p {'<' if self.p_value < 0.001 else '='} {max(self.p_value, 0.001):.3f}"
        )


def gain(ours: BySeed, theirs: BySeed, metric: str = "reward") -> Gain | None:
    """Paired bootstrap over users: how much `ours` exceeds `theirs`; None if one is absent."""
    seeds = min(len(ours), len(theirs))
    if not seeds:
        return None
    difference = metrics.paired_difference(ours[:seeds], theirs[:seeds])[metric]
    base = spread(theirs[:seeds], metric).mean
    if base <= 0:
        return None
    low, high = difference["low"] / base, difference["high"] / base
    return Gain(difference["mean"] / base, low, high, difference["p_value"])


def against(
    judged: Judged, method: str, others: Sequence[str], titles: Mapping[str, str]
) -> str:
    """A table of a method's reward against each other's: gain, interval, p.

    Args:
      judged: sessions by data set and method.
      method: whose gains.
      others: against whom, in order.
      titles: data set -> its heading, in order.
    """
    lines = [
        [f"{style.policy_name(method)} against", *titles.values(), "mean"],
        ["---"] + ["---:"] * (len(titles) + 1),
    ]
    for other in others:
        gains = [
            gain(judged.get(name, {}).get(method, ()), judged.get(name, {}).get(other, ()))
            for name in titles
        ]
        known = [found.mean for found in gains if found]
        mean = f"{np.mean(known):+.1%}" if known else NOT_RUN
        cells = [str(found) if found else NOT_RUN for found in gains]
        lines.append([style.policy_name(other), *cells, mean])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
