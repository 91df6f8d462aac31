"""Presets: default values of methods in each environment, one file per environment.

    config = presets.config_class("imrl", "recsim")()

The files `<environment>.toml` of this package have these tables. A later table overrides an
earlier one:

- `play`: fields of `OnlineConfig`.
- `methods`: fields of every method that has them; `off_policy`: of those with a replay;
  `families.<family>`: of the methods of a family (`registry.Method.family`).
- `tuning`: field -> choices; `fixed`: family -> fields that are not tuned.

Fields that a method's name fixes (`registry.Online.changes`) override all tables.
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
from tfrec.methods.online_config import OnlineConfig, ReplaySizeConfig


@functools.cache
def _tables(environment: str) -> dict[str, Any]:
    path = pathlib.Path(__file__).with_name(f"{environment}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def play_config_class(environment: str) -> type[OnlineConfig]:
    """The class `OnlineConfig` with an environment's defaults."""
    return options.with_defaults(OnlineConfig, _tuples(_tables(environment)["play"]))


def config_class(method: str, environment: str) -> type[Any]:
    """A method's class of configuration with defaults of an environment.

    Args:
      method: its name in the registry.
      environment: name of an environment in which it learns step by step.

    Raises:
      UserError: if the method does not support the environment.
    """
    registered = registry.get(method, environment)
    tables, base = _tables(environment), registered.online.config
    fields = {field.name for field in dataclasses.fields(base)}
    values = dict(tables["methods"])
    if issubclass(base, ReplaySizeConfig):
        values |= tables["off_policy"]
    values |= tables.get("families", {}).get(registered.family, {})
    defaults = {name: value for name, value in values.items() if name in fields}
    return options.with_defaults(base, _tuples(defaults) | dict(registered.online.changes))


def space(method: str, environment: str, fields: tuple[str, ...] = ()) -> dict[str, tuple]:
    """The search space of tuning: field -> choices.

    Args:
      method: its name in the registry.
      environment: name of an environment in which it learns step by step.
      fields: tuned fields; empty for all.

    Raises:
      UserError: if the method does not support the environment, or a field is not tuned.
    """
    registered, tables = registry.get(method, environment), _tables(environment)
    names = {field.name for field in dataclasses.fields(registered.online.config)}
    names -= set(tables.get("fixed", {}).get(registered.family, ()))
    choices = {k: tuple(v) for k, v in tables["tuning"].items() if k in names}
    unknown = [name for name in fields if name not in choices]
    if unknown:
        raise UserError(
            f"--fields={','.join(unknown)}: not in the space of {method}, which is "
            f"{', '.join(choices)}"
        )
    return {name: choices[name] for name in fields or choices}


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts the arrays of TOML to the tuples of configurations."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
