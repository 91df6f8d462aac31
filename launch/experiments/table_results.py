"""Results of a table's cells: evaluation, files, and the check of their inputs.

<out>/<data set>/<environment>/<method>/seed0/result.json, evaluated.npz, noisy.npz
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from launch.experiments import table_settings, table_tuning
from launch.experiments.table_plan import Cell, Scale
from launch.experiments.table_settings import Setting
from tfrec import options, outputs
from tfrec.data import identity, storage
from tfrec.environments import contract, player, scoring, users
from tfrec.metrics import session as metrics

CURVE = "validation_reward"  # reward of a learning curve in a cell's metrics.jsonl


def evaluate(
    folder: pathlib.Path,
    cell: Cell,
    setting: Setting,
    policy: contract.Policy,
    scale: Scale,
    more: Mapping[str, Any],
) -> None:
    """Plays the test users with a cell's policy and writes the cell's result.

    Args:
      folder: folder of the cell.
      cell: the cell.
      setting: the cell's data set in its environment.
      policy: policy of the cell's method or control.
      scale: the scale, with the number of test users and sessions.
      more: further fields of the result.
    """
    starts = scoring.starts(setting.data, "test", scale.test_users, scale.sessions_per_user)
    document = {"cell": cell._asdict(), **_made_with(scale, setting.inputs), **more}
    for name, world in (("evaluated", setting.evaluation_world), ("noisy", setting.world)):
        if name == "noisy" and setting.world is setting.evaluation_world:
            continue
        # All methods have the same users in the same order; random draws differ by seed.
        runner = player.Player(users.UserEnvironment(world), policy)
        played = runner.play(starts, cell.seed + 1)
        sessions = metrics.per_session(played)
        with outputs.replacing_file(folder / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **sessions)
        document[name] = {
            "reward": float(sessions["reward"].mean()),
            "ctr": float(sessions["reward"].sum() / sessions["depth"].sum()),
            "depth": float(sessions["depth"].mean()),
        }
    outputs.write_json(folder / "result.json", document)


def sessions(out: pathlib.Path, cell: Cell, which: str = "evaluated") -> dict[str, np.ndarray]:
    """Returns the test sessions of a finished cell; see `metrics.session.per_session`."""
    with np.load(cell.folder(out) / f"{which}.npz") as stored:
        return dict(stored)


def check_done(out: pathlib.Path, cells: Sequence[Cell], scale: Scale) -> None:
    """Checks that finished cells have the data and the simulators on the disk.

    Cells whose data were removed are compared with each other.

    Args:
      out: the folder of all cells.
      cells: cells that may be finished, with the tuning of their methods.
      scale: the scale.

    Raises:
      UserError: naming a cell or study with other data, another simulator or another scale.
    """
    inputs: dict[pathlib.Path, identity.Sources] = {}
    for cell in cells:
        data = table_settings.folder(out, cell.data_set, cell.environment) / "data"
        if data not in inputs and (data / storage.MANIFEST).exists():
            inputs[data] = table_settings.inputs(out, cell.data_set, cell.environment)
    for name, method in dict.fromkeys((cell.data_set, cell.method) for cell in cells):
        data = table_settings.folder(out, name, "vanilla") / "data"
        if data in inputs:
            table_tuning.tuned_fields(out, name, method, inputs[data])
    for cell in cells:
        path = cell.result(out)
        if not path.exists():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        before = document.get("inputs")
        data = table_settings.folder(out, cell.data_set, cell.environment) / "data"
        if data not in inputs:
            sources = {name: identity.Source(**x) for name, x in (before or {}).items()}
            inputs[data] = sources
        different = identity.changes(before, inputs[data])
        sizes = _made_with(scale, {})["scale"]
        different += options.differences(document.get("scale", "not recorded"), sizes, "scale")
        options.check_unchanged(
            different,
            f"{path} was made with other inputs",
            f"Choose another --out, or remove {path.parent} to run the cell again",
        )


def _made_with(scale: Scale, inputs: identity.Sources) -> dict[str, Any]:
    """Returns the inputs and the scale of a cell, as its result records them."""
    counts = ("seeds", "trials", "one_process")  # numbers of cells, on which no cell depends
    sizes = {k: v for k, v in options.resolved(scale).items() if k not in counts}
    return {"inputs": identity.recorded(inputs), "scale": sizes}
