"""The methods compared with, one file each, and the controls.

Importing this package registers the methods; their modules are imported when one is used.
"""

import importlib
import pathlib
from collections.abc import Callable

from tfrec.baselines.recommenders import DIEN, TD3, DynaQ, Rainbow, WideAndDeep
from tfrec.methods import registry, trained

__all__ = ["DIEN", "TD3", "DynaQ", "Rainbow", "WideAndDeep"]


def _wide_and_deep() -> registry.Parts:
    from tfrec.baselines import wide_and_deep as module

    return registry.Parts(module.WideAndDeepConfig, module.SPACE, module.WideAndDeepLearner)


def _dien() -> registry.Parts:
    from tfrec.baselines import dien_ranker as module

    return registry.Parts(module.DienConfig, module.SPACE, module.DienLearner)


def _dyna_q() -> registry.Parts:
    from tfrec.baselines import dyna_q as module

    return registry.Parts(module.DynaQConfig, module.SPACE, module.DynaQLearner)


def _rainbow() -> registry.Parts:
    from tfrec.baselines import rainbow as module

    return registry.Parts(module.RainbowConfig, module.SPACE, module.RainbowLearner)


def _td3() -> registry.Parts:
    from tfrec.baselines import td3 as module

    return registry.Parts(module.Td3Config, module.SPACE, module.Td3Learner)


def _online(name: str) -> Callable[[], registry.Online]:
    """The method of the module `tfrec.baselines.online.<name>`, in the class of that name."""

    def parts() -> registry.Online:
        module = importlib.import_module(f"tfrec.baselines.online.{name}")
        return registry.Online(module.CONFIG, getattr(module, name.capitalize()))

    return parts


def _load_sequential(directory: pathlib.Path) -> trained.SavedAgent:
    return importlib.import_module("tfrec.baselines.sequential.trained").load(directory)


registry.register_format(registry.SEQUENTIAL, _load_sequential)
for _method in (
    registry.Method("wide_and_deep", "Wide&Deep", _wide_and_deep),
    registry.Method("dien", "DIEN", _dien),
    registry.Method("dyna_q", "Dyna-Q", _dyna_q),
    registry.Method("rainbow", "Rainbow", _rainbow),
    registry.Method("td3", "TD3", _td3, _online("td3")),
    registry.Method("sac", "SAC (TF-Agents)", online=_online("sac")),
    registry.Method("ddpg", "DDPG", online=_online("ddpg")),
    registry.Method("slateq", "SlateQ", online=_online("slateq"), needs_items=True),
    registry.Method("reinforce", "REINFORCE", online=_online("reinforce")),
    registry.Method(
        "deers", "DEERS", online=_online("deers"), needs_items=True, needs_features=True
    ),
    registry.Method("kgrl", "KGRL", online=_online("kgrl")),
    registry.Method("tpgr", "TPGR", online=_online("tpgr"), needs_items=True),
    registry.Method("pgpr", "PGPR", online=_online("pgpr")),
):
    registry.register(_method)
