"""Configurations: fields with help and bounds, validation, and comparison."""

import dataclasses
import difflib
import json
import math
import numbers
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tfrec import errors

Config = TypeVar("Config")

MAX_SEED = 2**32 - 1  # largest seed of numpy and Keras
_MAX_INT = 2**31 - 1  # largest int32; a field with larger values declares `at_most`
_MAX_FLOAT = float(np.finfo(np.float32).max)


class Bounds(NamedTuple):
    """The permitted range of a number, or of each number of a tuple; None for no bound."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def allow(self, value: float) -> bool:
        """Whether a finite number lies in the range."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """E.g. `at least 1`, `0 to 1` or `above 0, below 1`; empty without a bound."""
        if self.at_least is not None and self.at_most is not None:
            return f"{_written(self.at_least)} to {_written(self.at_most)}"
        named = (("at_least", "at least"), ("above", "above"), ("at_most", "at most"),
                 ("below", "below"))  # fmt: skip
        return ", ".join(
            f"{words} {_written(getattr(self, name))}"
            for name, words in named
            if getattr(self, name) is not None
        )


def option(
    default: Any,
    help: str,  # noqa: A002  named as in flags
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    distinct: bool = False,
    min_length: int = 0,
) -> Any:
    """A dataclass field with a help text, which `--help` of the launch scripts shows.

    The class is an `Options`, which checks the bounds when it is made. A field of text with
    a few permitted values is annotated as a `Literal` of them.

    Args:
      default: the default. A tuple becomes a comma-separated list.
      help: effect and unit of the field; the range is appended.
      at_least: the smallest permitted number; of a tuple, of each element.
      at_most: the largest permitted number.
      above: a bound that is not permitted itself.
      below: a bound that is not permitted itself.
      distinct: whether the elements of a tuple must differ.
      min_length: fewest elements of a tuple.
    """
    metadata = _metadata(help, Bounds(at_least, at_most, above, below), distinct, min_length)
    return dataclasses.field(default=default, metadata=metadata)


def required(
    help: str,  # noqa: A002  named as in flags
) -> Any:
    """A field without a default: the script stops unless its flag is given.

    In a dataclass, such fields come before the others or need `kw_only=True`.

    Args:
      help: meaning and unit of the field.
    """
    return dataclasses.field(metadata=_metadata(help, Bounds(), False, 0))


def _metadata(text: str, bounds: Bounds, distinct: bool, min_length: int) -> dict[str, Any]:
    return {"help": text, "bounds": bounds, "distinct": distinct, "min_length": min_length}


def check_last_seed(first_seed: int, seeds: int) -> None:
    """Checks that the last of consecutive seeds is one.

    Raises:
      ValueError: naming `first_seed`.
    """
    if first_seed + seeds - 1 > MAX_SEED:
        raise ValueError(
            f"first_seed is {first_seed}; expected at most {MAX_SEED - seeds + 1} with "
            f"seeds={seeds}"
        )


def help_of(field: dataclasses.Field) -> str:
    """The help of a field, with its range."""
    text, bounds = field.metadata.get("help", ""), str(field.metadata.get("bounds", ""))
    return f"{text} ({bounds})" if bounds else text


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of every configuration, which checks its fields on construction.

    A subclass with rules across fields has a `__post_init__` that first calls this one.
    """

    def __post_init__(self) -> None:
        """Checks each field against its declaration.

        Raises:
          ValueError: naming the first field at fault, its value and what was expected.
        """
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            expected = _violated(value, hints[field.name], field.metadata)
            if expected:
                raise ValueError(f"{field.name} is {value!r}; expected {expected}")


def _violated(value: Any, hint: Any, metadata: Mapping[str, Any]) -> str:
    """The permitted values, in words, if a field's value is not permitted; else empty."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return ""
        return _violated(value, next(a for a in arguments if a is not types.NoneType), metadata)
    if origin is typing.Literal:
        return "" if value in arguments else f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        for element in value:
            if expected := _violated(element, arguments[0], metadata):
                return f"elements of {expected}"
        if len(value) < metadata.get("min_length", 0):
            return f"a list of at least {metadata['min_length']}"
        if metadata.get("distinct") and len(set(value)) < len(value):
            repeated = next(element for element in value if value.count(element) > 1)
            return f"each once; {repeated!r} is repeated"
        return ""
    if hint not in (int, float):
        return ""
    kind = numbers.Integral if hint is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind):
        return "a whole number" if hint is int else "a number"
    number = int(value) if hint is int else float(value)  # type: ignore[call-overload]
    bounds = metadata.get("bounds", Bounds())
    largest = max(_MAX_INT, bounds.at_most or 0) if hint is int else _MAX_FLOAT
    if hint is float and not math.isfinite(number):
        return f"a finite number, {bounds}" if str(bounds) else "a finite number"
    if not bounds.allow(number):
        return str(bounds)
    return "" if abs(number) <= largest else f"at most {_written(largest)}"


def _written(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.6g}"


def resolved(config: Any) -> Any:
    """Converts a configuration to its saved form: dicts, lists and scalars, as in JSON.

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
        if isinstance(value, Mapping):  # a dict that TensorFlow wrapped as a module's attribute
            return dict(value)
        raise TypeError(f"a configuration cannot hold {type(value).__name__}: {value!r}")

    return json.loads(json.dumps(config, default=plain))


def restored(config_class: type[Config], saved: Mapping[str, Any]) -> Config:
    """Rebuilds a configuration from its resolved form; lists become tuples.

    Args:
      config_class: the dataclass that was resolved.
      saved: output of `resolved`.

    Raises:
      UserError: if the class does not take the saved fields or values; names them.
    """
    try:
        return rebuilt(config_class, saved)
    except (TypeError, ValueError) as error:
        raise errors.UserError(
            f"the saved configuration is damaged or of another version: {error}"
        ) from error


def rebuilt(annotation: Any, saved: Any) -> Any:
    """Rebuilds a value from JSON: lists become tuples, and objects become dataclasses.

    Args:
      annotation: type of the value, e.g. a dataclass or `tuple[int, ...] | None`.
      saved: the value as JSON holds it.

    Raises:
      TypeError: if a dataclass has other fields.
      ValueError: if a dataclass rejects a value.
    """
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if is_union else (annotation,)
    dataclass: Any = next(filter(dataclasses.is_dataclass, kinds), None)
    sequence = next((kind for kind in kinds if typing.get_origin(kind) is tuple), None)
    if isinstance(saved, Mapping) and dataclass is not None:
        hints = typing.get_type_hints(dataclass)
        fields = {name: rebuilt(hints.get(name, Any), part) for name, part in saved.items()}
        return dataclass(**fields)
    if isinstance(saved, list | tuple):
        element = typing.get_args(sequence)[0] if sequence else Any
        saved = tuple(rebuilt(element, part) for part in saved)
        matches = sequence is not None
    else:
        matches = saved is None and types.NoneType in kinds
    if not matches and set(kinds) <= {dataclass, sequence, types.NoneType}:
        raise TypeError(f"{saved!r}; expected {annotation}")
    return saved


def configured(config_class: type[Config], values: Mapping[str, Any], owner: str) -> Config:
    """Makes a configuration from keyword arguments, checked against its declaration.

    Args:
      config_class: the dataclass.
      values: fields by name; lists become tuples. Absent fields have their defaults.
      owner: name of the configured object, for messages.

    Raises:
      UserError: if there is no such field (lists fields of similar names with their help and
        range), or a value is out of its range.
    """
    _check_names([config_class], values, owner)
    hints = typing.get_type_hints(config_class)
    for name, value in values.items():
        expected = _other_kind(value, hints[name])
        if expected:
            raise errors.UserError(f"{owner}: {name} is {value!r}; expected {expected}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return config_class(**values)
    except ValueError as error:
        raise errors.UserError(f"{owner}: {error}") from error


def configured_each(
    config_classes: Sequence[type[Any]], values: Mapping[str, Any], owner: str
) -> list[Any]:
    """Configurations of several classes from the same keyword arguments.

    Args:
      config_classes: the dataclasses.
      values: fields by name. A field that several classes have is given to each of them.
      owner: name of the configured object, for messages.

    Returns:
      A configuration of each class, in their order.

    Raises:
      UserError: if no class has such a field, or a value is out of its range.
    """
    _check_names(config_classes, values, owner)
    names = [{field.name for field in dataclasses.fields(each)} for each in config_classes]
    return [
        configured(config_class, {k: v for k, v in values.items() if k in field_names}, owner)
        for config_class, field_names in zip(config_classes, names, strict=True)
    ]


def _check_names(classes: Sequence[type[Any]], values: Mapping[str, Any], owner: str) -> None:
    fields = {field.name: field for each in classes for field in dataclasses.fields(each)}
    for name in values:
        if name not in fields:
            similar = difflib.get_close_matches(name, fields, 3, 0.5)
            listed = "; ".join(f"{near}: {help_of(fields[near])}" for near in similar)
            expected = f"similar options: {listed}" if similar else f"expected {list(fields)}"
            raise errors.UserError(f"{owner}: no option {name!r}; {expected}")


def _other_kind(value: Any, hint: Any) -> str:
    """The expected type, in words, if a keyword argument has another type; else empty."""
    if typing.get_origin(hint) is tuple:
        return "" if isinstance(value, tuple | list) else "a list"
    kinds: dict[Any, tuple[type, str]] = {bool: (bool, "True or False"), str: (str, "text")}
    kind, words = kinds.get(hint, (object, ""))
    return "" if isinstance(value, kind) else words


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """Lists the differences between two resolved configurations, one line for each field.

    Args:
      before: the saved configuration.
      now: the other configuration.
      path: name of the compared field; used by the recursion.

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


def check_unchanged(different: Sequence[str], subject: str, advice: str) -> None:
    """Rejects settings or inputs that differ from the recorded ones.

    Args:
      different: the differences, one line for each.
      subject: what has other settings, e.g. `runs/a holds a run with other settings`.
      advice: what the user can do.

    Raises:
      UserError: if there are differences; lists them.
    """
    if different:
        listed = "\n  ".join(different)
        raise errors.UserError(f"{subject}:\n  {listed}\n{advice}")


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def with_defaults(config_class: type[Config], defaults: Mapping[str, Any]) -> type[Config]:
    """Makes a subclass of a dataclass with other defaults.

    Args:
      config_class: a frozen dataclass.
      defaults: field -> its default.

    Raises:
      KeyError: if the class has no such field; names it.
    """
    hints = typing.get_type_hints(config_class)
    fields = [
        (
            field.name,
            hints[field.name],
            dataclasses.field(default=defaults[field.name], metadata=field.metadata),
        )
        for field in dataclasses.fields(config_class)  # type: ignore[arg-type]
        if field.name in defaults
    ]
    absent = set(defaults) - {name for name, *_ in fields}
    if absent:
        raise KeyError(f"{config_class.__name__} has no {', '.join(sorted(absent))}")
    return dataclasses.make_dataclass(
        config_class.__name__, fields, bases=(config_class,), frozen=True
    )
