"""What is a configuration? Fields with help, and how two of them differ."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

Config = TypeVar("Config")


def option(default: Any, help: str) -> Any:  # noqa: A002  the flag's own word
    """A dataclass field whose help is shown by `--help` of the launch scripts.

    Args:
      default: the default. A tuple becomes a comma-separated list.
      help: what it does and its unit.
    """
    return dataclasses.field(default=default, metadata={"help": help})


def required(help: str) -> Any:  # noqa: A002  the flag's own word
    """A field without a default: the script stops unless its flag is given.

    Dataclasses want such fields before the others, or `kw_only=True`.

    Args:
      help: what it is and its unit.
    """
    return dataclasses.field(metadata={"help": help})


def resolved(config: Any) -> Any:
    """A configuration as it is saved: dicts, lists and scalars, as JSON gives them back.

    Args:
      config: a dataclass, or a nest of dicts, lists and tuples that may hold some.

    Raises:
      TypeError: if something in it is no configuration (an array, a module).
    """

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, pathlib.PurePath):
            return str(value)
        raise TypeError(f"a configuration cannot hold {type(value).__name__}: {value!r}")

    return json.loads(json.dumps(config, default=plain))


def restored(config_class: type[Config], saved: Mapping[str, Any]) -> Config:
    """The configuration behind a resolved one: lists are tuples again.

    Args:
      config_class: the dataclass that was resolved.
      saved: what `resolved` gave.
    """
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    return config_class(**fields)


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """Where two resolved configurations differ, one line for each field.

    Args:
      before: the saved one.
      now: the other.
      path: the field both are, for the recursion.

    Returns:
      E.g. `["model.units: was [64, 32], is now [64]"]`; empty if they are equal.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in differences(
                before.get(key, _ABSENT),
                now.get(key, _ABSENT),
                f"{path}.{key}" if path else key,
            )
        ]
    return [] if before == now else [f"{path}: was {before!r}, is now {now!r}"]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()
