"""Named worlds: configurations of the embedded log that stay as they are.

    config = synthetic_worlds.log_class("movielens_scale")()

The file `<name>.toml` of this package has two tables: `log`, fields of `SyntheticConfig`, and
`sessions`, fields of `PrepareConfig`. `docs/simulators.md` says what each world can tell.
"""

import functools
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from tfrec import options
from tfrec.data import episodes, synthetic
from tfrec.errors import UserError

NAMES = tuple(sorted(path.stem for path in pathlib.Path(__file__).parent.glob("*.toml")))


def check(name: str, owner: str) -> None:
    """Checks the name of a world; empty is no world.

    Args:
      name: the name.
      owner: flag or argument that gives it, for the message.

    Raises:
      UserError: if there is no such world.
    """
    if name and name not in NAMES:
        raise UserError(f"{owner}={name}: expected one of {', '.join(NAMES)}, or nothing")


def log_class(name: str) -> type[synthetic.SyntheticConfig]:
    """The class `SyntheticConfig` with the values of a world as defaults.

    Args:
      name: one of `NAMES`; empty for the plain defaults.
    """
    return _with_values(synthetic.SyntheticConfig, name, "log")


def sessions_class(name: str) -> type[episodes.PrepareConfig]:
    """The class `PrepareConfig` with the values of a world as defaults; as `log_class`."""
    return _with_values(episodes.PrepareConfig, name, "sessions")


def _with_values(
    config_class: type[options.Config], name: str, table: str
) -> type[options.Config]:
    """The class with the values of a table of a world, or the class itself for no world."""
    if not name:
        return config_class
    values = _tables(name)[table].items()  # arrays of TOML are tuples of configurations
    return options.with_defaults(
        config_class, {key: tuple(x) if isinstance(x, list) else x for key, x in values}
    )


@functools.cache
def _tables(name: str) -> Mapping[str, Any]:
    path = pathlib.Path(__file__).with_name(f"{name}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))
