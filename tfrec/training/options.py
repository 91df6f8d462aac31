"""Fields of a method's configuration, with the help text that becomes a flag's."""

import dataclasses
from typing import Any


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
