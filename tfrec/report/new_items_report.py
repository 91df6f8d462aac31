"""Report of rankings of items that training never showed."""

import pathlib
from collections.abc import Mapping
from typing import Any

from tfrec.report import interval_panels, page, plots


def write(directory: pathlib.Path, document: Mapping[str, Any], cutoff: int) -> None:
    """Writes new_items.png, report.md and report.html.

    Args:
      directory: output folder.
      document: content of new_items.json.
      cutoff: length of the lists.
    """
    rankers = document["rankers"]
    metrics = list(dict.fromkeys(metric for row in rankers.values() for metric in row))
    settings, seeds = document["settings"], document["seeds"]
    introduction = (
        f"Log: {document['log']}. Each of {seeds} seeds withholds {settings['new_share']:.0%} "
        "of the items from training and draws weights of its own. The clicks among the last "
        f"20% of each user's events are to be found in lists of {cutoff}: all of them; those "
        "of the other items (known items), for which a withheld item in a list is wrong; and "
        "those of the withheld ones, among all items and among the withheld ones alone. Means "
        "over users, 95% intervals over seeds. Popularity, item-kNN and agents of ids alone "
        "cannot rank an item without events."
    )
    sections = []
    for kind, words in (("ndcg", "nDCG"), ("recall", "Recall")):
        columns = [metric for metric in metrics if metric.startswith(kind)]
        tasks = {column: column.partition(", ")[2] for column in columns}
        values = {
            ranker: {tasks[column]: row[column] for column in columns if column in row}
            for ranker, row in rankers.items()
        }
        figure = interval_panels.figure(
            values,
            list(tasks.values()),
            xlabel=f"{words}@{cutoff}",
            title=f"{words}@{cutoff} (mean, 95% interval over {seeds} seeds)",
            absent="cannot rank them",
            places=3,
        )
        picture = page.Picture(
            plots.save(figure, directory / f"new_items_{kind}.png"),
            f"{words} of known and of new items",
            f"{words}@{cutoff} of held-out clicks, by the items that are to be found.",
        )
        table = interval_panels.markdown(values, list(tasks.values()), "Ranker", 4)
        sections.append(page.Section(f"{words}@{cutoff}", table, [picture]))
    gains = document["gain of features"]
    known = [metric for metric in metrics if any(metric in row for row in gains.values())]
    sections.append(
        page.Section(
            "Gain of features over ids alone",
            "Paired by seed.\n\n" + interval_panels.markdown(gains, known, "Method", 4),
        )
    )
    page.write(directory, "Items that training never showed", introduction, sections)
