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
        config.CasrStampConfig, config.CASR_STAMP_SPACE, _model("casr", "casr_stamp")
    )


def _casr_sasrec() -> SequentialMethod:
    return SequentialMethod(
        config.CasrSasrecConfig, config.CASR_SASREC_SPACE, _model("casr", "casr_sasrec")
    )


def _cocorec() -> SequentialMethod:
    build = _model("cocorec", "Cocorec")
    return SequentialMethod(config.CocorecConfig, config.COCOREC_SPACE, build, categories=True)


def _model(module: str, name: str) -> Callable[..., learner.Model]:
    """The model of the module `tfrec.baselines.sequential.<module>`."""
    return registry.deferred(f"tfrec.baselines.sequential.{module}", name)


class Ablation(NamedTuple):
    """A method without one of its parts.

    Attributes:
      method: the method.
      fixed: fields of its configuration without the part; tuning does not try them.
      one_category: whether all items have one category, whatever the log says.
    """

    method: str
    fixed: Mapping[str, Any]
    one_category: bool = False


METHODS: dict[str, Callable[[], SequentialMethod]] = {
    "sasrec": _sasrec,
    "hstu": _hstu,
    "stamp": _stamp,
    "causerec": _causerec,
    "casr_stamp": _casr_stamp,
    "casr_sasrec": _casr_sasrec,
    "cocorec": _cocorec,
}
ABLATIONS = {
    "causerec_encoder": Ablation("causerec", {"user_weight": 0.0, "item_weight": 0.0}),
    "cocorec_alone": Ablation("cocorec", {"neighbours": 0}),
    "cocorec_one_category": Ablation("cocorec", {}, one_category=True),
}
# Method -> the methods that show what its parts gain: others, or itself without the part.
ANCHORS = {
    "casr_stamp": ("stamp",),
    "casr_sasrec": ("sasrec",),
    "causerec": ("causerec_encoder",),
    "cocorec": ("cocorec_one_category", "cocorec_alone"),
}
