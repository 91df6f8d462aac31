"""Flags of methods and environments by name; see `tfrec.methods.registry`."""

import contextlib
from collections.abc import Mapping
from typing import Literal

from absl import flags as absl_flags

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec.environments import registry as environments
from tfrec.methods import presets, registry

absl_flags.disclaim_key_flags()  # a flag belongs to the script that calls `define_chosen`

EnvironmentName = Literal["log", "recsim", "recogym", "virtualtb", "users", "gymnasium"]
HELP = (
    f"{', '.join(registry.names())}; with a method, --help lists its flags too; "
    "docs/methods.md tells which learns where"
)


def define_chosen(
    configs: Mapping[str, tuple[type, ...]], otherwise: tuple[type, ...] = ()
) -> None:
    """Defines the flags that depend on `--environment` and `--method`; at module level.

    These are the script's own configurations for the environment, the environment's, how much
    is played in it, and the method's.

    Args:
      configs: environment -> configurations of the script.
      otherwise: the script's configurations for the environments that are not named.
    """
    place = flags.chosen("environment", (registry.LOG, *environments.ENVIRONMENTS), "log")
    name = flags.chosen("method", registry.names())
    found = list(configs.get(place, otherwise))
    if place != registry.LOG:
        found += [environments.get(place).config, presets.play_config_class(place)]
    for config in found:
        flags.define(config)
    if name and place in registry.get(name).environments:
        flags.define(_config(name, place))
    elif name:
        with contextlib.suppress(absl_flags.DuplicateFlagError):
            flags.define(_config(name, place))


def _config(name: str, place: str) -> type:
    """A method's configuration in an environment.

    Where the method does not learn there, that of its other form: main says so by name, and not
    the parser of a flag that it does not know.
    """
    method = registry.get(name)
    on_log = registry.LOG in method.environments
    if place in method.environments and place != registry.LOG:
        return presets.config_class(name, place)
    if on_log and (place == registry.LOG or len(method.environments) == 1):
        return method.config
    return method.online.config
