"""The page and the plot of a tuning study."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfrec import outputs
from tfrec.report import plots

Trials = Sequence[Mapping[str, Any]]  # number, overrides, state, score, updates, seconds

_LOOKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": "#0072B2"},
    "pruned": {"marker": "o", "facecolors": "none", "edgecolors": "#999999"},
    "diverged": {"marker": "x", "color": "#D55E00"},
}


def write(
    directory: str | os.PathLike[str], study: Mapping[str, Any], title: str, scored: str
) -> None:
    """Writes tuning.png and tuning.md.

    Args:
      directory: target folder.
      study: `trials` (their records), `overrides`, `score`, `default_score`, `updates`,
        `importance` and `defaults` of the fields.
      title: title of the page.
      scored: meaning of a score in words: "clicks per session of validation users".
    """
    directory = pathlib.Path(directory)
    figure = picture(study["trials"], study["importance"], title, scored)
    plots.save(figure, directory / "tuning.png")
    with outputs.replacing_file(directory / "tuning.md") as temporary:
        temporary.write_text(page(study, title, scored), encoding="utf-8")


def page(study: Mapping[str, Any], title: str, scored: str) -> str:
    """The study in Markdown: its cost, the best trial, and all trials.

    A study that does not count updates shows none.
    """
    trials, fields = study["trials"], list(study["overrides"])
    counts = [
        f"{number} {state}"
        for state in _LOOKS
        if (number := sum(trial["state"] == state for trial in trials))
    ]
    default = study["default_score"]
    updates = f", {study['updates']:,} updates in all" if study["updates"] else ""
    lines = [
        f"# {title}",
        "",
        f"{len(trials)} trials ({', '.join(counts)}){updates}. "
        f"Best: {study['score']:.4g} {scored}; the defaults: "
        + ("diverged." if default is None else f"{default:.4g}."),
        "",
        "| field | default | best | importance |",
        "|---|---|---|---|",
    ]
    for field in fields:
        share = study["importance"].get(field)
        lines.append(
            f"| {field} | {study['defaults'][field]} | {study['overrides'][field]} | "
            + ("" if share is None else f"{share:.0%}")
            + " |"
        )
    lines += ["", "![Scores of the trials](tuning.png)", ""]
    counted = ["updates"] if updates else []
    headings = ["trial", "score", "state", *counted, "seconds", *fields]
    lines += [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for trial in sorted(trials, key=_by_score):
        cells = [
            str(trial["number"]),
            "" if trial["score"] is None else f"{trial['score']:.4g}",
            trial["state"],
            *(f"{trial[name]:,}" for name in counted),
            f"{trial['seconds']:.0f}",
            *(str(trial["overrides"][field]) for field in fields),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _by_score(trial: Mapping[str, Any]) -> tuple[bool, float]:
    """Complete trials first, the best at the top."""
    score = -np.inf if trial["score"] is None else trial["score"]
    return trial["state"] != "complete", -score


@plots.styled
def picture(trials: Trials, importance: Mapping[str, float], title: str, scored: str) -> Figure:
    """The score of each trial and the best so far, and the importance of the fields.

    Args:
      trials: records, by number.
      importance: field -> share of the variance; empty leaves the second panel out.
      title: title above the panels.
      scored: meaning of a score.
    """
    figure = Figure(figsize=(10.5 if importance else 7.2, 4.2), layout="constrained")
    panels = figure.subplots(1, 2 if importance else 1, squeeze=False)[0]
    _history(panels[0], trials, scored)
    if importance:
        names = list(importance)
        panels[1].barh(range(len(names)), list(importance.values()), color="#56B4E9")
        panels[1].set_yticks(range(len(names)), names)
        panels[1].invert_yaxis()
        panels[1].grid(axis="y", visible=False)
        panels[1].xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
        panels[1].set_title("Importance of the fields")
        panels[1].set_xlabel("share of the variance of scores")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _history(axes: Axes, trials: Trials, scored: str) -> None:
    for state, look in _LOOKS.items():
        of_state = [t for t in trials if t["state"] == state and t["score"] is not None]
        if of_state:
            axes.scatter([t["number"] for t in of_state], [t["score"] for t in of_state],
            label=state,
                         zorder=3, **look)  # fmt: skip
    complete = [t for t in trials if t["state"] == "complete"]
    best = np.maximum.accumulate([t["score"] for t in complete])
    axes.step([t["number"] for t in complete], best, where="post", color="#0072B2",
              linewidth=1.6, label="best so far")  # fmt: skip
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.set_title("Scores")
    axes.set_xlabel("trial")
    axes.set_ylabel(scored)
    axes.legend(fontsize=9)
