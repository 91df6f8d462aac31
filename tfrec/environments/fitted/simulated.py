"""Simulated users of prepared data: fitted, calibrated, reported and saved in one call."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfrec import outputs, types
from tfrec.data import storage
from tfrec.environments.fitted import calibration, fitting, user_model, user_model_config
from tfrec.errors import UserError

MODEL = "model"


class Fit(NamedTuple):
    """What a fit gave.

    Attributes:
      model: the calibrated user model.
      report: what simulator.json holds, see `calibration.report`.
      calibration: slope and offset of each answer's logit.
    """

    model: user_model.UserModel
    report: dict[str, Any]
    calibration: Mapping[str, tuple[float, float]]


def fit(
    data: storage.PreparedData,
    out: str | pathlib.Path,
    config: user_model_config.UserModelConfig,
    seed: int = 0,
    target_depth: float | None = None,
    overwrite: bool = False,
) -> Fit:
    """Fits users on all sessions of prepared data and calibrates them on held-out ones.

    Args:
      data: the prepared data.
      out: folder that gets `model/`, simulator.md, simulator.json and plots.
      config: of the user model.
      seed: of the weights, the held-out sessions and the report.
      target_depth: mean depth to calibrate the exits to, steps; None for the log's exits.
      overwrite: replace a user model that is there already.

    Raises:
      UserError: if the folder is in use or cannot be written, or no exit offset reaches
        `target_depth`.
    """
    out = pathlib.Path(out)
    outputs.check_folder(out)
    if (out / MODEL).exists() and not overwrite:
        raise UserError(f"{out / MODEL} exists; pass --overwrite or another --out")
    # All users: this is the environment that policies are tried in. That no policy learns from
    # test users is ensured by the starts that it is given.
    episodes = data.episodes(storage.ALL)
    held_out = fitting.held_out_sessions(len(episodes.length), config.held_out_fraction, seed)
    model = fitting.fit(episodes, data.spec, config, seed)
    unseen = types.Episodes(*(np.asarray(x)[held_out] for x in episodes))
    moved = calibration.calibrate(model, episodes, target_depth, unseen, seed)
    model.save(out / MODEL, data.origin)
    measured = calibration.report(model, unseen, out, log=episodes, seed=seed)
    return Fit(model, measured, moved)
