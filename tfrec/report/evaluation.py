"""The page of an evaluation: tables and plots."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrec import types
from tfrec.report import page, plots, results, style, tables


def write(
    directory: pathlib.Path,
    document: Mapping[str, Any],
    depths: Mapping[str, np.ndarray],
    by_goal: results.Policies,
    curves: Mapping[str, Sequence[pathlib.Path]],
    spec: types.DataSpec,
) -> pathlib.Path:
    """Writes report.md, report.html and their plots.

    Args:
      directory: target folder.
      document: content of results.json.
      depths: policy -> steps of each session, [B].
      by_goal: one trained model under each of its goals: `style.under_goal` -> metrics.
      curves: method -> metrics.jsonl of each seed's training; files that are missing or
        without play are left out.
      spec: names and units of the feedback.

    Returns:
      The path of report.html.
    """

    def picture(figure: Any, name: str, title: str, caption: str) -> page.Picture:
        return page.Picture(plots.save(figure, directory / f"{name}.png"), title, caption)

    policies = document["policies"]
    figures = [
        picture(
            plots.policies(policies, seeds=document["seeds"]),
            "policies",
            "Reward, CTR and depth",
            "Each bar is a mean, its line the 95% interval.",
        ),
        picture(
            plots.survival(depths),
            "survival",
            "Session survival",
            "Share of users still in their session at each step.",
        ),
    ]
    played = {name: plots.played(paths) for name, paths in curves.items()}
    played = {name: curve for name, curve in played.items() if curve.size}
    if played:
        longest = max(curve.shape[1] for curve in played.values())
        references = {
            name: policies[name]["reward"]["mean"]
            for name in ("random", "myopic", "exit_averse", "optimum")
            if name in policies
        }
        figures.append(
            picture(
                plots.learning_curve(
                    range(1, longest + 1),
                    played,
                    references,
                    xlabel="rounds of play",
                    title="Reward while playing and learning",
                ),
                "learning",
                "Reward while playing and learning",
                "Sessions of play explore and follow all named goals and random ones, so that "
                "their reward is below that of the trained model under its first goal.",
            )
        )
    sections = [_goals(by_goal, spec, picture)] if by_goal else []
    return page.write_report(directory, document, figures, sections, title="Evaluation")


def _goals(by_goal: results.Policies, spec: types.DataSpec, picture: Any) -> page.Section:
    named = {style.policy_and_goal(key)[1] for key in by_goal}
    columns = [column for column in spec.feedback if column.name in named]
    pictures = []
    if len(columns) > 1:
        x, y = columns[:2]
        pictures.append(
            picture(
                plots.goals(by_goal, x.name, y.name, units=(x.unit, y.unit)),
                "goals",
                "Results of each goal",
                "One trained model under each of its named goals.",
            )
        )
    metrics = ("reward", "ctr", "depth", *(c.name for c in columns if c != spec.feedback[0]))
    return page.Section("One model, several goals", tables.markdown(by_goal, metrics), pictures)
