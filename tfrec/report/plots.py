"""Plots of policies: metrics, learning curves, session survival and trade-offs of goals.

Each function returns a matplotlib Figure; `save` writes it. They do not use pyplot, so that no
display is needed and no figure stays open.
"""

import itertools
import json
import os
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfrec import outputs
from tfrec.report import results, style, tables

_PLAYED = "play/reward_clicks"
_CONTROLS = ("random", "exit_averse", "optimum")  # drawn with dashes
_MARKED = 20  # most evaluations of a curve that have single markers

# Decorator that applies the common style.
styled: Callable = matplotlib.rc_context(cast(Any, style.RC))


def save(figure: Figure, path: str | os.PathLike[str]) -> pathlib.Path:
    """Writes a PNG, whole or not at all, and creates its folder."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with outputs.replacing_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path


@styled
def policies(
    summaries: results.Policies,
    metrics: Sequence[str] = tables.DEFAULT_METRICS,
    title: str = "Policies compared",
    seeds: int = 2,
) -> Figure:
    """Bars with intervals: a panel for each metric, a bar for each policy.

    Args:
      summaries: policy -> metric -> mean, low, high.
      metrics: metrics, one panel each.
      title: title above the panels.
      seeds: number of seeds of each policy. The title states that the intervals of one
        seed are only over users.
    """
    names = style.ordered(summaries)
    figure = Figure(
        figsize=(3.3 * len(metrics) + 1.2, 0.42 * len(names) + 1.6), layout="constrained"
    )
    panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axes, metric in zip(panels, metrics, strict=True):
        _bars(axes, [summaries[name][metric] for name in names], names)
        axes.set_title(style.metric_name(metric))
        axes.set_xlabel(style.metric_unit(metric))
    panels[0].set_yticks(range(len(names)), [style.policy_name(name) for name in names])
    panels[0].invert_yaxis()
    width = int(8.5 * figure.get_figwidth())  # characters in a line of the title
    over = "users and seeds" if seeds > 1 else "users"
    title = textwrap.fill(f"{title} (mean, 95% interval over {over})", width)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _bars(axes: Axes, intervals: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    """Draws horizontal bars with the interval as a line and the mean as a number."""
    mean, low, high = (
        np.array([i[part] for i in intervals]) for part in ("mean", "low", "high")
    )
    rows = np.arange(len(names))
    axes.barh(rows, mean, color=[style.policy_colour(name) for name in names], height=0.7)
    # A light line under the dark one keeps the interval visible on a black bar.
    axes.hlines(rows, low, high, color="white", linewidth=4)
    axes.hlines(rows, low, high, color="#333333", linewidth=1.8)
    format_number = style.formatter(mean)
    largest = max(high.max(), mean.max())
    for row, value, end in zip(rows, mean, np.maximum(mean, high), strict=True):
        axes.annotate(format_number(value), (end, row), (5, 0), textcoords="offset points",
                      va="center", fontsize=9)  # fmt: skip
    axes.set_xlim(min(0.0, low.min()), largest * 1.22 if largest > 0 else None)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


@styled
def learning_curve(
    units: Sequence[float],
    values: Mapping[str, np.ndarray],
    references: Mapping[str, float] | None = None,
    xlabel: str = "updates",
    metric: str = "reward",
    title: str = "Learning curve",
    ylabel: str = "",
) -> Figure:
    """Evaluations during training: the mean over seeds, each seed, and their range.

    Args:
      units: [E], positions of the evaluations on the x axis.
      values: policy -> [S, E], one row for each seed; NaN where a seed has no value.
      references: policy -> value, drawn as horizontal lines, e.g. random and the optimum.
      xlabel: label of the x axis.
      metric: metric of the y axis, unless `ylabel` is given.
      title: title of the plot.
      ylabel: quantity and unit of the values.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    seeds = {len(np.atleast_2d(by_seed)) for by_seed in values.values()}
    for policy, by_seed in values.items():
        by_seed, colour = np.atleast_2d(by_seed), style.policy_colour(policy)
        evaluated = ~np.isnan(by_seed).all(axis=0)
        at, by_seed = np.asarray(units)[evaluated], by_seed[:, evaluated]
        label = style.policy_name(policy)
        if len(seeds) > 1:
            label += f" ({_seeds(len(by_seed))})"
        if len(by_seed) > 1:
            axes.fill_between(at, np.nanmin(by_seed, 0), np.nanmax(by_seed, 0),
                              color=colour, alpha=0.16, linewidth=0)  # fmt: skip
            axes.plot(at, by_seed.T, color=colour, alpha=0.4, linewidth=0.8)
        axes.plot(at, np.nanmean(by_seed, 0), color=colour, linewidth=2.2, label=label,
                  marker="o" if len(units) <= _MARKED else None, markersize=5)  # fmt: skip
    axes.margins(x=0.02)
    integer_ticks = matplotlib.ticker.MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(integer_ticks)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    levels = references or {}
    for policy, level in levels.items():
        axes.axhline(level, color=style.policy_colour(policy), linestyle="--", linewidth=1.4)
    bottom, top = axes.get_ylim()
    label_heights = apart(list(levels.values()), (top - bottom) / 20)  # a line of text each
    for policy, height in zip(levels, label_heights, strict=True):
        axes.annotate(style.policy_name(policy), (1, height), (4, 0), va="center", fontsize=9,
                      xycoords=("axes fraction", "data"), textcoords="offset points",
                      color=style.policy_colour(policy), annotation_clip=False)  # fmt: skip
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel or f"{style.metric_name(metric)} ({style.metric_unit(metric)})")
    axes.set_title(title)
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    if seeds != {1}:
        of = f" of {_seeds(*seeds)}" if len(seeds) == 1 else " over seeds"
        legend.set_title(f"mean{of}, range shaded")
    elif values:
        legend.set_title(_seeds(1))
    return figure


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


@styled
def survival(depths: Mapping[str, np.ndarray], title: str = "Users in their session") -> Figure:
    """Share of users still in their session at each step, a line for each policy.

    Args:
      depths: policy -> steps of each session, [B]; seeds concatenated.
      title: title of the plot.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    longest = max(int(np.max(depth)) for depth in depths.values())
    steps = np.arange(1, longest + 1)
    for policy in style.ordered(depths):
        depth = np.asarray(depths[policy], np.int64)
        left_before = np.cumsum(np.bincount(depth, minlength=longest + 1))[:-1]
        axes.plot(
            steps,
            1 - left_before / len(depth),
            label=style.policy_name(policy),
            color=style.policy_colour(policy),
            linewidth=2,
            linestyle="--" if policy in _CONTROLS else "-",
        )
    axes.set_xlim(1, max(longest, 2))
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.set_xlabel("step of the session")
    axes.set_ylabel("users in their session")
    axes.set_title(title)
    axes.legend(fontsize=9)
    return figure


@styled
def goals(
    summaries: results.Policies,
    x: str,
    y: str,
    units: tuple[str, str] = ("", ""),
    title: str = "Results of each goal",
) -> Figure:
    """Two metrics against each other: a point with interval bars for each goal or policy.

    Args:
      summaries: goal or policy -> metric -> mean, low, high.
      x: metric on the horizontal axis.
      y: metric on the vertical axis.
      units: units of the two, unless that of the metric suffices.
      title: title of the plot.
    """
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    names = style.ordered(summaries)
    # Colours tell policies apart, markers goals; without goals, both tell policies apart.
    goal = [style.policy_and_goal(name)[1] or name for name in names]
    markers = dict(zip(dict.fromkeys(goal), itertools.cycle("osD^vPX")))
    points = []
    for name, colour, of in zip(names, style.colours(names), goal, strict=True):
        x_interval, y_interval = summaries[name][x], summaries[name][y]
        bars = axes.errorbar(
            x_interval["mean"],
            y_interval["mean"],
            xerr=_arms(x_interval),
            yerr=_arms(y_interval),
            color=colour,
            marker=markers[of],
            linestyle="none",
            markersize=8,
            capsize=3,
            linewidth=1.6,
        )
        points.append(bars.lines[0])
    axes.margins(0.1)
    for label, metric, unit in ((axes.set_xlabel, x, units[0]), (axes.set_ylabel, y, units[1])):
        label(f"{style.metric_name(metric)} ({unit or style.metric_unit(metric)})")
    axes.set_title(f"{title} (95% intervals)")
    labels = [style.policy_name(name) for name in names]
    figure.legend(points, labels, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Heights of labels, moved up so that they are at least a gap apart."""
    moved = list(heights)
    last = -np.inf
    for index in np.argsort(heights):
        moved[index] = last = max(heights[index], last + gap)
    return moved


def _arms(interval: Mapping[str, float]) -> np.ndarray:
    """Lengths of an error bar below and above the mean, [2, 1]."""
    below, above = interval["mean"] - interval["low"], interval["high"] - interval["mean"]
    return np.maximum([[below], [above]], 0.0)


def logged(
    paths: Mapping[str, Sequence[pathlib.Path]], name: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A number of runs' metrics.jsonl, by iteration.

    Args:
      paths: policy -> one file for each seed; a missing one counts as empty.
      name: name of the number.

    Returns:
      Int [E], the iterations in which any run has it; and policy -> float [S, E], NaN where a
      seed does not have it. Policies without it are left out.
    """
    numbers: dict[str, list[dict[int, float]]] = {}
    for policy, files in paths.items():
        seeds = [_numbers(file, name) for file in files]
        if any(seeds):
            numbers[policy] = seeds
    iterations = sorted({i for seeds in numbers.values() for seed in seeds for i in seed})
    return np.array(iterations, np.int64), {
        policy: np.array([[seed.get(i, np.nan) for i in iterations] for seed in seeds])
        for policy, seeds in numbers.items()
    }


def played(paths: Sequence[pathlib.Path]) -> np.ndarray:
    """Mean clicks of each iteration of play in runs' metrics.jsonl.

    Args:
      paths: one file for each seed; a missing one counts as empty.

    Returns:
      Float [S, E], NaN where a seed has fewer iterations of play.
    """
    seeds = [list(_numbers(path, _PLAYED).values()) for path in paths]
    curve = np.full((len(seeds), max(map(len, seeds), default=0)), np.nan)
    for row, rewards in zip(curve, seeds, strict=True):
        row[: len(rewards)] = rewards
    return curve


def _numbers(path: pathlib.Path, name: str) -> dict[int, float]:
    """Iteration -> a number of a run's metrics.jsonl, where it has a value."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["iteration"]: row[name] for row in rows if row.get(name) is not None}
