"""The configuration of a method in the cells of a table, and its tuning on validation users.

<out>/<data set>/tuning/<method>/best.json    the tuned fields
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from launch.experiments import table_plan, table_settings
from launch.experiments.table_plan import Row, Scale
from tfrec import types
from tfrec.data import identity
from tfrec.environments import scoring
from tfrec.methods import registry, studies, trials

_TUNING_SEED = 1000  # seed of tuning's runs; the tables' seeds count from 0
_SIZES = ("batch", "embedding", "units", "hidden", "stream")
_SCORED_SESSIONS = 3_000  # of a score, about
_SESSIONS_OF_USER = 6  # of a validation user in a score, at most


def configuration(
    row: Row,
    environment: str,
    scale: Scale,
    spec: types.DataSpec,
    tuned: Mapping[str, Any],
) -> Any:
    """Returns a method's configuration in a cell: the common schedule and the tuned fields.

    Args:
      row: the row of the table.
      environment: environment of the cell.
      scale: the scale.
      spec: spec of the cell's setting.
      tuned: tuned fields of the configuration.
    """
    values: dict[str, Any] = {
        "sessions_per_round": scale.sessions_per_round,
        "updates_per_round": scale.updates_per_round,
        "log_rounds": scale.log_rounds,
        "play_rounds": scale.play_rounds,
        "replay_sessions": scale.replay_sessions,
        "batch": scale.batch,
        "crossed": scale.crossed if environment == "high_dimensional" else 0,
        "goal_columns": spec.feedback_names[:1],
        **scale.options,
    }
    config = registry.get(row.method).config
    fields = {field.name for field in dataclasses.fields(config)}
    common = {name: value for name, value in values.items() if name in fields}
    return config(**(common | dict(row.fixed(spec)) | dict(tuned)))


def tuned_fields(
    out: pathlib.Path, data_set: str, method: str, inputs: identity.Sources
) -> dict[str, Any]:
    """Returns the tuned fields of a method on a data set; none if it was not tuned.

    Raises:
      UserError: if it was tuned on other data or in another world.
    """
    return studies.tuned_fields(out / data_set / "tuning" / method, inputs)


def tune(out: pathlib.Path, data_set: str, method: str, scale: Scale, number: int) -> None:
    """Tries settings of a method on validation users, in the vanilla environment.

    Args:
      out: the folder of all cells.
      data_set: data set of the validation users.
      method: the tuned method.
      scale: length of a trial: that of a cell, with half of the rounds of play.
      number: total number of trials, including finished ones.
    """
    setting = table_settings.setting(out, data_set, "vanilla", scale)
    half = dataclasses.replace(scale, play_rounds=-(-scale.play_rounds // 2))
    row = table_plan.row(method)
    base = configuration(row, "vanilla", half, setting.spec, {})
    users = min(scale.test_users, setting.data.manifest["splits"]["validation"]["users"])
    sessions = min(_SESSIONS_OF_USER, max(1, _SCORED_SESSIONS // max(1, users)))
    evaluation = trials.LogEvaluation(
        method=registry.get(row.method),
        base=base,
        spec=setting.spec,
        log=setting.log,
        world=setting.world,
        evaluation_world=setting.evaluation_world,
        starts=scoring.validation_starts(setting.data, users, sessions),
        every=max(1, (half.log_rounds + half.play_rounds) // 3),
        seed=_TUNING_SEED,
        features=setting.data.item_features(),
    )
    folder = out / data_set / "tuning" / method
    folder.mkdir(parents=True, exist_ok=True)
    # Sizes of networks and batches are tuned only at scales with time for it.
    left_out = {*table_plan.NOT_TUNED, *row.fixed(setting.spec)}
    left_out |= set() if scale.tune_sizes else set(_SIZES)
    fields = [field for field in evaluation.method.space if field not in left_out]
    result = trials.tune_on_log(
        evaluation,
        method,
        number,
        fields=tuple(fields),
        choices={"learning_rate": scale.learning_rates},
        inputs=setting.inputs,
        storage=str(folder / "study.log"),
    )
    study = studies.Study(method, evaluation.method.title, base, trials.CLICKS, setting.inputs)
    studies.write(folder, study, result)
