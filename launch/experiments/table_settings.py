"""Preparation of a table's data set, and its environments.

<out>/<data set>/data, simulator    the prepared log and the users fitted on it
<out>/<data set>/prepared.json      log and settings of the preparation
<out>/<named world>/wide/           the same of the world with more items, for Table 2
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from launch.experiments import prepared
from launch.experiments.table_plan import DATA_SETS, WORLDS, Scale
from tfrec import types
from tfrec.data import identity, storage
from tfrec.data.sources import files, movielens, taobao, yoochoose
from tfrec.environments import user_models, worlds
from tfrec.environments.fitted import variants

_WIDE = "wide"
_LOG_SEED = 17  # seed of the noise on the log, which is the same for every method and seed
# Data set -> function that opens the files of its log.
_LOGS: dict[str, Callable[[str], contextlib.AbstractContextManager[list[pathlib.Path]]]] = {
    "movielens": lambda path: files.opened(path, movielens.PATTERNS),
    "taobao": lambda path: files.opened(path, taobao.PATTERNS),
    "yoochoose": yoochoose.opened,
}


def prepare(out: pathlib.Path, name: str, source: str, scale: Scale) -> None:
    """Prepares a data set and fits its users, unless they exist.

    Args:
      out: the folder of all cells.
      name: name of the data set.
      source: path of its log; empty for the embedded log.
      scale: the scale.

    Raises:
      UserError: if it was prepared from another log or with other settings.
    """
    made_with = check_prepared(out, name, source, scale)
    if name in WORLDS:
        prepared.make(out / name / _WIDE, "", _wide(made_with, scale))
    data = prepared.make(out / name, source, made_with)
    simulator = out / name / "simulator"
    if DATA_SETS[name].fit and not (simulator / "simulator.json").exists():
        prepared.call(
            "launch.fit_simulator",
            f"--data={data}",
            f"--out={simulator}",
            *made_with["fit"],
            "--overwrite",
        )


def check_prepared(out: pathlib.Path, name: str, source: str, scale: Scale) -> dict[str, Any]:
    """Checks that a data set, if prepared, has this log and these settings.

    Args:
      out: the folder of all cells.
      name: name of the data set.
      source: path of its log; empty for the embedded log.
      scale: the scale.

    Returns:
      The log and the settings of the preparation, as they are recorded.

    Raises:
      UserError: if it was prepared from another log or with other settings; it names them.
    """
    data_set = DATA_SETS[name]
    inputs = {
        "log": _log(name, source),
        "prepare": [
            *data_set.prepare,
            *([f"--taobao_item={scale.taobao_item}"] if name == "taobao" else []),
            f"--max_items={scale.wide_candidates}",
            *_users(name, scale),
            "--history_length=20",
        ],
        "fit": [*data_set.fit, *scale.fit] if data_set.fit else [],
    }
    prepared.check(out / name, inputs)
    if name in WORLDS:
        prepared.check(out / name / _WIDE, _wide(inputs, scale))
    return inputs


def _wide(inputs: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """The settings of a named world with the candidates of the high-dimensional environment."""
    items = f"--embedded_num_items={scale.wide_candidates}"
    return {**inputs, "prepare": [*inputs["prepare"], items]}


def folder(out: pathlib.Path, name: str, environment: str) -> pathlib.Path:
    """Returns the folder of the prepared data of an environment."""
    is_wide = name in WORLDS and environment == "high_dimensional"
    return out / name / _WIDE if is_wide else out / name


def _users(name: str, scale: Scale) -> list[str]:
    """Returns the flags for the number of users of a log."""
    if name not in WORLDS:
        return [f"--max_users={scale.users}"]
    return [f"--embedded_num_users={scale.world_users}"] if scale.world_users else []


def _log(name: str, source: str) -> dict[str, str]:
    """Returns the SHA-256 of each unpacked file of a log; none for the embedded log."""
    if not source:
        return {}
    with _LOGS[name](source) as logs:
        return {log.name: storage.sha256(log) for log in logs}


class Setting(NamedTuple):
    """A data set in an environment.

    Attributes:
      data: the prepared log.
      spec: the log's spec with the environment's candidates, as input of methods.
      log: training sessions with the environment's noise, as input of methods.
      evaluation_world: the world of the test users, without delay or noise.
      world: the world of play, with the environment's delay and noise.
      inputs: the data and the world, without delay, noise or fewer candidates.
      tuning_inputs: those of the vanilla environment, in which methods are tuned.
    """

    data: storage.PreparedData
    spec: types.DataSpec
    log: types.Episodes
    evaluation_world: user_models.UserModel
    world: user_models.UserModel
    inputs: dict[str, identity.Source]
    tuning_inputs: dict[str, identity.Source]


def candidates(name: str, environment: str, scale: Scale, spec: types.DataSpec) -> int:
    """Returns the number of candidates of a data set in an environment.

    At most the items of the log. A named world has all of its items, because without some of
    them it is another world, whose optimum is unknown. In the high-dimensional environment it
    is the world with the same parameters and more items.
    """
    if name in WORLDS:
        return spec.num_items
    high = environment == "high_dimensional"
    return min(scale.wide_candidates if high else scale.candidates, spec.num_items)


def inputs(out: pathlib.Path, name: str, environment: str) -> dict[str, identity.Source]:
    """Returns the data and the world of an environment, without delay and noise."""
    data = storage.PreparedData.open(folder(out, name, environment) / "data")
    world_name = _world(out, name)
    return worlds.inputs(data, world_name, worlds.load(world_name, data))


def _world(out: pathlib.Path, name: str) -> str:
    return str(out / name / "simulator") if DATA_SETS[name].fit else worlds.TRUTH


def setting(out: pathlib.Path, name: str, environment: str, scale: Scale) -> Setting:
    """Opens a prepared data set in an environment.

    Raises:
      UserError: if it is not prepared.
    """
    data = storage.PreparedData.open(folder(out, name, environment) / "data")
    world_name = _world(out, name)
    base = worlds.load(world_name, data)
    without_noise, count = base, candidates(name, environment, scale, data.spec)
    if count < data.spec.num_items:
        without_noise = variants.with_candidates(base, count)
    world, log = without_noise, data.episodes("train")
    if environment.startswith("high_variance"):
        mode = environment.removeprefix("high_variance").lstrip("_") or "stable"
        world = variants.HighVariance(without_noise, mode=mode)
        log = world.disturbed(log, _LOG_SEED)
    made_of = tuned_on = worlds.inputs(data, world_name, base)
    if folder(out, name, environment) != folder(out, name, "vanilla"):
        tuned_on = inputs(out, name, "vanilla")
    return Setting(data, without_noise.spec, log, without_noise, world, made_of, tuned_on)
