"""Figures 2 and 3 of IMRL's paper: tuning, runs and output of the cells of `figure_plan`.

<out>/figure2_<environment>_<ctr or reward>.png, figure2.csv, figure2.md; the same of 3
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from launch.experiments import figure_plan, figure_report, figure_tuning
from launch.experiments.figure_plan import CONTROLS, Cell, FiguresRequest, Scale
from launch.experiments.pool import Job, Pool
from tfrec import options, outputs
from tfrec.data import identity
from tfrec.environments import contract
from tfrec.environments import registry as environments
from tfrec.environments.ports import originals
from tfrec.methods import online_learner, online_run, registry, studies


def run(out: pathlib.Path, cell: Cell, scale: Scale, virtualtb_path: str) -> None:
    """Runs a cell to its end; a finished cell is not changed."""
    if cell.result(out).exists():
        check_done(out, [cell], scale, virtualtb_path)
        return
    simulator = environments.simulator(
        cell.environment, figure_plan.form(cell.environment, virtualtb_path)
    )
    in_original = scale.original_sessions.get(cell.environment, 0)
    if in_original and not originals.is_installed(simulator):
        print(f"{cell.environment}: tested in the port alone, the original is not installed")
        in_original = 0
    if cell.method == CONTROLS:
        path = cell.result(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_json(path, _levels(cell.environment, simulator, scale, in_original))
        return
    tuned = figure_tuning.tuned_fields(out, cell.environment, cell.method, simulator.inputs())
    work = figure_plan.task(cell, scale, virtualtb_path, tuned)
    work = dataclasses.replace(work, original_sessions=in_original)
    online_run.run(cell.folder(out), work)
    # Checkpoints have gigabytes of replay, and a finished cell is not continued.
    shutil.rmtree(cell.folder(out) / "checkpoints", ignore_errors=True)


def tune(
    out: pathlib.Path, environment: str, method: str, scale: Scale, virtualtb_path: str, n: int
) -> None:
    """Tries settings of a method until there are n, with the finished ones."""
    figure_tuning.tune(
        out, figure_plan.task(Cell(environment, method, 0), scale, virtualtb_path), n
    )


def untuned(request: FiguresRequest, cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Returns the pairs of environment and method that lack some of their trials."""
    pairs = dict.fromkeys(_tuning_of(cell) for cell in cells if cell.method != CONTROLS)

    return [
        pair
        for pair in pairs
        if request.trials_each
        and not studies.is_finished(
            figure_tuning.path(request.out, *pair).parent, request.trials_each
        )
    ]


def _tuning_of(cell: Cell) -> tuple[str, str]:
    """Returns the environment and the method whose tuned fields a cell has."""
    method = cell.method if cell.method == CONTROLS else figure_tuning.tuned_as(cell.method)
    return cell.environment, method


def _levels(
    environment: str, simulator: contract.Simulator, scale: Scale, in_original: int
) -> dict[str, Any]:
    """Returns the tests of an environment's controls, with their inputs and sizes."""
    sizes = figure_plan.play(environment, scale)
    made_with = {
        "inputs": identity.recorded(simulator.inputs()),
        "play": options.resolved(sizes),
    }
    levels = {}
    for name, control in simulator.controls().items():
        played, policy = control()
        tests = online_run.final_test(
            played, policy, scale.final_sessions[environment], in_original
        )
        during = online_learner.tested(played, policy, sizes.test_sessions)
        levels[name] = tests | {"tests": during} | made_with
    return levels


def check_done(
    out: pathlib.Path, cells: Sequence[Cell], scale: Scale, virtualtb_path: str
) -> None:
    """Checks that finished cells have the same simulators, scale and tuning as this run.

    Without a path to VirtualTB, its cells are compared with each other.

    Raises:
      UserError: naming a cell with another environment, amount of play or configuration.
    """
    inputs: dict[str, identity.Sources] = {}
    for cell in cells:
        path, name = cell.result(out), cell.environment
        if not path.exists():
            continue
        document = json.loads(path.read_text())
        made_with = next(iter(document.values())) if cell.method == CONTROLS else document
        before = made_with.get("inputs")
        if name not in inputs:
            if name == "virtualtb" and not virtualtb_path:
                sources = {key: identity.Source(**x) for key, x in (before or {}).items()}
                inputs[name] = sources
            else:
                simulator = environments.simulator(name, figure_plan.form(name, virtualtb_path))
                inputs[name] = simulator.inputs()
        different = identity.changes(before, inputs[name])
        different += options.differences(
            made_with.get("play", "not recorded"),
            options.resolved(figure_plan.play(name, scale)),
            "play",
        )
        if cell.method != CONTROLS:
            tuned = figure_tuning.tuned_fields(out, name, cell.method, inputs[name])
            config = figure_plan.method_config(cell, scale, tuned)
            different += options.differences(
                made_with.get("method_config", "not recorded"),
                options.resolved(online_run.fitting(config, figure_plan.play(name, scale))),
                "method",
            )
        options.check_unchanged(
            different,
            f"{path} was made with other inputs",
            "Choose another --out, or remove this file to run the cell again",
        )


def reproduce(request: FiguresRequest, jobs: int, report_only: bool) -> int:
    """Runs unfinished cells and writes the figures; returns the exit code.

    Raises:
      UserError: for an unknown figure, environment or method.
    """
    figure_plan.check(request)
    scale, out = figure_plan.SCALES[request.scale], request.out
    cells = figure_plan.plan(request)
    check_done(out, cells, scale, request.virtualtb_path)
    unfinished = [cell for cell in cells if not cell.result(out).exists()]
    possible = [cell for cell in unfinished if figure_plan.can_run(request, cell)]
    if len(possible) < len(unfinished):
        print(
            f"VirtualTB is skipped, {len(unfinished) - len(possible)} cells: --virtualtb_path "
            "is empty. Expected a clone: git clone https://github.com/eyounx/VirtualTaobao"
        )
    failed = []
    if not report_only and possible:
        out.mkdir(parents=True, exist_ok=True)
        common = (
            f"--out={out}",
            f"--scale={request.scale}",
            f"--virtualtb_path={request.virtualtb_path}",
        )
        with Pool("launch.run_curve", jobs, common, out / "logs") as pool:
            tuning = [_tuning_job(*x, request.trials_each) for x in untuned(request, possible)]
            failed = pool.run("tune", tuning)
            check_done(out, cells, scale, request.virtualtb_path)
            failing = untuned(request, possible)
            ready = [cell for cell in possible if _tuning_of(cell) not in failing]
            groups = figure_plan.together(ready, scale)
            failed += pool.run("curves", [_job(group) for group in groups])
        for job in failed:
            print(f"failed: {job.name}; see {pool.log(job)}", file=sys.stderr)
    for figure in sorted(set(request.figures)):
        figure_report.write(
            out,
            figure,
            [
                _panel(request, figure, environment)
                for environment in request.environments_of(figure)
            ],
        )
    done = sum(cell.result(out).exists() for cell in cells)
    print(f"{done} of {len(cells)} cells are done; figures: {out}")
    return 1 if failed else 0


def _tuning_job(environment: str, method: str, trials: int) -> Job:
    """Returns the process that tunes a method in an environment."""
    return Job(
        f"{environment}/tune {method}",
        (f"--environment={environment}", f"--method={method}", f"--trials={trials}"),
    )


def _job(cells: Sequence[Cell]) -> Job:
    """Returns the process of cells of one environment and seed."""
    first, methods = cells[0], [cell.method for cell in cells]
    name = f"{first.environment}/{'+'.join(methods)}/{first.seed}"
    return Job(
        name if len(name) < 100 else f"{first.environment}/{len(methods)} methods/{first.seed}",
        (
            f"--environment={first.environment}",
            f"--method={','.join(methods)}",
            f"--seed={first.seed}",
        ),
    )


def _panel(request: FiguresRequest, figure: int, environment: str) -> figure_report.Panel:
    """Returns the finished cells of an environment in a figure."""
    out, seeds = request.out, range(request.seeds_each)
    path = Cell(environment, CONTROLS, 0).result(out)
    return figure_report.Panel(
        environment=environment,
        title=environments.get(environment).title,
        runs={
            method: [
                folder
                for seed in seeds
                if (Cell(environment, method, seed).result(out)).exists()
                for folder in [Cell(environment, method, seed).folder(out)]
            ]
            for method in request.methods_of(figure, environment)
        },
        titles={name: registry.get(name).title for name in registry.names()},
        tuned={
            method: tuned
            for method in dict.fromkeys(
                map(figure_tuning.tuned_as, request.methods_of(figure, environment))
            )
            for tuned in [figure_tuning.best(out, environment, method)]
            if tuned
        },
        controls=json.loads(path.read_text()) if path.exists() else {},
        seeds=request.seeds_each,
    )
