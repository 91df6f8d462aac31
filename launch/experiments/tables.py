"""A cell of a table: a method trained and evaluated on a data set, in an environment.

An interrupted cell is continued in its folder:

    <out>/<data set>/<environment>/<method>/seed0/config.json, metrics.jsonl, result.json, ...
"""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

from launch.experiments import table_plan, table_results, table_tuning
from launch.experiments.table_plan import Cell, Scale
from launch.experiments.table_settings import Setting
from tfrec.environments import controls, scoring, users
from tfrec.methods import registry
from tfrec.training import loop
from tfrec.training import run as runs


def run(out: pathlib.Path, cell: Cell, setting: Setting, scale: Scale) -> None:
    """Trains and evaluates one cell; continues an interrupted one.

    Args:
      out: the folder of all cells.
      cell: the cell, whose result is replaced.
      setting: the cell's data set in its environment.
      scale: the scale.

    Raises:
      UserError: if the method was tuned, or the interrupted cell begun, with other inputs.
    """
    folder, more = cell.folder(out), dict[str, Any]()
    if cell.method in controls.NAMES:
        folder.mkdir(parents=True, exist_ok=True)
        environment = users.UserEnvironment(setting.evaluation_world)
        policy = controls.policies(setting.data, environment, cell.seed)[cell.method]
    else:
        row = table_plan.row(cell.method)
        method = registry.get(row.method)
        more["tuned"] = table_tuning.tuned_fields(
            out, cell.data_set, cell.method, setting.tuning_inputs
        )
        config = table_tuning.configuration(
            row, cell.environment, scale, setting.spec, more["tuned"]
        )
        learner = runs.seeded(
            cell.seed,
            lambda: method.make(
                config,
                setting.spec,
                setting.log,
                setting.world,
                None,
                cell.seed,
                setting.data.item_features(),
            ),
        )
        extra = {"cell": cell._asdict()}
        opened = runs.Run.open(folder, config, cell.seed, extra, setting.inputs)
        policy = learner.policy()
        environment = users.UserEnvironment(setting.evaluation_world)
        starts = scoring.validation_starts(setting.data, scale.curve_users, 1)
        score = scoring.Score(environment, policy, starts)
        loop.train(
            learner,
            opened,
            learner.total_iterations,
            save_every=10,
            evaluate=lambda: {table_results.CURVE: score()},
            evaluate_every=scale.curve_every,
        )
    table_results.evaluate(folder, cell, setting, policy, scale, more)
    # The metrics stay; the checkpoints with their replay are not needed any more.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
