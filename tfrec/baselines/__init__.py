"""The baselines, one file each.

Importing this package registers the methods; their modules are imported on first use.
"""

from tfrec.baselines import config
from tfrec.baselines.online import config as online_config
from tfrec.baselines.recommenders import DIEN, TD3, DynaQ, ItemCounts, Rainbow, WideAndDeep
from tfrec.methods import registry

__all__ = ["DIEN", "TD3", "DynaQ", "ItemCounts", "Rainbow", "WideAndDeep"]


def _log(
    config_class: type[config.BaselineConfig], space: dict[str, tuple], module: str, name: str
) -> registry.LogForm:
    """The form of a method with a learner in the module `tfrec.baselines.<module>`."""
    return registry.LogForm(
        config_class,
        space,
        registry.deferred(f"tfrec.baselines.{module}", name),
        vector_width=lambda config: config.embedding,
        updates=lambda config: config.updates_per_round,
        session_fields=("sessions_per_round", "replay_sessions"),
    )


def _online(config_class: type, name: str) -> registry.Online:
    """The form of a method in the module `tfrec.baselines.online.<name>`."""
    module = f"tfrec.baselines.online.{name}"
    return registry.Online(config_class, registry.deferred(module, name.capitalize()))


registry.register_format(
    registry.SEQUENTIAL, registry.deferred("tfrec.baselines.sequential.trained", "load")
)
registry.register_format(
    registry.PATHS, registry.deferred("tfrec.baselines.paths.trained", "load")
)
for _method in (
    registry.Method(
        "wide_and_deep",
        "Wide&Deep",
        _log(
            config.WideAndDeepConfig,
            config.WIDE_AND_DEEP_SPACE,
            "wide_and_deep",
            "WideAndDeepLearner",
        ),
    ),
    registry.Method(
        "dien", "DIEN", _log(config.DienConfig, config.DIEN_SPACE, "dien_ranker", "DienLearner")
    ),
    registry.Method(
        "dyna_q",
        "Dyna-Q",
        _log(config.DynaQConfig, config.DYNA_Q_SPACE, "dyna_q", "DynaQLearner"),
    ),
    registry.Method(
        "rainbow",
        "Rainbow",
        _log(config.RainbowConfig, config.RAINBOW_SPACE, "rainbow", "RainbowLearner"),
    ),
    registry.Method(
        "item_counts",
        "Item counts",
        registry.LogForm(
            config.ItemCountsConfig,
            config.ITEM_COUNTS_SPACE,
            registry.deferred("tfrec.baselines.item_counts", "ItemCountsLearner"),
        ),
    ),
    registry.Method(
        "td3",
        "TD3",
        _log(config.Td3Config, config.TD3_SPACE, "td3", "Td3Learner"),
        _online(online_config.OnlineTd3Config, "td3"),
    ),
    registry.Method("sac", "SAC (TF-Agents)", online=_online(online_config.SacConfig, "sac")),
    registry.Method("ddpg", "DDPG", online=_online(online_config.DdpgConfig, "ddpg")),
    registry.Method(
        "slateq",
        "SlateQ",
        online=_online(online_config.SlateqConfig, "slateq"),
        needs_items=True,
    ),
    registry.Method(
        "reinforce", "REINFORCE", online=_online(online_config.ReinforceConfig, "reinforce")
    ),
    registry.Method(
        "deers",
        "DEERS",
        online=_online(online_config.DeersConfig, "deers"),
        needs_items=True,
        needs_features=True,
    ),
    registry.Method("kgrl", "KGRL", online=_online(online_config.KgrlConfig, "kgrl")),
    registry.Method(
        "tpgr", "TPGR", online=_online(online_config.TpgrConfig, "tpgr"), needs_items=True
    ),
    registry.Method(
        "pgpr", "PGPR without a graph", online=_online(online_config.PgprConfig, "pgpr")
    ),
):
    registry.register(_method)
