"""Flags of methods and environments by name; see `tfrec.methods.registry`."""

from collections.abc import Mapping
from typing import Literal

from absl import flags as absl_flags

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec.environments import registry as environments
from tfrec.methods import registry

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
    name = flags.chosen("method", registry.names(place))
    found = list(configs.get(place, otherwise))
    if place == registry.LOG:
        found += [registry.get(name).config] if name else []
    else:
        from tfrec.methods import presets  # which imports TensorFlow

        found += [environments.get(place).config]
        found += [presets.play_config_class(place)]
        found += [presets.config_class(name, place)] if name else []
    for config in found:
        flags.define(config)
