"""IMRL and its ablations as methods of the registry; importing the package registers them."""

from tfimrl.config import OnlineImrlConfig
from tfrec.methods import registry

# Controls of augmentation, without empowerment, and of empowerment, without augmentation.
AUGMENTATION_CONTROLS = ("imrl_e_copies", "imrl_e_one", "imrl_e_learned")
EMPOWERMENT_CONTROLS = ("imrl_a_faithful", "imrl_a_forward", "imrl_a_tenth")
CONTROLS = AUGMENTATION_CONTROLS + EMPOWERMENT_CONTROLS


def register() -> None:
    """Registers IMRL, its ablations and the controls of its two parts."""
    entropy, alone = {"exploration": "entropy"}, {"augmentation": "none"}
    forward = alone | {"successor": "forward"}
    for name, title, changes in (
        ("imrl", "IMRL", {}),
        ("imrl_e", "IMRL-E (no empowerment)", entropy),
        ("imrl_a", "IMRL-A (no augmentation)", alone),
        ("imrl_kl", "IMRL-KL (our reading)", {"exploration": "kl"}),
        ("imrl_ea", "neither: our SAC", entropy | alone),
        (
            "imrl_e_copies",
            "IMRL-E, copies without an exchange",
            entropy | {"augmentation": "copies"},
        ),
        ("imrl_e_one", "IMRL-E, one copy (Algorithm 1)", entropy | {"copies": 1}),
        ("imrl_e_learned", "IMRL-E, learned graph", entropy | {"augmentation": "learned"}),
        ("imrl_a_faithful", "IMRL-A, equation 12 as printed", alone | {"mode": "faithful"}),
        ("imrl_a_forward", "IMRL-A, forward model", forward),
        (
            "imrl_a_tenth",
            "IMRL-A, forward model, bonus a tenth of the reward",
            forward | {"bonus_share": 0.1},
        ),
    ):
        maker = registry.deferred("tfimrl.imrl_method", "ImrlMethod")
        online = registry.Online(OnlineImrlConfig, maker, changes)
        registry.register(registry.Method(name, title, online=online, family="imrl"))
