"""Simulated users of prepared data: fitted, reported and saved in one call, and read again."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfrec import outputs, types
from tfrec.data import storage
from tfrec.data.episodes import SPLITS
from tfrec.environments.fitted import (
    calibration,
    choice_fitting,
    choice_model,
    choice_report,
    fitting,
    kinds,
    model_files,
    recurrent_model,
)
from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig
from tfrec.errors import UserError

MODEL = "model"


class Fit(NamedTuple):
    """What a fit gave.

    Attributes:
      model: the user model.
      report: what simulator.json holds, see `calibration.report` and `choice_report.report`.
      calibration: slope and offset of each answer's logit; empty for an adversarial model.
    """

    model: recurrent_model.RecurrentModel | choice_model.ChoiceModel
    report: dict[str, Any]
    calibration: Mapping[str, tuple[float, float]]


def fit(
    data: storage.PreparedData,
    out: str | pathlib.Path,
    config: kinds.Config,
    seed: int = 0,
    target_depth: float | None = None,
    overwrite: bool = False,
    split: str = storage.ALL,
) -> Fit:
    """Fits users on sessions of prepared data and reports how true they are to held-out ones.

    Args:
      data: the prepared data.
      out: folder that gets `model/`, simulator.md, simulator.json and plots.
      config: of the user model; its class decides between the recurrent model, which is
        calibrated too, and the adversarial one.
      seed: of the weights, the held-out sessions and the report.
      target_depth: mean depth to calibrate the exits to, steps; None for the log's exits.
      overwrite: replace a user model that is there already.
      split: whose sessions are fitted: `all`, `train`, `validation` or `test`.

    Raises:
      UserError: if the folder is in use or cannot be written, no exit offset reaches
        `target_depth`, the model has no exit, or the split has too few sessions.
    """
    out = pathlib.Path(out)
    outputs.check_folder(out)
    if (out / MODEL).exists() and not overwrite:
        raise UserError(f"{out / MODEL} exists; pass --overwrite or another --out")
    if split not in (*SPLITS, storage.ALL):
        raise UserError(f"split is {split!r}; expected {', '.join(SPLITS)} or {storage.ALL}")
    if target_depth is not None and isinstance(config, ChoiceModelConfig):
        raise UserError(
            f"target_depth is {target_depth}; users of an adversarial model never leave: "
            "expected no target depth"
        )
    # All users by default: this is the environment that policies are tried in. That no policy
    # learns from test users is ensured by the starts that it is given.
    episodes = data.episodes(split)
    if isinstance(config, ChoiceModelConfig):
        fitted = choice_fitting.fit(episodes, data.spec, config, seed)
        fitted.model.save(out / MODEL, data.origin)
        return Fit(fitted.model, choice_report.report(fitted, episodes, out), {})
    held_out = fitting.held_out_sessions(len(episodes.length), config.held_out_fraction, seed)
    model = fitting.fit(episodes, data.spec, config, seed)
    unseen = types.Episodes(*(np.asarray(x)[held_out] for x in episodes))
    moved = calibration.calibrate(model, episodes, target_depth, unseen, seed)
    model.save(out / MODEL, data.origin)
    measured = calibration.report(model, unseen, out, log=episodes, seed=seed)
    return Fit(model, measured, moved)


def load(
    directory: str | pathlib.Path,
) -> recurrent_model.RecurrentModel | choice_model.ChoiceModel:
    """Reads the user model that `fit` wrote in a folder.

    Raises:
      UserError: if there is none, or it cannot be read.
    """
    builders: Mapping[
        str, Callable[..., recurrent_model.RecurrentModel | choice_model.ChoiceModel]
    ]
    builders = {kinds.RECURRENT: recurrent_model.build, kinds.ADVERSARIAL: choice_model.build}
    return model_files.load(pathlib.Path(directory) / MODEL, builders)


def table(report: Mapping[str, Any]) -> str:
    """The numbers of a fit's report as Markdown."""
    return (choice_report if "models" in report else calibration).table(report)
