"""results.json: the results of a run, for programs.

A document `{"policies": {policy: {metric: {"mean", "low", "high"}}}}` with the metrics
reward, ctr and depth and any others, and with further keys: seeds, users, config, worlds.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from tfrec import errors, outputs

REQUIRED_METRICS = ("reward", "ctr", "depth")
Policies = Mapping[str, Mapping[str, Mapping[str, float]]]


def write(path: str | os.PathLike[str], policies: Policies, **more: Any) -> dict[str, Any]:
    """Writes results.json, whole or not at all.

    Args:
      path: the file; its folder must exist.
      policies: results of `metrics.session.summarise` by policy: at least reward, ctr and
        depth, each with mean, low and high.
      **more: further top-level keys (seeds, users, config, worlds); numpy values are
        written as numbers and lists.

    Returns:
      The written document.

    Raises:
      ValueError: if a metric is missing or a number is not finite. Nothing is written.
    """
    content = document(policies, **more)
    outputs.write_json(path, content)
    return content


def document(policies: Policies, **more: Any) -> dict[str, Any]:
    """Makes the content of results.json; arguments and errors as in `write`."""
    if not policies:
        raise ValueError("no policies to write")
    for policy, metrics in policies.items():
        for metric in (*REQUIRED_METRICS, *metrics):
            _check(f"policies.{policy}.{metric}", metrics.get(metric))
    content = {"policies": policies, **more}
    return json.loads(json.dumps(content, default=_plain, allow_nan=False))


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads results.json.

    Raises:
      errors.UserError: if there is no such file or it is not a results.json.
    """
    try:
        document = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise errors.UserError(f"{path} does not exist; expected a results.json") from None
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path} is not a results.json: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("policies"), dict):
        raise errors.UserError(f"{path} is not a results.json: it has no 'policies'")
    return document


def _check(where: str, interval: Any) -> None:
    if not isinstance(interval, Mapping) or not {"mean", "low", "high"} <= set(interval):
        raise ValueError(f"{where} is {interval!r}; expected mean, low and high")
    for key, value in interval.items():
        if not math.isfinite(value):
            raise ValueError(f"{where}.{key} is {value}; expected a finite number")


def _plain(value: Any) -> Any:
    """Converts numpy scalars and arrays to numbers and lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} cannot be written to results.json")
