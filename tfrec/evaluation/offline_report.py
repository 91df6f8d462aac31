"""The table of an offline comparison: its files, its plot and the paired differences."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tfrec import outputs
from tfrec.evaluation import next_items, offline, rankers, rankings
from tfrec.report import comparison, plots, style, tables

_SHOWN = ("recall", "precision", "ndcg")


def gains_table(by_method: Mapping[str, Sequence[next_items.Evaluation]], metric: str) -> str:
    """A table of what methods gain over those that lack one of their parts.

    Args:
      by_method: method -> its evaluation from each seed, all on the same users.
      metric: such as `ndcg@20`.

    Returns:
      Markdown in percentage points; empty if no method was evaluated with its anchor
      (`rankers.ANCHORS`).
    """
    gains = offline.gains(by_method, rankers.ANCHORS, metric)
    if not gains:
        return ""
    corrected = comparison.holm([x.p_value for x in gains.values()])
    lines = [
        f"What parts of methods gain in {style.metric_name(metric)}, percentage points; "
        f"p by Holm's method for these {len(gains)} comparisons:\n",
        "| Method | over | gain | detectable | p | Holm |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for ((method, anchor), x), holm in zip(gains.items(), corrected, strict=True):
        names = f"{style.policy_name(method)} | {style.policy_name(anchor)}"
        interval = f"{100 * x.mean:+.2f} [{100 * x.low:+.2f}, {100 * x.high:+.2f}]"
        lines.append(
            f"| {names} | {interval} | {100 * x.detectable:.2f} | {style.p_value(x.p_value)} | "
            f"{style.p_value(holm)} |"
        )
    return "\n".join(lines) + "\n"


def write(
    directory: str | os.PathLike,
    by_method: Mapping[str, Sequence[next_items.Evaluation]],
    cutoff: int,
    about: Mapping[str, Any],
) -> dict[str, dict[str, dict[str, float]]]:
    """Writes table.md, table.csv, table.json and table.png.

    Args:
      directory: output folder.
      by_method: method -> its evaluation from each seed, all on the same users.
      cutoff: length of the lists.
      about: what the numbers depend on; plain values.

    Returns:
      Method -> metric -> mean, low and high.

    Raises:
      UserError: if a file cannot be written.
    """
    directory = pathlib.Path(directory)
    table = {
        name: {metric: e._asdict() for metric, e in offline.estimates(evaluations).items()}
        for name, evaluations in by_method.items()
    }
    metrics = [f"{metric}@{cutoff}" for metric in _SHOWN]
    deviations = {
        name: {metric: offline.spread(evaluations, metric) for metric in metrics}
        for name, evaluations in by_method.items()
    }
    best = max(by_method, key=lambda name: table[name][metrics[-1]]["mean"])
    differences = {
        name: offline.difference(evaluations, by_method[best], metrics[-1])._asdict()
        for name, evaluations in by_method.items()
        if name != best
    }
    corrected = comparison.holm([x["p_value"] for x in differences.values()])
    for difference, p_value in zip(differences.values(), corrected, strict=True):
        difference["holm"] = p_value
    outputs.write_json(
        directory / "table.json",
        {
            "about": {**about, "conditions": rankings.CONDITIONS},
            "methods": table,
            "standard_deviation_over_seeds": deviations,
            "best": best,
            "difference_to_the_best": {metrics[-1]: differences},
        },
    )
    page = _page(table, deviations, differences, best, metrics, about)
    if gains := gains_table(by_method, metrics[-1]):
        page += f"\n{gains}"
    texts = {"csv": tables.to_csv(table, rankings.columns_at(cutoff)), "md": page}
    for ending, text in texts.items():
        with outputs.replacing_file(directory / f"table.{ending}") as file:
            file.write_text(text, encoding="utf-8")
    title = f"Held-out events, {about['protocol'].replace('_', ' ')}"
    figure = plots.policies(table, metrics, title, seeds=about["seeds"])
    plots.save(figure, directory / "table.png")
    return table


def _page(
    table: Mapping[str, Any],
    deviations: Mapping[str, Mapping[str, float | None]],
    differences: Mapping[str, Mapping[str, float]],
    best: str,
    metrics: Sequence[str],
    about: Mapping[str, Any],
) -> str:
    facts = "".join(f"- {name}: {value}\n" for name, value in about.items())
    lines = [
        f"# Ranking of held-out events\n\n{facts}- conditions: {rankings.CONDITIONS}\n",
        "\nMean and 95% interval over users and seeds; then the standard deviation over seeds, "
        "where there are several.\n\n",
        tables.markdown(table, metrics, "Method"),
        f"\n| Method | {' | '.join(f'sd of {metric}' for metric in metrics)} |\n",
        f"|---|{'---:|' * len(metrics)}\n",
    ]
    for name in style.ordered(deviations):
        values = [deviations[name][metric] for metric in metrics]
        cells = " | ".join("–" if value is None else f"{value:.4f}" for value in values)
        lines.append(f"| {style.policy_name(name)} | {cells} |\n")
    lines += [
        f"\nDifference in {metrics[-1]} to the method with the highest mean, "
        f"{style.policy_name(best)}, on the same users; 95% interval and p over users and "
        f"seeds, and p corrected by Holm's method for the {len(differences)} comparisons. "
        "`detectable` is the smallest difference that is found with 80% power."
        "\n\n| Method | difference | detectable | p | Holm |\n|---|---:|---:|---:|---:|\n"
    ]
    for name in style.ordered(differences):
        x = differences[name]
        cells = f"{x['mean']:+.4f} [{x['low']:+.4f}, {x['high']:+.4f}] | {x['detectable']:.4f}"
        cells += f" | {style.p_value(x['p_value'])} | {style.p_value(x['holm'])}"
        lines.append(f"| {style.policy_name(name)} | {cells} |\n")
    return "".join(lines)
