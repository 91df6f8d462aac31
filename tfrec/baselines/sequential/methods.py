"""The sequential methods by name; their modules are imported when a model is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tfrec.baselines.sequential import config
from tfrec.methods import registry

if TYPE_CHECKING:
    from tfrec.baselines.sequential import learner


class Parts(NamedTuple):
    """What a method consists of.

    Attributes:
      config: its frozen dataclass, a `TrainingConfig`.
      space: field -> its choices when the method is tuned.
      build: makes the model of (config, num_items, seed), at its initial weights.
      categories: whether the configuration has `num_categories`, and `build` takes
        the category of each item, int [N], as a fourth argument.
    """

    config: type[Any]
    space: Mapping[str, tuple]
    build: Callable[..., learner.Model]
    categories: bool = False


def _sasrec() -> Parts:
    return Parts(config.SasrecConfig, config.SELF_ATTENTION_SPACE, _model("sasrec", "Sasrec"))


def _hstu() -> Parts:
    return Parts(config.HstuConfig, config.SELF_ATTENTION_SPACE, _model("hstu", "Hstu"))


def _stamp() -> Parts:
    return Parts(config.StampConfig, config.STAMP_SPACE, _model("stamp", "Stamp"))


def _causerec() -> Parts:
    return Parts(config.CauseRecConfig, config.CAUSEREC_SPACE, _model("causerec", "CauseRec"))


def _casr_stamp() -> Parts:
    return Parts(config.CasrStampConfig, config.CASR_SPACE, _model("casr", "casr_stamp"))


def _casr_sasrec() -> Parts:
    return Parts(config.CasrSasrecConfig, config.CASR_SPACE, _model("casr", "casr_sasrec"))


def _cocorec() -> Parts:
    build = _model("cocorec", "Cocorec")
    return Parts(config.CocorecConfig, config.COCOREC_SPACE, build, categories=True)


def _model(module: str, name: str) -> Callable[..., learner.Model]:
    """The model of the module `tfrec.baselines.sequential.<module>`."""
    return registry.deferred(f"tfrec.baselines.sequential.{module}", name)


METHODS: dict[str, Callable[[], Parts]] = {
    "sasrec": _sasrec,
    "hstu": _hstu,
    "stamp": _stamp,
    "causerec": _causerec,
    "casr_stamp": _casr_stamp,
    "casr_sasrec": _casr_sasrec,
    "cocorec": _cocorec,
}
