"""IMRL and its ablations as methods of the registry; importing the package registers them."""

from tfimrl.config import OnlineImrlConfig
from tfrec.methods import registry

# Controls of augmentation, without empowerment.
AUGMENTATION_CONTROLS = ("imrl_e_copies", "imrl_e_one", "imrl_e_learned")


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
        maker = registry.deferred("tfimrl.imrl_method", "ImrlMethod")
        online = registry.Online(OnlineImrlConfig, maker, changes)
        registry.register(registry.Method(name, title, online=online, family="imrl"))
