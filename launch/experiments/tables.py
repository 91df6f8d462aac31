"""A cell of a table: a method trained and evaluated on a data set, in an environment.

A cell has a folder of its own; an interrupted one is continued, a finished one is kept:

    <out>/<data set>/tuning/<method>/best.json    what tuning chose
    <out>/<data set>/<environment>/<method>/seed0/result.json, sessions.npz, metrics.jsonl
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import tfgoalrec  # noqa: F401  registers GoalRec
from launch.experiments import table_settings
from launch.experiments.table_plan import Scale
from launch.experiments.table_settings import Setting
from tfrec import options, outputs, types
from tfrec.data import identity, storage
from tfrec.environments import controls, player, scoring, session
from tfrec.errors import UserError
from tfrec.methods import registry, studies, trials
from tfrec.metrics import session as metrics
from tfrec.training import loop
from tfrec.training import run as runs

_TUNING_SEED = 1000  # of tuning's runs; the tables' seeds count from 0
_SIZES = ("batch", "embedding", "units", "hidden", "stream")
_VALIDATION_SESSIONS = 6  # of each validation user, at each score


class Cell(NamedTuple):
    """One method (or control) on one data set in one environment from one seed."""

    data_set: str
    environment: str
    method: str
    seed: int

    def folder(self, out: pathlib.Path) -> pathlib.Path:
        return out / self.data_set / self.environment / self.method / f"seed{self.seed}"

    def result(self, out: pathlib.Path) -> pathlib.Path:
        return self.folder(out) / "result.json"


def run(out: pathlib.Path, cell: Cell, scale: Scale) -> None:
    """Trains and evaluates one cell; continues an interrupted one, keeps a finished one."""
    if cell.result(out).exists():
        check_done(out, [cell], scale)
        return
    here = table_settings.setting(out, cell.data_set, cell.environment, scale)
    folder = cell.folder(out)
    if cell.method in controls.NAMES:
        folder.mkdir(parents=True, exist_ok=True)
        policy = controls.policies(here.data, here.evaluation_world, cell.seed)[cell.method]
        _evaluate(folder, here, policy, cell, scale, {})
        return
    tuned = chosen(out, cell.data_set, cell.method, here.inputs)
    config = configuration(cell.method, cell.environment, scale, here.spec, tuned)
    extra = {"cell": cell._asdict()}
    opened = runs.Run.open(folder, config, cell.seed, extra, here.inputs)
    learner = runs.seeded(cell.seed, lambda: _learner(cell.method, config, here, cell.seed))
    loop.train(learner, opened, learner.total_iterations, save_every=10)
    _evaluate(folder, here, learner.policy(), cell, scale, {"tuned": dict(tuned)})
    # The numbers are kept; the replay inside each checkpoint is not needed any more.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _learner(method: str, config: Any, here: Setting, seed: int) -> registry.Learner:
    vectors = registry.item_vectors(config, here.log, here.spec)
    return registry.get(method).make(config, here.spec, here.log, here.world, vectors, seed)


def _evaluate(
    folder: pathlib.Path,
    here: Setting,
    policy: session.Policy,
    cell: Cell,
    scale: Scale,
    more: Mapping[str, Any],
) -> None:
    """Plays the test users and writes what each of their sessions gave."""
    starts = scoring.starts(here.data, "test", scale.test_users, scale.sessions_per_user)
    document = {"cell": cell._asdict(), **_made_with(scale, here.inputs), **more}
    for name, world in (("evaluated", here.evaluation_world), ("noisy", here.world)):
        if name == "noisy" and here.world is here.evaluation_world:
            continue
        # Every method meets the same users in the same order; only the draws differ by seed.
        played = player.Player(world, policy).play(starts, cell.seed + 1)
        sessions = metrics.per_session(played)
        with outputs.replacing_file(folder / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **sessions)
        document[name] = {
            "reward": float(sessions["reward"].mean()),
            "ctr": float(sessions["reward"].sum() / sessions["depth"].sum()),
            "depth": float(sessions["depth"].mean()),
        }
    outputs.write_json(folder / "result.json", document)


def _made_with(scale: Scale, inputs: identity.Sources) -> dict[str, Any]:
    """What a cell is made with, to be recorded in its result."""
    counts = ("seeds", "trials", "one_process")  # of cells; they change none of them
    sizes = {k: v for k, v in options.resolved(scale).items() if k not in counts}
    return {"inputs": identity.recorded(inputs), "scale": sizes}


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
                chosen(out, name, method, inputs[name])
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


def chosen(
    out: pathlib.Path, data_set: str, method: str, inputs: identity.Sources
) -> dict[str, Any]:
    """What tuning chose for a method on a data set; nothing where it was not tuned.

    Raises:
      UserError: if it was tuned on other data or in another world.
    """
    path = out / data_set / "tuning" / method / "best.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    if different := identity.changes(found.get("inputs"), inputs):
        listed = "\n  ".join(different)
        raise UserError(
            f"{path} was tuned with other inputs:\n  {listed}\n"
            f"Choose another --out, or remove {path.parent} to tune it again"
        )
    return found["overrides"]


def sessions(out: pathlib.Path, cell: Cell, which: str = "evaluated") -> dict[str, np.ndarray]:
    """What each test session of a finished cell gave; see `metrics.session.per_session`."""
    with np.load(cell.folder(out) / f"{which}.npz") as stored:
        return dict(stored)


def tune(out: pathlib.Path, data_set: str, method: str, scale: Scale, number: int) -> None:
    """Tries settings of a method on validation users, in the vanilla environment.

    Args:
      out: the folder of all cells.
      data_set: whose users.
      method: what is tuned.
      scale: how long a trial learns: as a cell does, with half of the rounds of play.
      number: trials in all; those that are done count.
    """
    here = table_settings.setting(out, data_set, "vanilla", scale)
    half = dataclasses.replace(scale, play_rounds=-(-scale.play_rounds // 2))
    base = configuration(method, "vanilla", half, here.spec, {})
    evaluation = trials.LogEvaluation(
        method=registry.get(method),
        base=base,
        spec=here.spec,
        log=here.log,
        world=here.world,
        evaluation_world=here.evaluation_world,
        starts=scoring.validation_starts(here.data, scale.test_users, _VALIDATION_SESSIONS),
        every=max(1, (half.log_rounds + half.play_rounds) // 3),
        seed=_TUNING_SEED,
    )
    folder = out / data_set / "tuning" / method
    folder.mkdir(parents=True, exist_ok=True)
    # What only makes networks larger or batches longer is tuned where there is time for it.
    fields = [f for f in evaluation.method.space if scale.tune_sizes or f not in _SIZES]
    found = trials.tune_on_log(
        evaluation,
        method,
        number,
        fields=tuple(fields),
        choices={"learning_rate": scale.learning_rates},
        inputs=here.inputs,
        storage=str(folder / "study.log"),
    )
    study = studies.Study(method, evaluation.method.title, base, trials.CLICKS, here.inputs)
    studies.write(folder, study, found)


def configuration(
    method: str, environment: str, scale: Scale, spec: types.DataSpec, tuned: Mapping[str, Any]
) -> Any:
    """A method's configuration in a cell: the schedule that all share, and what was tuned."""
    values: dict[str, Any] = {
        "sessions_per_round": scale.sessions_per_round,
        "updates_per_round": scale.updates_per_round,
        "log_rounds": scale.log_rounds,
        "play_rounds": scale.play_rounds,
        "replay_sessions": max(4096, scale.sessions_per_round),
        "batch": scale.batch,
        "crossed": scale.crossed if environment == "high_dimensional" else 0,
    }
    if method.startswith("goalrec"):
        values |= {"goal_columns": spec.feedback_names[:1], **scale.goalrec}
    config = registry.get(method).config
    known = {field.name for field in dataclasses.fields(config)}
    return config(**({k: v for k, v in values.items() if k in known} | dict(tuned)))
