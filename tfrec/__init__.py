"""Recommenders that optimise a session: logs, simulated users, methods, evaluation, serving.

    data = tfrec.read_log("log.csv", feedback=["click", "watch:seconds"], out="runs/data")
    users = tfrec.fit_users(data)
    agent = tfrec.baselines.Rainbow(seed=0).fit(data).play(users)
    print(tfrec.evaluate({"rainbow": agent, "random": tfrec.controls.Random()}, users))

GoalRec is `tfgoalrec.GoalRec`. TensorFlow is imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tfrec import keras_version
from tfrec.errors import UserError

if TYPE_CHECKING:
    from tfrec import baselines
    from tfrec.api import (
        embedded,
        evaluate,
        fit_users,
        load,
        load_users,
        open_data,
        read_log,
        train_online,
    )
    from tfrec.environments import controls

__version__ = "0.1.0"

__all__ = [
    "UserError",
    "baselines",
    "controls",
    "embedded",
    "evaluate",
    "fit_users",
    "load",
    "load_users",
    "open_data",
    "read_log",
    "train_online",
]

keras_version.require_keras_2()  # before any module imports TensorFlow

_MODULES = {"baselines": "tfrec.baselines", "controls": "tfrec.environments.controls"}


def __getattr__(name: str) -> Any:
    """Imports a public name on its first use (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in __all__:
        return getattr(importlib.import_module("tfrec.api"), name)
    raise AttributeError(f"module 'tfrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
