"""Report of agents with features of items beside agents of ids alone."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrec.metrics import intervals
from tfrec.report import page, plots

OPTIMUM, RANDOM, ATTRIBUTES = "optimum", "random items", "best plan by attributes"
POPULARITY = "most clicked item"
ByUser = Mapping[str, np.ndarray]  # set of items -> clicks in a session of each user, [U]


def summarise(values: Mapping[str, Sequence[ByUser]]) -> dict[str, dict[str, Any]]:
    """Shares of the way from random items to the optimum, with intervals over seeds.

    Args:
      values: arm -> clicks by seed and set of items; OPTIMUM and RANDOM are among the arms.

    Returns:
      `shares` and `clicks`: arm -> set of items -> mean, low and high.
    """
    document: dict[str, dict[str, Any]] = {"shares": {}, "clicks": {}}
    for arm, by_seed in values.items():
        for part in by_seed[0]:
            clicks = _means(by_seed, part)
            low, high = _means(values[RANDOM], part), _means(values[OPTIMUM], part)
            shares = (clicks - low) / (high - low)
            document["clicks"].setdefault(arm, {})[part] = _interval(clicks)
            document["shares"].setdefault(arm, {})[part] = _interval(shares)
    return document


def gains(
    values: Mapping[str, Sequence[ByUser]], pairs: Sequence[tuple[str, str]], part: str
) -> dict[str, dict[str, Any]]:
    """Paired differences of clicks between two arms, with intervals over seeds.

    Args:
      values: as for `summarise`.
      pairs: arms, the first minus the second.
      part: set of items.

    Returns:
      First arm -> part -> mean, low and high.
    """
    return {
        one: {part: _interval(_means(values[one], part) - _means(values[other], part))}
        for one, other in pairs
    }


def write(directory: pathlib.Path, document: Mapping[str, Any], parts: Sequence[str]) -> None:
    """Writes features.png, report.md and report.html.

    Args:
      directory: output folder.
      document: content of features.json.
      parts: sets of items, in order.
    """
    shares = {arm: x for arm, x in document["shares"].items() if arm not in (OPTIMUM, RANDOM)}
    picture = page.Picture(
        plots.save(figure(shares, parts), directory / "features.png"),
        "Agents with features and with ids alone",
        "0 is random items, 1 the optimum of the same items. An agent of ids alone cannot rank "
        "new items, which its log never shows.",
    )
    introduction = (
        "Share of the way from random items (0) to the exact optimum (1) in clicks of a "
        f"session, mean and 95% interval over {document['seeds']} seeds: each has a world, a "
        f"log, new items and weights of its own. The {ATTRIBUTES} knows the users' taste and "
        "fatigue, and of the items only their attributes."
    )
    sections = [
        page.Section("Shares", _table(shares, parts, "Agent", 3), [picture]),
        page.Section("Clicks in a session", _table(document["clicks"], parts, "Agent", 2)),
        page.Section(
            "Gain of features over ids alone",
            f"On {parts[0]}, clicks in a session, paired by seed.\n\n"
            + _table(document["gains"], parts[:1], "Method", 2),
        ),
    ]
    page.write(directory, "Do features of items help?", introduction, sections)


@plots.styled
def figure(shares: Mapping[str, Mapping[str, Any]], parts: Sequence[str]) -> Figure:
    """Plots each agent's share of the way, a panel for each set of items.

    Args:
      shares: arm -> set of items -> mean, low and high.
      parts: sets of items, in order.
    """
    made = Figure(figsize=(11.0, 0.45 * len(shares) + 1.7), layout="constrained")
    for axes, part in zip(made.subplots(1, len(parts), sharey=True), parts, strict=True):
        for row, (arm, by_part) in enumerate(shares.items()):
            if part not in by_part:
                axes.annotate("cannot rank them", (0.02, row), va="center", color="#666666")
                continue
            mean, low, high = (by_part[part][x] for x in ("mean", "low", "high"))
            colour = "#117733" if "features" in arm else "#6699CC"
            axes.plot(mean, row, "o", color="#555555" if arm == ATTRIBUTES else colour)
            axes.hlines(row, low, high, color="#555555" if arm == ATTRIBUTES else colour)
            axes.annotate(f"{mean:.2f}", (mean, row), (0, 7), textcoords="offset points",
                          ha="center", fontsize=9)  # fmt: skip
        axes.set_title(part)
        axes.set_xlim(-0.15, 1.2)
        axes.set_ylim(len(shares) - 0.5, -0.7)
        axes.axvline(0.0, color="#666666", linewidth=1.0)
        axes.axvline(1.0, color="#666666", linewidth=1.0, linestyle="--")
        axes.set_xlabel("0 random items, 1 optimum")
        axes.set_yticks(range(len(shares)), list(shares))
        axes.grid(axis="y", visible=False)
    made.suptitle("Share of the way (mean, 95% interval over seeds)", x=0.01, ha="left")
    return made


def _table(
    arms: Mapping[str, Mapping[str, Any]], parts: Sequence[str], first: str, places: int
) -> str:
    """A Markdown table, `mean [low, high]` in each cell; a dash where an arm has no value."""
    rows = [[first, *parts], ["---"] + ["---:"] * len(parts)]
    for arm, by_part in arms.items():
        cells = [
            "{mean:.{n}f} [{low:.{n}f}, {high:.{n}f}]".format(n=places, **by_part[part])
            if part in by_part
            else "–"
            for part in parts
        ]
        rows.append([arm, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _means(by_seed: Sequence[ByUser], part: str) -> np.ndarray:
    """Mean over users, float [S]."""
    return np.array([values[part].mean() for values in by_seed])


def _interval(by_seed: np.ndarray) -> dict[str, float]:
    interval = intervals.of_mean(by_seed)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
