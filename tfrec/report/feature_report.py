"""Report of agents with features of items beside agents of ids alone."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrec.metrics import intervals
from tfrec.report import interval_panels, page, plots

OPTIMUM, RANDOM, ATTRIBUTES = "optimum", "random items", "best plan by attributes"
POPULARITY = "most clicked item"
WITHOUT_HOUR = "best plan without the hour"
FIRST_WITHOUT_HOUR = "optimum after a first item without the hour"
# Rows of exact values -> fields of `tfrec.evaluation.feature_worlds.Part`.
EXACT = {
    OPTIMUM: "optimum",
    ATTRIBUTES: "by_attributes",
    RANDOM: "random",
    WITHOUT_HOUR: "without_hour",
    FIRST_WITHOUT_HOUR: "first_without_hour",
}
ByUser = Mapping[str, np.ndarray]  # set of items -> clicks in a session of each user, [U]


def with_features(method: str) -> str:
    """Row of a method that reads all features."""
    return f"{method} with features"


def without_hour(method: str) -> str:
    """Row of a method that reads all features but the hour."""
    return f"{method} with features, without the hour"


def ids_alone(method: str) -> str:
    """Row of a method that reads no features."""
    return f"{method}, ids alone"


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
            document["clicks"].setdefault(arm, {})[part] = intervals.of_mean(clicks).bounds
            document["shares"].setdefault(arm, {})[part] = intervals.of_mean(shares).bounds
    return document


def gains(
    values: Mapping[str, Sequence[ByUser]], methods: Sequence[str], part: str
) -> dict[str, dict[str, Any]]:
    """Paired differences of clicks to an agent with features, with intervals over seeds.

    Args:
      values: as for `summarise`.
      methods: names of the methods.
      part: set of items.

    Returns:
      `gains`, over ids alone, and `gains_of_hour`, over features without the hour: row of the
      agent with features -> part -> mean, low and high. The second is empty where no agent
      learned without the hour.
    """
    document: dict[str, dict[str, Any]] = {"gains": {}, "gains_of_hour": {}}
    for key, row_of in (("gains", ids_alone), ("gains_of_hour", without_hour)):
        for name in methods:
            if row_of(name) in values:
                row = with_features(name)
                gain = _means(values[row], part) - _means(values[row_of(name)], part)
                document[key][row] = {part: intervals.of_mean(gain).bounds}
    return document


def write(directory: pathlib.Path, document: Mapping[str, Any], parts: Sequence[str]) -> None:
    """Writes features.png, report.md and report.html.

    Args:
      directory: output folder.
      document: content of features.json.
      parts: sets of items, in order.
    """
    shares = {arm: x for arm, x in document["shares"].items() if arm not in (OPTIMUM, RANDOM)}
    figure = interval_panels.figure(
        shares,
        parts,
        xlabel="0 random items, 1 optimum",
        title="Share of the way (mean, 95% interval over seeds)",
        absent="cannot rank them",
        places=2,
        references=(ATTRIBUTES, POPULARITY, WITHOUT_HOUR, FIRST_WITHOUT_HOUR),
        limits=(-0.15, 1.2),
        lines=(0.0, 1.0),
    )
    picture = page.Picture(
        plots.save(figure, directory / "features.png"),
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
    if WITHOUT_HOUR in shares:
        introduction += (
            f" The {WITHOUT_HOUR} knows the users and the items, but not the hour on which "
            "tastes depend, and learns nothing from answers: no bound. No agent without the "
            f"hour earns more than the {FIRST_WITHOUT_HOUR}."
        )
    sections = [
        page.Section("Shares", interval_panels.markdown(shares, parts, "Agent", 3), [picture]),
        page.Section(
            "Clicks in a session",
            interval_panels.markdown(document["clicks"], parts, "Agent", 2),
        ),
        page.Section(
            "Gain of features over ids alone",
            f"On {parts[0]}, clicks in a session, paired by seed.\n\n"
            + interval_panels.markdown(document["gains"], parts[:1], "Method", 2),
        ),
    ]
    if document["gains_of_hour"]:
        table = interval_panels.markdown(document["gains_of_hour"], parts[:1], "Method", 2)
        sections.append(
            page.Section(
                "Gain of the hour",
                f"On {parts[0]}, clicks in a session over an agent that reads the other "
                f"features, paired by seed.\n\n{table}",
            )
        )
    page.write(directory, "Do features of items help?", introduction, sections)


def _means(by_seed: Sequence[ByUser], part: str) -> np.ndarray:
    """Mean over users, float [S]."""
    return np.array([values[part].mean() for values in by_seed])
