"""The sequential methods by name; their modules are imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tfrec.baselines.sequential import config
from tfrec.methods import registry

if TYPE_CHECKING:
    from tfrec.baselines.sequential import learner


class SequentialMethod(NamedTuple):
    """A sequential method.

    Attributes:
      config: class of its configuration, a subclass of `TrainingConfig`.
      space: field -> choices of tuning.
      build: makes the untrained model of (config, num_items, seed).
      categories: whether the configuration has `num_categories`, and `build` takes
        the category of each item, int [N], as a fourth argument.
    """

    config: type[Any]
    space: Mapping[str, tuple]
    build: Callable[..., learner.Model]
    categories: bool = False


def _sasrec() -> SequentialMethod:
    return SequentialMethod(
        config.SasrecConfig, config.SELF_ATTENTION_SPACE, _model("sasrec", "Sasrec")
    )


def _hstu() -> SequentialMethod:
    return SequentialMethod(
        config.HstuConfig, config.SELF_ATTENTION_SPACE, _model("hstu", "Hstu")
    )


def _stamp() -> SequentialMethod:
    return SequentialMethod(config.StampConfig, config.STAMP_SPACE, _model("stamp", "Stamp"))


def _causerec() -> SequentialMethod:
    return SequentialMethod(
        config.CauseRecConfig, config.CAUSEREC_SPACE, _model("causerec", "CauseRec")
    )


def _casr_stamp() -> SequentialMethod:
    return SequentialMethod(
        config.CasrStampConfig, config.CASR_SPACE, _model("casr", "casr_stamp")
    )


def _casr_sasrec() -> SequentialMethod:
    return SequentialMethod(
        config.CasrSasrecConfig, config.CASR_SPACE, _model("casr", "casr_sasrec")
    )


def _cocorec() -> SequentialMethod:
    build = _model("cocorec", "Cocorec")
    return SequentialMethod(config.CocorecConfig, config.COCOREC_SPACE, build, categories=True)


def _model(module: str, name: str) -> Callable[..., learner.Model]:
    """The model of the module `tfrec.baselines.sequential.<module>`."""
    return registry.deferred(f"tfrec.baselines.sequential.{module}", name)


METHODS: dict[str, Callable[[], SequentialMethod]] = {
    "sasrec": _sasrec,
    "hstu": _hstu,
    "stamp": _stamp,
    "causerec": _causerec,
    "casr_stamp": _casr_stamp,
    "casr_sasrec": _casr_sasrec,
    "cocorec": _cocorec,
}
