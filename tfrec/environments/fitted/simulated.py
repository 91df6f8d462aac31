"""Fits, reports and saves simulated users of prepared data in one call, and loads them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
    """Result of a fit.

    Attributes:
      model: the user model.
      report: content of simulator.json, see `calibration.report` and `choice_report.report`.
      calibration: slope and offset of each response's logit; empty for an adversarial model.
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
    """Fits users on sessions of prepared data and compares them with held-out sessions.

    Args:
      data: the prepared data.
      out: output folder of `model/`, simulator.md, simulator.json and plots.
      config: configuration of the user model; its class selects the recurrent model, which is
        also calibrated, or the adversarial one.
      seed: seed of the weights, the held-out sessions and the report.
      target_depth: mean depth to which exits are calibrated, steps; None for the log's exits.
      overwrite: whether an existing user model is replaced.
      split: split of the fitted sessions: `all`, `train`, `validation` or `test`.

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
    # All users by default: the model is an environment. Session starts exclude test users from
    # the training of policies.
    episodes = data.episodes(split)
    if isinstance(config, ChoiceModelConfig):
        fitted = choice_fitting.fit(episodes, data.spec, config, seed)
        fitted.model.save(out / MODEL, data.origin)
        return Fit(fitted.model, choice_report.report(fitted, episodes, out), {})
    held_out = fitting.held_out_sessions(len(episodes.length), config.held_out_fraction, seed)
    model = fitting.fit(episodes, data.spec, config, seed)
    unseen = types.rows(episodes, held_out)
    slopes_and_offsets = calibration.calibrate(model, episodes, target_depth, unseen, seed)
    model.save(out / MODEL, data.origin)
    measured = calibration.report(model, unseen, out, log=episodes, seed=seed)
    return Fit(model, measured, slopes_and_offsets)


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
