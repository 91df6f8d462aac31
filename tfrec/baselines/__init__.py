"""The methods compared with, one file each, and the controls.

Importing this package registers the methods; their modules are imported when one is used.
"""

from tfrec.baselines.recommenders import DIEN, TD3, DynaQ, Rainbow, WideAndDeep
from tfrec.methods import registry

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


registry.register(registry.Method("wide_and_deep", "Wide&Deep", _wide_and_deep))
registry.register(registry.Method("dien", "DIEN", _dien))
registry.register(registry.Method("dyna_q", "Dyna-Q", _dyna_q))
registry.register(registry.Method("rainbow", "Rainbow", _rainbow))
registry.register(registry.Method("td3", "TD3", _td3))
