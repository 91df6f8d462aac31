"""Types of the benchmarks' command-line arguments, with bounds."""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any


def at_least(least: float, kind: type[int] | type[float] = int) -> Callable[[str], Any]:
    """The type of a number with a lower bound, for `argparse`.

    Args:
      least: the lowest number that is accepted.
      kind: of number.
    """

    def number(text: str) -> float:
        found = kind(text)  # argparse makes a message of a ValueError
        if not least <= found < float("inf"):
            raise argparse.ArgumentTypeError(
                f"{text} is out of range; expected at least {least}"
            )
        return found

    number.__name__ = kind.__name__  # which argparse names where the text is no number
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
      kind: the type of one of them.
      exactly: how many; any number by default.
    """

    def values(text: str) -> tuple[Any, ...]:
        found = tuple(map(kind, text.split(",")))
        if exactly not in (None, len(found)):
            raise argparse.ArgumentTypeError(
                f"{text} has {len(found)} values; expected {exactly}"
            )
        return found

    values.__name__ = f"{getattr(kind, '__name__', 'value')} between commas"
    return values


def folder(text: str) -> str:
    """The type of a folder that is there."""
    if not pathlib.Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return text


def file(text: str) -> str:
    """The type of a file that is there."""
    if not pathlib.Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is no file")
    return text


def parser(documentation: str) -> argparse.ArgumentParser:
    """A parser that shows the first line of a module's documentation."""
    return argparse.ArgumentParser(
        description=documentation.splitlines()[0], allow_abbrev=False
    )
