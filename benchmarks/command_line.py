"""Types of the benchmarks' command-line arguments, with bounds."""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any


def at_least(least: float, kind: type[int] | type[float] = int) -> Callable[[str], Any]:
    """The type of a number with a lower bound, for `argparse`.

    Args:
      least: the lowest accepted number.
      kind: type of the number.
    """

    def number(text: str) -> float:
        value = kind(text)  # argparse reports a ValueError
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(
                f"{text} is out of range; expected at least {least}"
            )
        return value

    number.__name__ = kind.__name__  # the name in argparse's message
    return number


def one_of(*names: str) -> Callable[[str], str]:
    """The type of a name out of several, for `argparse`."""

    def name(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text}; expected one of {', '.join(names)}")
        return text

    return name


def separated(
    kind: Callable[[str], Any], exactly: int | None = None
) -> Callable[[str], tuple[Any, ...]]:
    """The type of values between commas, for `argparse`.

    Args:
      kind: the type of one value.
      exactly: required number of values; any by default.
    """

    def values(text: str) -> tuple[Any, ...]:
        parsed = tuple(map(kind, text.split(",")))
        if exactly not in (None, len(parsed)):
            raise argparse.ArgumentTypeError(
                f"{text} has {len(parsed)} values; expected {exactly}"
            )
        return parsed

    values.__name__ = f"{getattr(kind, '__name__', 'value')} between commas"
    return values


def folder(text: str) -> str:
    """The type of an existing folder."""
    if not pathlib.Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return text


def file(text: str) -> str:
    """The type of an existing file."""
    if not pathlib.Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is no file")
    return text


def parser(documentation: str) -> argparse.ArgumentParser:
    """A parser that shows the first line of a module's documentation."""
    return argparse.ArgumentParser(
        description=documentation.splitlines()[0], allow_abbrev=False
    )
