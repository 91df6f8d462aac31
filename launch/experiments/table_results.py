"""The results of a table's cells: played, written, read, and checked against their inputs.

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
from tfrec.errors import UserError
from tfrec.metrics import session as metrics


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
      folder: of the cell.
      cell: which one.
      setting: its data set in its environment.
      policy: of its method or control.
      scale: how many test users and sessions.
      more: recorded in the result too.
    """
    starts = scoring.starts(setting.data, "test", scale.test_users, scale.sessions_per_user)
    document = {"cell": cell._asdict(), **_made_with(scale, setting.inputs), **more}
    for name, world in (("evaluated", setting.evaluation_world), ("noisy", setting.world)):
        if name == "noisy" and setting.world is setting.evaluation_world:
            continue
        # Every method meets the same users in the same order; only the draws differ by seed.
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
    """What each test session of a finished cell gave; see `metrics.session.per_session`."""
    with np.load(cell.folder(out) / f"{which}.npz") as stored:
        return dict(stored)


def check_done(out: pathlib.Path, cells: Sequence[Cell], scale: Scale) -> None:
    """Checks that what is done belongs to the data and the simulators that are there.

    Cells whose data are not on the disk any more are compared with each other.

    Args:
      out: the folder of all cells.
      cells: those that may be done, with the tuning of their methods.
      scale: how much of everything.

    Raises:
      UserError: naming the cell or the study whose data, simulator or scale is another.
    """
    inputs: dict[str, identity.Sources] = {}
    for name in dict.fromkeys(cell.data_set for cell in cells):
        if (out / name / "data" / storage.MANIFEST).exists():
            inputs[name] = table_settings.setting(out, name, "vanilla", scale).inputs
            for method in dict.fromkeys(cell.method for cell in cells):
                table_tuning.chosen(out, name, method, inputs[name])
    for cell in cells:
        path = cell.result(out)
        if not path.exists():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        before = document.get("inputs")
        if cell.data_set not in inputs:
            found = {name: identity.Source(**x) for name, x in (before or {}).items()}
            inputs[cell.data_set] = found
        different = identity.changes(before, inputs[cell.data_set])
        sizes = _made_with(scale, {})["scale"]
        different += options.differences(document.get("scale", "not recorded"), sizes, "scale")
        if different:
            listed = "\n  ".join(different)
            raise UserError(
                f"{path} was made with other inputs:\n  {listed}\n"
                f"Choose another --out, or remove {path.parent} to run the cell again"
            )


def _made_with(scale: Scale, inputs: identity.Sources) -> dict[str, Any]:
    """What a cell is made with, to be recorded in its result."""
    counts = ("seeds", "trials", "one_process")  # of cells; they change none of them
    sizes = {k: v for k, v in options.resolved(scale).items() if k not in counts}
    return {"inputs": identity.recorded(inputs), "scale": sizes}
