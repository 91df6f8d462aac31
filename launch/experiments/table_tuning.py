"""The configuration of a method in the cells of a table, and its tuning on validation users.

<out>/<data set>/tuning/<method>/best.json    what tuning chose
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import tfgoalrec  # noqa: F401  registers GoalRec
from launch.experiments import table_settings
from launch.experiments.table_plan import Scale
from tfrec import types
from tfrec.data import identity
from tfrec.environments import scoring
from tfrec.errors import UserError
from tfrec.methods import registry, studies, trials

_TUNING_SEED = 1000  # of tuning's runs; the tables' seeds count from 0
_SIZES = ("batch", "embedding", "units", "hidden", "stream")
_VALIDATION_SESSIONS = 6  # of each validation user, at each score


def configuration(
    method: registry.Method,
    environment: str,
    scale: Scale,
    spec: types.DataSpec,
    tuned: Mapping[str, Any],
) -> Any:
    """A method's configuration in a cell: the schedule that all share, and what was tuned.

    Args:
      method: the method.
      environment: of the cell.
      scale: how much of everything.
      spec: of the cell's setting.
      tuned: fields of the configuration that tuning chose.
    """
    values: dict[str, Any] = {
        "sessions_per_round": scale.sessions_per_round,
        "updates_per_round": scale.updates_per_round,
        "log_rounds": scale.log_rounds,
        "play_rounds": scale.play_rounds,
        "replay_sessions": max(4096, scale.sessions_per_round),
        "batch": scale.batch,
        "crossed": scale.crossed if environment == "high_dimensional" else 0,
    }
    if method.name.startswith("goalrec"):
        values |= {"goal_columns": spec.feedback_names[:1], **scale.goalrec}
    known = {field.name for field in dataclasses.fields(method.config)}
    return method.config(**({k: v for k, v in values.items() if k in known} | dict(tuned)))


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
    best = json.loads(path.read_text(encoding="utf-8"))
    if different := identity.changes(best.get("inputs"), inputs):
        listed = "\n  ".join(different)
        raise UserError(
            f"{path} was tuned with other inputs:\n  {listed}\n"
            f"Choose another --out, or remove {path.parent} to tune it again"
        )
    return best["overrides"]


def tune(out: pathlib.Path, data_set: str, method: str, scale: Scale, number: int) -> None:
    """Tries settings of a method on validation users, in the vanilla environment.

    Args:
      out: the folder of all cells.
      data_set: whose users.
      method: what is tuned.
      scale: how long a trial learns: as a cell does, with half of the rounds of play.
      number: trials in all; those that are done count.
    """
    setting = table_settings.setting(out, data_set, "vanilla", scale)
    half = dataclasses.replace(scale, play_rounds=-(-scale.play_rounds // 2))
    base = configuration(registry.get(method), "vanilla", half, setting.spec, {})
    evaluation = trials.LogEvaluation(
        method=registry.get(method),
        base=base,
        spec=setting.spec,
        log=setting.log,
        world=setting.world,
        evaluation_world=setting.evaluation_world,
        starts=scoring.validation_starts(setting.data, scale.test_users, _VALIDATION_SESSIONS),
        every=max(1, (half.log_rounds + half.play_rounds) // 3),
        seed=_TUNING_SEED,
        features=setting.data.item_features(),
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
        inputs=setting.inputs,
        storage=str(folder / "study.log"),
    )
    study = studies.Study(method, evaluation.method.title, base, trials.CLICKS, setting.inputs)
    studies.write(folder, study, found)
