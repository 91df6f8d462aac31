"""A data set of a table, prepared, and its environments.

<out>/<data set>/data, simulator    the prepared log and the users fitted on it
<out>/<data set>/prepared.json      what it was prepared from and with
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from launch.experiments import prepared
from launch.experiments.table_plan import DATA_SETS, Scale
from tfrec import types
from tfrec.data import identity, storage
from tfrec.data.sources import files, movielens, taobao, yoochoose
from tfrec.environments import user_models, worlds
from tfrec.environments.fitted import variants

_LOG_SEED = 17  # of the noise on the log: every method and seed has the same log
# Data set -> opens the files of its log.
_LOGS: dict[str, Callable[[str], contextlib.AbstractContextManager[list[pathlib.Path]]]] = {
    "movielens": lambda path: files.opened(path, movielens.PATTERNS),
    "taobao": lambda path: files.opened(path, taobao.PATTERNS),
    "yoochoose": yoochoose.opened,
}


def prepare(out: pathlib.Path, name: str, source: str, scale: Scale) -> None:
    """Prepares a data set and fits its users, unless that is done.

    Args:
      out: the folder of all cells.
      name: of the data set.
      source: where its log lies; not for the embedded one.
      scale: how much of it.

    Raises:
      UserError: if it was prepared from another log or with other settings.
    """
    made_with = check_prepared(out, name, source, scale)
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
    """Checks that a data set, where it is prepared, is the one asked for.

    Args:
      out: the folder of all cells.
      name: of the data set.
      source: where its log lies; not for the embedded one.
      scale: how much of it.

    Returns:
      What it is prepared from and with, to be recorded.

    Raises:
      UserError: if it was prepared from another log or with other settings; names them.
    """
    chosen = DATA_SETS[name]
    now = {
        "log": _log(name, source),
        "prepare": [
            *chosen.prepare,
            *([f"--taobao_item={scale.taobao_item}"] if name == "taobao" else []),
            f"--max_items={scale.wide_candidates}",
            f"--max_users={scale.users}",
            "--history_length=20",
        ],
        "fit": [*chosen.fit, *scale.fit] if chosen.fit else [],
    }
    prepared.check(out / name, now)
    return now


def _log(name: str, source: str) -> dict[str, str]:
    """SHA-256 of each file of a data set's log, unpacked; nothing for the embedded one."""
    if not source:
        return {}
    with _LOGS[name](source) as logs:
        return {log.name: storage.sha256(log) for log in logs}


class Setting(NamedTuple):
    """A data set in an environment.

    Attributes:
      data: the prepared log.
      spec: what methods see: the log's spec with the environment's candidates.
      log: training sessions as methods see them, with the environment's noise.
      evaluation_world: the world of the test users: neither delay nor noise.
      world: the world that methods play in, and that reports feedback late if it is so.
      inputs: the data and the world without delay, noise or fewer candidates.
    """

    data: storage.PreparedData
    spec: types.DataSpec
    log: types.Episodes
    evaluation_world: user_models.UserModel
    world: user_models.UserModel
    inputs: dict[str, identity.Source]


def candidates(environment: str, scale: Scale, spec: types.DataSpec) -> int:
    """How many items may be recommended in an environment: no more than the log has."""
    high = environment == "high_dimensional"
    return min(scale.wide_candidates if high else scale.candidates, spec.num_items)


def setting(out: pathlib.Path, name: str, environment: str, scale: Scale) -> Setting:
    """Opens a prepared data set in an environment.

    Raises:
      UserError: if it is not prepared.
    """
    data = storage.PreparedData.open(out / name / "data")
    where = str(out / name / "simulator") if DATA_SETS[name].fit else worlds.TRUTH
    base = worlds.load(where, data)
    calm, count = base, candidates(environment, scale, data.spec)
    if count < data.spec.num_items:
        calm = variants.with_candidates(base, count)
    world, log = calm, data.episodes("train")
    if environment.startswith("high_variance"):
        mode = environment.removeprefix("high_variance").lstrip("_") or "stable"
        world = variants.HighVariance(calm, mode=mode)
        log = world.disturbed(log, _LOG_SEED)
    inputs = worlds.inputs(data, where, base)
    return Setting(data, calm.spec, log, calm, world, inputs)
