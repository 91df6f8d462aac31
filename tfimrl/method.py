"""IMRL and its ablations as methods of the registry; importing the package registers them."""

from collections.abc import Callable
from typing import Any

from tfrec.methods import registry

# Controls of augmentation, without empowerment.
AUGMENTATION_CONTROLS = ("imrl_e_copies", "imrl_e_one", "imrl_e_learned")


def _online(**changes: Any) -> Callable[[], registry.Online]:
    def parts() -> registry.Online:
        from tfimrl import imrl_method

        return registry.Online(imrl_method.CONFIG, imrl_method.ImrlMethod, changes)

    return parts


def register() -> None:
    """Registers IMRL, its ablations and the controls of its augmentation."""
    entropy = {"exploration": "entropy"}
    for name, title, changes in (
        ("imrl", "IMRL", {}),
        ("imrl_e", "IMRL-E (no empowerment)", entropy),
        ("imrl_a", "IMRL-A (no augmentation)", {"augmentation": "none"}),
        ("imrl_kl", "IMRL-KL (our reading)", {"exploration": "kl"}),
        ("imrl_ea", "neither: our SAC", entropy | {"augmentation": "none"}),
        (
            "imrl_e_copies",
            "IMRL-E, copies without an exchange",
            entropy | {"augmentation": "copies"},
        ),
        ("imrl_e_one", "IMRL-E, one copy (Algorithm 1)", entropy | {"copies": 1}),
        ("imrl_e_learned", "IMRL-E, learned graph", entropy | {"augmentation": "learned"}),
    ):
        method = registry.Method(name, title, online=_online(**changes), family="imrl")
        registry.register(method)
