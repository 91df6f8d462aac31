"""Registry of the environments in which methods learn by playing.

    environment = registry.get("recsim")
    simulator = environment.make(environment.config(slate=3))

`make` imports an environment's module, because importing TensorFlow takes seconds.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tfrec.errors import UserError
from tfrec.options import Options, option

if TYPE_CHECKING:
    from tfrec.environments import contract


@dataclasses.dataclass(frozen=True)
class RecSimConfig(Options):
    """RecSim's interest evolution."""

    candidates: int = option(10, "documents to choose from", at_least=1)
    slate: int = option(2, "documents in a slate", at_least=1)
    reward: Literal["watch_time", "clicks"] = option("watch_time", "reward of a step")


@dataclasses.dataclass(frozen=True)
class RecoGymConfig(Options):
    """RecoGym v1."""

    products: int = option(100, "products", at_least=1)
    flips: int = option(50, "pairs of products whose clicks are swapped", at_least=0)


@dataclasses.dataclass(frozen=True)
class VirtualTbConfig(Options):
    """VirtualTB; its publisher distributes the networks."""

    virtualtb_path: str = option("", "a clone of VirtualTaobao, or its data folder (required)")

    def __post_init__(self):
        super().__post_init__()
        if not self.virtualtb_path:
            raise ValueError(
                "virtualtb_path is empty: VirtualTB's networks are not part of this project; "
                "expected the folder of a clone: "
                "git clone https://github.com/eyounx/VirtualTaobao"
            )


@dataclasses.dataclass(frozen=True)
class UsersConfig(Options):
    """Simulated users of a prepared log."""

    data: str = option(
        "runs/data", "folder of the prepared data; sessions start from its logged histories"
    )
    world: str = option(
        "truth",
        "simulated users: a folder written by fit_simulator; `truth` for the ground truth of "
        "the embedded log; or `lookup` for users with the clicks of the log",
    )
    item_width: int = option(16, "width of an item's vector, from the log", at_least=1)
    item_taste: Literal["co_clicks", "factors"] = option(
        "co_clicks",
        "what an item's vector says of taste: co_clicks, which items are clicked by the same "
        "users; factors, those of the users' clicks (PureSVD), whose inner products rank",
    )


@dataclasses.dataclass(frozen=True)
class GymnasiumConfig(Options):
    """A Gymnasium environment that the user provides."""

    gym_id: str = option("", "id of a registered Gymnasium environment (required)")
    gym_module: str = option(
        "", "module that registers the environment, imported first; empty for none"
    )
    gym_steps: int = option(
        1_000,
        "steps after which a session is cut, if the environment sets no limit",
        at_least=1,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.gym_id:
            raise ValueError(
                "gym_id is empty; expected the id of a registered environment, such as "
                "Pendulum-v1"
            )


class Environment(NamedTuple):
    """An environment of the registry.

    Attributes:
      name: name in flags and folders.
      title: title in tables and plots.
      config: class of the configuration, a frozen dataclass.
      make: makes the simulator of a configuration.
      metric: metric of tuning, reward or CTR of a session.
      of_log: whether its users and items are those of a prepared log. Methods then learn to
        rank the log's items and are saved as agents.
      paths: fields of the configuration that are paths. Their files are identified by
        content (`Simulator.inputs`), not by name.
    """

    name: str
    title: str
    config: type[Any]
    make: Callable[[Any], contract.Simulator]
    metric: Literal["reward", "ctr"]
    paths: tuple[str, ...] = ()
    of_log: bool = False

    def identity(self, config: Any) -> dict[str, Any]:
        """The recorded identity: the name and the fields that determine the simulator."""
        values = dataclasses.asdict(config).items()
        return {"environment": self.name, **{k: v for k, v in values if k not in self.paths}}


def _recsim(config: RecSimConfig) -> contract.Simulator:
    from tfrec.environments.ports import recsim, seen

    return seen.RememberedEvolution(
        recsim.InterestEvolutionConfig(config.candidates, config.slate, config.reward)
    )


def _recogym(config: RecoGymConfig) -> contract.Simulator:
    from tfrec.environments.ports import recogym, recogym_posterior

    return recogym_posterior.ControlledRecoGym(
        recogym.RecoGymV1Config(products=config.products, flips=config.flips)
    )


def _virtualtb(config: VirtualTbConfig) -> contract.Simulator:
    from tfrec.environments.ports import seen

    return seen.ScaledTaobao(pathlib.Path(config.virtualtb_path))


def _users(config: UsersConfig) -> contract.Simulator:
    from tfrec.environments import log_users

    return log_users.load(config.data, config.world, config.item_width, config.item_taste)


def _gymnasium(config: GymnasiumConfig) -> contract.Simulator:
    from tfrec.environments.adapters import gymnasium_simulator

    return gymnasium_simulator.GymnasiumSimulator(
        config.gym_id, config.gym_module, config.gym_steps
    )


ENVIRONMENTS: dict[str, Environment] = {
    environment.name: environment
    for environment in (
        Environment("recsim", "RecSim interest evolution", RecSimConfig, _recsim, "reward"),
        Environment("recogym", "RecoGym v1", RecoGymConfig, _recogym, "ctr"),
        Environment(
            "virtualtb", "VirtualTB", VirtualTbConfig, _virtualtb, "ctr", ("virtualtb_path",)
        ),
        Environment(
            "users",
            "simulated users of a log",
            UsersConfig,
            _users,
            "reward",
            ("data", "world"),
            of_log=True,
        ),
        Environment(
            "gymnasium", "Gymnasium environment", GymnasiumConfig, _gymnasium, "reward"
        ),
    )
}


def get(name: str) -> Environment:
    """Looks an environment up by name.

    Raises:
      UserError: if no environment has that name.
    """
    if name not in ENVIRONMENTS:
        raise UserError(f"no environment {name!r}; there are {', '.join(ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


def simulator(name: str, config: Any) -> contract.Simulator:
    """Makes the simulator of a configuration.

    Args:
      name: name of the environment.
      config: configuration of the environment's class.

    Raises:
      UserError: if files are missing or damaged, or values do not fit together.
    """
    try:
        return get(name).make(config)
    except ValueError as error:
        raise UserError(f"--environment={name}: {error}") from error
