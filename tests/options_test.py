"""Every field of every configuration has bounds, and a value outside of them is rejected."""

import dataclasses
import importlib
import math
import pkgutil
import re
import sys
import types
import typing

import pytest

import launch
import tfgoalrec
import tfimrl
import tfrec
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec import options
from tfrec.environments import registry as environments
from tfrec.methods import presets, registry


@pytest.fixture(scope="module")
def configurations():
    """Every dataclass with options, those with the defaults of presets included."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("define",):  # scripts share absl's one set of flags
            patch.setattr(flags, name, lambda *_: None)
        modules = [
            importlib.import_module(module.name)
            for package in (tfrec, tfgoalrec, tfimrl, launch)
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        ]
    configs = {registry.get(name).config for name in registry.names(registry.LOG)}
    for place in environments.ENVIRONMENTS:
        configs.add(presets.play_config_class(place))
        configs |= {presets.config_class(name, place) for name in registry.names(place)}
    for module in modules:
        configs |= {
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and dataclasses.is_dataclass(value)
            and any("help" in field.metadata for field in dataclasses.fields(value))
        }
    assert len(configs) > 60
    yield sorted(configs, key=lambda config: (config.__module__, config.__qualname__))
    # A later import of a script defines its flags. Annotations are looked up in the module, so
    # it stays until here.
    for module in modules:
        if hasattr(module, "main") and module.__name__ not in before:
            del sys.modules[module.__name__]


def _number(hint):
    """int or float of a field's annotation, and whether it is a tuple of them; or None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _number(next(a for a in arguments if a is not types.NoneType))
    if origin is tuple:
        return arguments[0] if arguments[0] in (int, float) else None
    return hint if hint in (int, float) else None


def _outside(field, number):
    """Values that the field's bounds do not permit."""
    bounds = field.metadata["bounds"]
    values = []
    if bounds.at_least is not None:
        values.append(bounds.at_least - 1 if number is int else bounds.at_least - 1e-3)
    if bounds.above is not None:
        values.append(bounds.above)
    if bounds.at_most is not None:
        values.append(bounds.at_most + 1 if number is int else bounds.at_most * 1.01 + 1e-3)
    elif bounds.below is not None:
        values.append(bounds.below)
    else:
        values.append(2**31 if number is int else 1e39)
    return values + ([math.nan, math.inf, -math.inf] if number is float else [])


def _made(config, **changes):
    needed = {
        field.name: "x"
        for field in dataclasses.fields(config)
        if field.default is dataclasses.MISSING
    }
    hints = typing.get_type_hints(config)
    for name in needed:
        if typing.get_origin(hints[name]) is typing.Literal:
            needed[name] = typing.get_args(hints[name])[0]
    return config(**(needed | changes))


def test_a_number_has_bounds_and_a_value_outside_is_rejected(configurations):
    for config in configurations:
        assert issubclass(config, options.Options), config
        hints = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            number = _number(hints[field.name])
            if number is None:
                continue
            bounds, where = field.metadata["bounds"], f"{config.__qualname__}.{field.name}"
            assert bounds.at_least is not None or bounds.above is not None, where
            assert str(bounds) in options.help_of(field), where
            for value in _outside(field, number):
                if typing.get_origin(hints[field.name]) is tuple:
                    value = (value,)
                with pytest.raises(ValueError) as error:
                    _made(config, **{field.name: value})
                assert re.match(rf"{field.name} is .*; expected", str(error.value)), where


def test_a_seed_is_any_that_numpy_and_keras_take(configurations):
    for config in configurations:
        for field in dataclasses.fields(config):
            if field.name in ("seed", "first_seed"):
                assert field.metadata["bounds"] == options.Bounds(0, 2**32 - 1), config


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    sizes: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    best: Part | None = None
    rows: tuple[tuple[int, ...], ...] = ()


@pytest.mark.parametrize(
    "whole",
    [
        Whole(()),
        Whole((Part("a", (1, 2)), Part("b")), Part("c", (3,)), ((1,), (2, 3))),
    ],
)
def test_nested_configurations_are_restored_from_json(whole):
    assert options.restored(Whole, options.resolved(whole)) == whole


@pytest.mark.parametrize(
    "saved",
    [
        {"parts": [{"name": "a", "size": 1}]},
        {"parts": [{"name": "a", "sizes": 1}]},
        {"parts": [[]]},
        {"parts": {"name": "a"}},
        {"parts": [], "best": "a"},
        {"best": None},
        [],
        None,
    ],
)
def test_a_damaged_configuration_is_a_message(saved):
    with pytest.raises(tfrec.UserError, match="the saved configuration is damaged"):
        options.restored(Whole, saved)
