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

absl_flags.disclaim_key_flags()  # a flag belongs to the script that calls `define_dependent`

EnvironmentName = Literal["log", "recsim", "recogym", "virtualtb", "users", "gymnasium"]
HELP = (
    f"{', '.join(registry.names())}; with a method, --help lists its flags too; "
    "docs/methods.md lists the environments of each method"
)


def define_dependent(
    configs: Mapping[str, tuple[type, ...]], otherwise: tuple[type, ...] = ()
) -> None:
    """Defines the flags that depend on `--environment` and `--method`; at module level.

    These are the flags of the script for the environment, of the environment, of the amount of
    play, and of the method.

    Args:
      configs: environment -> configurations of the script.
      otherwise: configurations of the script for the other environments.
    """
    place = flags.early_value("environment", (registry.LOG, *environments.ENVIRONMENTS), "log")
    name = flags.early_value("method", registry.names())
    script_configs = list(configs.get(place, otherwise))
    if place != registry.LOG:
        script_configs += [environments.get(place).config, presets.play_config_class(place)]
    for config in script_configs:
        flags.define(config)
    if name and place in registry.get(name).environments:
        flags.define(_config(name, place))
    elif name:
        with contextlib.suppress(absl_flags.DuplicateFlagError):
            flags.define(_config(name, place))


def _config(name: str, place: str) -> type:
    """Returns a method's configuration in an environment.

    If the method does not learn there, this is its configuration elsewhere, so that main
    rejects the method by name, and not the parser by an unknown flag.
    """
    method = registry.get(name)
    on_log = registry.LOG in method.environments
    if place in method.environments and place != registry.LOG:
        return presets.config_class(name, place)
    if on_log and (place == registry.LOG or len(method.environments) == 1):
        return method.config
    return method.online.config
