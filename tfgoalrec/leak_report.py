"""Report of the label leak's controls: a table, a plot and a page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfrec.report import page, plots

LIMIT = 0.05  # |mean A| stays below this share of std(m)
Arms = Mapping[str, Mapping[str, Any]]  # arm -> metric -> mean, low, high
_PARTS = ("mean", "low", "high")

# Key in leak.json -> column heading.
_COLUMNS = {
    "reward": "Reward (clicks per session)",
    "share": "Share of the way from random to the optimum",
    "ranking_optimal": "Ranking by Q\\* (AUC)",
    "ranking_click": "Ranking by p(click) (AUC)",
    "explained_hindsight": "R² of V, hindsight goals",
    "explained_random": "R² of V, random goals",
    "advantage_bias": "Largest abs(mean A) / std(m)",
}


def table(arms: Arms) -> str:
    """Returns a Markdown table: a row for each arm, `mean [low, high]` in each cell."""
    present = [key for key in _COLUMNS if key in next(iter(arms.values()))]
    rows = [["Arm", *(_COLUMNS[key] for key in present)], ["---"] + ["---:"] * len(present)]
    for name, metrics in arms.items():
        rows.append(
            [name, *(_cell(metrics[key], 2 if key == "reward" else 3) for key in present)]
        )
    return _lines(rows)


def _cell(interval: Mapping[str, float], places: int) -> str:
    mean, low, high = (f"{interval[part]:.{places}f}" for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


class _Panel(NamedTuple):
    """One panel of the figure: `series` maps metrics to labels, with bars from `base`."""

    title: str
    unit: str
    base: float
    series: dict[str, str]


def _panels(arms: Arms) -> list[_Panel]:
    """The panels of reward, ranking accuracy and variance explained from the goal."""
    metrics = next(iter(arms.values()))
    exact = "share" in metrics
    rankings = {
        "ranking_optimal": "target goal, by Q*",
        "ranking_click": "click goal, by p(click)",
    }
    return [
        _Panel(
            "Reward under the target goal",
            "0 at random, 1 at the optimum" if exact else "clicks per user session",
            0.0,
            {"share" if exact else "reward": ""},
        ),
        _Panel(
            "Ranking of the items of one state",
            "AUC against the truth; 0.5 is chance",
            0.5,
            {key: label for key, label in rankings.items() if key in metrics},
        ),
        _Panel(
            "Outcome read without the item",
            "R² of V, mean over measurements",
            0.0,
            {"explained_hindsight": "hindsight goals", "explained_random": "random goals"},
        ),
    ]


@plots.styled
def figure(arms: Arms) -> Figure:
    """Plots each arm's reward, ranking accuracy and variance explained from the goal."""
    figure = Figure(figsize=(12.5, 0.62 * len(arms) + 1.9), layout="constrained")
    for axes, panel in zip(figure.subplots(1, 3, sharey=True), _panels(arms), strict=True):
        _bars(axes, list(arms.values()), panel.series, panel.base)
        axes.set_title(panel.title)
        axes.set_xlabel(panel.unit)
        axes.set_yticks(range(len(arms)), list(arms))
    axes.invert_yaxis()
    figure.suptitle(
        "GoalRec-off by its share of hindsight goals (mean, 95% interval over users and seeds)",
        x=0.01,
        ha="left",
    )
    return figure


def _bars(
    axes: Axes, arms: Sequence[Mapping[str, Any]], series: Mapping[str, str], base: float
) -> None:
    """Draws horizontal bars from `base`, one for each series of each arm."""
    thick = 0.8 / len(series)
    reach = max(arm[key]["high"] for arm in arms for key in series)
    for number, (key, label) in enumerate(series.items()):
        rows = np.arange(len(arms)) + (number - (len(series) - 1) / 2) * thick
        mean, low, high = (np.array([arm[key][part] for arm in arms]) for part in _PARTS)
        colour = ("#0072B2", "#E69F00")[number]
        axes.barh(rows, mean - base, left=base, height=thick * 0.9, color=colour, label=label)
        axes.hlines(rows, low, high, color="white", linewidth=3.6)
        axes.hlines(rows, low, high, color="#333333", linewidth=1.6)
        for row, value, end in zip(rows, mean, np.maximum(high, base), strict=True):
            axes.annotate(f"{value:.2f}", (end, row), (4, 0), textcoords="offset points",
                          va="center", fontsize=8.5)  # fmt: skip
    lowest = min(base, *(arm[key]["low"] for arm in arms for key in series))
    width = reach - lowest
    axes.set_xlim(lowest - 0.03 * width * (lowest < base), reach + 0.17 * width)
    axes.axvline(base, color="#666666", linewidth=1.0)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    if len(series) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8.5)


def write(directory: pathlib.Path, document: Mapping[str, Any]) -> None:
    """Writes leak.png, report.md and report.html.

    Args:
      directory: output folder.
      document: content of leak.json.
    """
    arms = document["arms"]
    worst = max(max(arm["advantage_bias_by_seed"]) for arm in arms.values())
    verdict = "below" if worst < LIMIT else "NOT below"
    text = (
        f"{table(arms)}\n"
        f"The default is *{document['default']}*. Each arm made {document['updates']:,} "
        f"updates on the log alone. Predictions are tested on {document['steps']:,} steps of "
        f"test users, rankings in {document['states']:,} of those states with "
        f"{document['candidates']} items each. Ranking by p(click) is under a goal of this "
        "step's click alone; ranking by Q\\*, where the world's optimum is known, and the "
        "reward are under the target goal. The largest abs(mean A) / std(m) of any arm, seed "
        f"and measurement column is {worst:.1%}, {verdict} the limit of {LIMIT:.0%}.\n\n"
        "Difference of each arm from the default, on the same users and seeds:\n\n"
        f"{beyond_default(arms)}\n"
        "R² of V by measurement, hindsight goals / random goals:\n\n"
        f"{by_measurement(arms)}"
    )
    picture = page.Picture(
        plots.save(figure(arms), directory / "leak.png"),
        "The arms compared",
        "If V does much better under hindsight goals than under random ones, it reads the "
        "outcome from the goal, which is the leak. It does harm if ranking or reward suffers.",
    )
    section = page.Section("The label leak", text, [picture])
    page.write_report(
        directory, document, (), [section], "Do hindsight goals leak the outcome?"
    )


def beyond_default(arms: Arms) -> str:
    """Returns a Markdown table of paired differences from the default arm."""
    differences_of = {name: arm["beyond_default"] for name, arm in arms.items()}
    present = [key for key in _COLUMNS if key in next(iter(differences_of.values()))]
    rows = [["Arm", *(_COLUMNS[key] for key in present)], ["---"] + ["---:"] * len(present)]
    for name, differences in differences_of.items():
        if any(differences[key]["mean"] for key in present):  # not the default itself
            rows.append([name, *(_cell(differences[key], 3) for key in present)])
    return _lines(rows)


def by_measurement(arms: Arms) -> str:
    """Returns a Markdown table: R^2 of V by measurement and arm, hindsight / random goals."""
    rows = [["Measurement", *arms], ["---"] + ["---:"] * len(arms)]
    for name in next(iter(arms.values()))["explained_by_measurement"]:
        explained = [arm["explained_by_measurement"][name] for arm in arms.values()]
        rows.append([name, *(f"{x['hindsight']:.2f} / {x['random']:.2f}" for x in explained)])
    return _lines(rows)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
