"""Tuning of the methods of a figure on validation sessions.

<out>/<environment>/tuning/<method>/best.json    the tuned fields
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from tfrec.data import identity
from tfrec.environments import registry as environments
from tfrec.methods import online_run, registry, studies, trials

_TUNING_SEED = 1000  # seed of tuning's runs; the figures' seeds count from 0


def tuned_as(method: str) -> str:
    """The method whose tuned fields a method has: IMRL's for its ablations and controls.

    The rows of a family then differ in what their names say alone.
    """
    family = registry.get(method).family
    return family if family in registry.names() else method


def path(out: pathlib.Path, environment: str, method: str) -> pathlib.Path:
    """Path of the result of a method's tuning in an environment."""
    return out / environment / "tuning" / tuned_as(method) / "best.json"


def best(out: pathlib.Path, environment: str, method: str) -> dict[str, Any] | None:
    """The result of a method's tuning; None if it was not tuned."""
    file = path(out, environment, method)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def tuned_fields(
    out: pathlib.Path, environment: str, method: str, inputs: identity.Sources
) -> dict[str, Any]:
    """The tuned fields of a method in an environment; none if it was not tuned.

    Args:
      out: folder of all cells.
      environment: environment of the cells.
      method: name of the method.
      inputs: inputs of the simulator.

    Raises:
      UserError: if it was tuned on other inputs.
    """
    tuned = studies.tuned_fields(path(out, environment, method).parent, inputs)
    fixed = registry.get(method, environment).online.changes
    return {field: v for field, v in tuned.items() if field not in fixed}


def tune(out: pathlib.Path, task: online_run.Task, number: int) -> None:
    """Tries settings of a method, each in a run of half the length.

    Args:
      out: folder of all cells.
      task: a run of the method in a figure, with the fields of its preset.
      number: total number of trials, including finished ones.
    """
    place, simulator = task.environment, environments.simulator(task.environment, task.form)
    half = dataclasses.replace(task.play, total_iterations=-(-task.play.total_iterations // 2))
    evaluation = trials.OnlineEvaluation(
        dataclasses.replace(task, seed=_TUNING_SEED, play=half),
        simulator,
        every=max(1, half.total_iterations // 3),
        score_sessions=task.play.test_sessions,
        final_sessions=task.final_sessions,
    )
    folder = path(out, place, task.method).parent
    folder.mkdir(parents=True, exist_ok=True)
    result = trials.tune_online(
        evaluation,
        task.method,
        trials=number,
        inputs=simulator.inputs(),
        storage=str(folder / "study.log"),
    )
    title = registry.get(task.method).title
    scored = f"{environments.get(place).metric} in {environments.get(place).title}"
    study = studies.Study(task.method, title, task.numbers, scored, simulator.inputs())
    studies.write(folder, study, result)
