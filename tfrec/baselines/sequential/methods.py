"""The sequential methods by name; their modules are imported when one is used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tfrec.baselines.sequential import learner


class Parts(NamedTuple):
    """What a method's module provides.

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
    from tfrec.baselines.sequential import sasrec as module
    from tfrec.baselines.sequential import self_attention

    return Parts(module.SasrecConfig, self_attention.SPACE, module.Sasrec)


def _stamp() -> Parts:
    from tfrec.baselines.sequential import stamp as module

    return Parts(module.StampConfig, module.SPACE, module.Stamp)


def _causerec() -> Parts:
    from tfrec.baselines.sequential import causerec as module

    return Parts(module.CauseRecConfig, module.SPACE, module.CauseRec)


def _hstu() -> Parts:
    from tfrec.baselines.sequential import hstu as module
    from tfrec.baselines.sequential import self_attention

    return Parts(module.HstuConfig, self_attention.SPACE, module.Hstu)


def _casr_stamp() -> Parts:
    from tfrec.baselines.sequential import casr, stamp

    build = functools.partial(casr.Casr, stamp.Stamp)
    return Parts(casr.CasrStampConfig, casr.SPACE, build)


def _casr_sasrec() -> Parts:
    from tfrec.baselines.sequential import casr, sasrec

    build = functools.partial(casr.Casr, sasrec.Sasrec)
    return Parts(casr.CasrSasrecConfig, casr.SPACE, build)


def _cocorec() -> Parts:
    from tfrec.baselines.sequential import cocorec as module

    return Parts(module.CocorecConfig, module.SPACE, module.Cocorec, categories=True)


METHODS: dict[str, Callable[[], Parts]] = {
    "sasrec": _sasrec,
    "hstu": _hstu,
    "stamp": _stamp,
    "causerec": _causerec,
    "casr_stamp": _casr_stamp,
    "casr_sasrec": _casr_sasrec,
    "cocorec": _cocorec,
}
