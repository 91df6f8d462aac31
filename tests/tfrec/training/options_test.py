import dataclasses
import pathlib

import numpy as np
import pytest

from tfrec.training import options


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


def test_what_is_no_configuration_is_refused():
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
