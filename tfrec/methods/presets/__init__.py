"""Presets: numbers that suit a method in an environment, one readable file an environment.

    config = presets.config_class("imrl", "recsim")()

The files `<environment>.toml` beside this module have these tables, later ones before earlier
ones where both name a field:

- `play`: fields of `OnlineConfig`.
- `methods`: fields of every method that has them; `off_policy`: of those with a replay;
  `families.<family>`: of the methods of a family (`registry.Method.family`).
- `tuning`: field -> choices; `fixed`: family -> fields that are not tuned.

A field that the method's own name fixes (`registry.Online.changes`) comes before all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from tfrec import options
from tfrec.errors import UserError
from tfrec.methods import registry
from tfrec.methods.online_config import OnlineConfig


@functools.cache
def _tables(environment: str) -> dict[str, Any]:
    path = pathlib.Path(__file__).with_name(f"{environment}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def play_config_class(environment: str) -> type[OnlineConfig]:
    """How much is played, with an environment's numbers as defaults."""
    return options.with_defaults(OnlineConfig, _tuples(_tables(environment)["play"]))


def config_class(method: str, environment: str) -> type[Any]:
    """A method's configuration, with defaults that suit an environment.

    Args:
      method: its name in the registry.
      environment: the name of one where it learns step by step.

    Raises:
      UserError: if the method does not learn there.
    """
    known = registry.get(method, environment)
    tables, own = _tables(environment), known.online.config
    fields = {field.name for field in dataclasses.fields(own)}
    numbers = dict(tables["methods"])
    if "replay_size" in fields:
        numbers |= tables["off_policy"]
    numbers |= tables.get("families", {}).get(known.family, {})
    suited = {name: value for name, value in numbers.items() if name in fields}
    return options.with_defaults(own, _tuples(suited) | dict(known.online.changes))


def space(method: str, environment: str, fields: tuple[str, ...] = ()) -> dict[str, tuple]:
    """The search space of tuning: field -> choices.

    Args:
      method: its name in the registry.
      environment: where it learns step by step.
      fields: only these; empty for all.

    Raises:
      UserError: if the method does not learn there, or a field is not tuned.
    """
    known, tables = registry.get(method, environment), _tables(environment)
    names = {field.name for field in dataclasses.fields(known.online.config)}
    names -= set(tables.get("fixed", {}).get(known.family, ()))
    choices = {k: tuple(v) for k, v in tables["tuning"].items() if k in names}
    unknown = [name for name in fields if name not in choices]
    if unknown:
        raise UserError(
            f"--fields={','.join(unknown)}: not in the space of {method}, which is "
            f"{', '.join(choices)}"
        )
    return {name: choices[name] for name in fields or choices}


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has arrays where configurations have tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
