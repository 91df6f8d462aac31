"""The sequential methods by name; their modules are imported when one is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tfrec.baselines.sequential import learner


class Parts(NamedTuple):
    """What a method's module provides.

    Attributes:
      config: its frozen dataclass, a `TrainingConfig`.
      build: makes the model of (config, num_items, seed), at its initial weights.
    """

    config: type[Any]
    build: Callable[[Any, int, int], learner.Model]


def _sasrec() -> Parts:
    from tfrec.baselines.sequential import sasrec as module

    return Parts(module.SasrecConfig, module.Sasrec)


def _stamp() -> Parts:
    from tfrec.baselines.sequential import stamp as module

    return Parts(module.StampConfig, module.Stamp)


def _causerec() -> Parts:
    from tfrec.baselines.sequential import causerec as module

    return Parts(module.CauseRecConfig, module.CauseRec)


def _hstu() -> Parts:
    from tfrec.baselines.sequential import hstu as module

    return Parts(module.HstuConfig, module.Hstu)


METHODS: dict[str, Callable[[], Parts]] = {
    "sasrec": _sasrec,
    "hstu": _hstu,
    "stamp": _stamp,
    "causerec": _causerec,
}
