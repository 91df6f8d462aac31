import dataclasses
import math
import pathlib
from typing import Literal

import numpy as np
import pytest

from tfrec import errors, options


@dataclasses.dataclass(frozen=True)
class Inner:
    units: tuple[int, ...] = options.option((64, 32), "widths")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = options.option(Inner(), "tower")
    rate: float = options.option(0.1, "learning rate")


def test_a_resolved_configuration_is_plain():
    config = {
        "a": Outer(),
        "path": pathlib.Path("x/y"),
        "n": np.float32(0.5),
        "list": [Inner()],
    }
    assert options.resolved(config) == {
        "a": {"inner": {"units": [64, 32]}, "rate": 0.1},
        "path": "x/y",
        "n": 0.5,
        "list": [{"units": [64, 32]}],
    }


def test_what_is_no_configuration_is_rejected():
    with pytest.raises(TypeError, match="cannot hold ndarray"):
        options.resolved({"weights": np.zeros(3)})


def test_differences_name_the_fields():
    before = options.resolved({"model": Outer(), "seed": 1, "old": True})
    now = options.resolved({"model": Outer(Inner((8,))), "seed": 1, "new": None})
    assert options.differences(before, now) == [
        "model.inner.units: was [64, 32], is now [8]",
        "new: was absent, is now None",
        "old: was True, is now absent",
    ]
    assert options.differences(before, before) == []


@dataclasses.dataclass(frozen=True)
class Bounded(options.Options):
    rounds: int = options.option(3, "rounds", at_least=1)
    share: float = options.option(0.5, "share of a batch", at_least=0, at_most=1)
    dropout: float = options.option(0.1, "dropout", at_least=0, below=1)
    rate: float = options.option(1e-3, "learning rate", above=0, at_most=1)
    widths: tuple[int, ...] = options.option((8, 8), "widths", at_least=1, min_length=1)
    names: tuple[str, ...] = options.option((), "names", distinct=True)
    version: int | None = options.option(None, "version", at_least=1, at_most=2**63 - 1)
    head: Literal["mlp", "bilinear"] = options.option("mlp", "advantage head")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("rounds", 0, "rounds is 0; expected at least 1"),
        ("rounds", 2**31, "rounds is 2147483648; expected at most 2147483647"),
        ("rounds", 10**400, "expected at most 2147483647"),
        ("rounds", 1.0, "rounds is 1.0; expected a whole number"),
        ("rounds", True, "rounds is True; expected a whole number"),
        ("share", 1.5, "share is 1.5; expected 0 to 1"),
        ("share", math.nan, "share is nan; expected a finite number, 0 to 1"),
        ("share", "0.5", "share is '0.5'; expected a number"),
        ("dropout", 1.0, "dropout is 1.0; expected at least 0, below 1"),
        ("rate", 0.0, "rate is 0.0; expected above 0, at most 1"),
        ("rate", math.inf, "rate is inf; expected a finite number, above 0, at most 1"),
        ("widths", (8, 0), r"widths is \(8, 0\); expected elements of at least 1"),
        ("widths", (), r"widths is \(\); expected a list of at least 1"),
        ("names", ("a", "b", "a"), "expected each once; 'a' is repeated"),
        ("version", 0, "version is 0; expected 1 to 9223372036854775807"),
        ("head", "other", "head is 'other'; expected one of mlp, bilinear"),
    ],
)
def test_a_value_outside_of_its_declaration_is_rejected(field, value, expected):
    with pytest.raises(ValueError, match=expected):
        Bounded(**{field: value})


def test_values_at_the_bounds_are_taken():
    made = Bounded(
        rounds=np.int64(1), share=1, dropout=0.0, rate=1.0, widths=(1,), version=2**63 - 1
    )
    assert made.rounds == 1 and made.version == 2**63 - 1


def test_help_shows_the_range():
    shown = {field.name: options.help_of(field) for field in dataclasses.fields(Bounded)}
    assert shown["dropout"] == "dropout (at least 0, below 1)"
    assert shown["share"] == "share of a batch (0 to 1)"
    assert shown["head"] == "advantage head"


@dataclasses.dataclass(frozen=True)
class Sized(options.Options):
    rounds: int = options.option(5, "rounds", at_least=2)
    users: int = options.option(10, "users", at_least=1)


def test_configurations_of_several_classes_share_the_keyword_arguments():
    given = {"rounds": 4, "users": 3, "widths": [2]}
    assert options.configured_each([Bounded, Sized], given, "here") == [
        Bounded(rounds=4, widths=(2,)),
        Sized(rounds=4, users=3),
    ]
    assert options.configured_each([Bounded, Sized], {}, "here") == [Bounded(), Sized()]
    with pytest.raises(errors.UserError, match="here: rounds is 1; expected at least 2"):
        options.configured_each([Bounded, Sized], {"rounds": 1}, "here")
    for name, near in (("user", "users: users"), ("width", "widths: widths")):
        with pytest.raises(errors.UserError, match=f"no option '{name}'; .*{near}"):
            options.configured_each([Bounded, Sized], {name: 1}, "here")


def test_a_saved_configuration_is_restored_or_rejected():
    saved = options.resolved(Bounded(widths=(3, 4)))
    assert options.restored(Bounded, saved) == Bounded(widths=(3, 4))
    for damage, named in (({"rounds": 0}, "rounds is 0"), ({"speed": 1}, "speed")):
        with pytest.raises(errors.UserError, match=named):
            options.restored(Bounded, saved | damage)
