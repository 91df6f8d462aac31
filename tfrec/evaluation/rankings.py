"""Comparison of rankers on held-out events: the table, its files and its plot."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrec import outputs
from tfrec.baselines.sequential.learner import VALIDATION
from tfrec.data import protocols
from tfrec.errors import UserError
from tfrec.evaluation import next_items, rankers
from tfrec.report import plots, tables

Estimates = Mapping[str, Mapping[str, next_items.Estimate]]

CONDITIONS = "whole catalogue, items of the history left out, no sampled negatives"


def evaluate_controls(
    split: protocols.Split, cutoffs: Sequence[int] = next_items.CUTOFFS
) -> tuple[dict[str, next_items.Evaluation], dict[str, str]]:
    """Evaluates all controls that can be fitted to the log.

    Args:
      split: training and test events.
      cutoffs: lengths of the list.

    Returns:
      Control -> its evaluation on the test, and control -> reason for its omission.
    """
    evaluations, reasons = {}, {}
    for name, fit in rankers.CONTROLS.items():
        try:
            ranker = fit(split.train)
        except UserError as error:
            reasons[name] = str(error)
            continue
        evaluations[name] = next_items.evaluate(ranker, split.test, split.train, cutoffs)
    return evaluations, reasons


def write(
    directory: str | os.PathLike,
    evaluations: Mapping[str, next_items.Evaluation],
    cutoffs: Sequence[int],
    about: Mapping[str, Any],
) -> dict[str, dict[str, dict[str, float]]]:
    """Writes rankings.json, rankings.csv, rankings.md and rankings.png.

    Args:
      directory: output folder.
      evaluations: ranker -> its evaluation.
      cutoffs: lengths of the list.
      about: conditions of the evaluation, e.g. protocol, log and seed; plain values.

    Returns:
      Ranker -> metric -> mean, low and high.

    Raises:
      UserError: if a file cannot be written.
    """
    directory = pathlib.Path(directory)
    table = {
        name: {metric: e._asdict() for metric, e in evaluation.estimates().items()}
        for name, evaluation in evaluations.items()
    }
    document = {"about": {**about, "conditions": CONDITIONS}, "rankers": table}
    columns = {k: columns_at(k) for k in cutoffs}
    all_metrics = [metric for metrics in columns.values() for metric in metrics]
    texts = {
        "json": json.dumps(document, indent=2, allow_nan=False) + "\n",
        "csv": tables.to_csv(table, all_metrics),
        "md": _page(table, columns, about),
    }
    for ending, text in texts.items():
        with outputs.replacing_file(directory / f"rankings.{ending}") as file:
            file.write_text(text, encoding="utf-8")
    first = [f"{metric}@{cutoffs[0]}" for metric in ("ndcg", "recall", "coverage")]
    title = f"Next items, {about.get('protocol', 'held-out events').replace('_', ' ')}"
    plots.save(plots.policies(table, first, title, seeds=1), directory / "rankings.png")
    return table


def write_curve(directory: str | os.PathLike, name: str) -> None:
    """Plots the validations of a run's metrics.jsonl in curve.png.

    Args:
      directory: folder of the run.
      name: name of the method.

    Raises:
      UserError: if the file cannot be written.
    """
    directory = pathlib.Path(directory)
    lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if VALIDATION in row]
    figure = plots.learning_curve(
        [row["iteration"] for row in rows],
        {name: np.array([row[VALIDATION] for row in rows])},
        xlabel="epochs",
        metric=VALIDATION.removeprefix("validation_"),
        title="Validation events",
    )
    plots.save(figure, directory / "curve.png")


def columns_at(k: int) -> list[str]:
    """The metrics of a table at one cutoff."""
    return [f"{metric}@{k}" for metric in (*next_items.METRICS, "coverage", "novelty")]


def _page(
    table: Mapping[str, Any], columns: Mapping[int, Sequence[str]], about: Mapping[str, Any]
) -> str:
    facts = "".join(f"- {name.replace('_', ' ')}: {value}\n" for name, value in about.items())
    parts = [f"# Ranking of held-out events\n\n{facts}- conditions: {CONDITIONS}\n"]
    parts.append("\nMean and 95% interval over users; coverage is of all lists together.\n")
    parts += [f"\n{tables.markdown(table, names, 'Ranker')}" for names in columns.values()]
    return "".join(parts)
