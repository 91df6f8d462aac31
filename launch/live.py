"""Live simulators and the methods that learn in them, by name, with numbers that fit.

    simulator = live.simulator("recsim", live.SimulatorConfig())
    config = live.config_class("imrl", "recsim")()
    method = live.make("imrl", config, simulator, seed=0)

A method's module is imported when it is asked for: TF-Agents takes seconds to import.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pathlib
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from launch import log_users
from tfrec.data import identity
from tfrec.environments import contract, playing, worlds
from tfrec.environments.ports import recogym, recogym_posterior, recsim, seen, virtualtb
from tfrec.errors import UserError
from tfrec.methods import online_learner
from tfrec.options import Options, option

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrec.environments.playing import Policy, Turn
    from tfrec.methods.online import Method

SimulatorName = Literal["recsim", "recogym", "virtualtb", "users"]
SIMULATORS: tuple[str, ...] = get_args(SimulatorName)
PUBLIC = ("recsim", "recogym", "virtualtb")  # published ones; the paper's figures are of them
TITLES = {
    "users": "simulated users of a log",
    "recsim": "RecSim interest evolution",
    "recogym": "RecoGym v1",
    "virtualtb": "VirtualTB",
}
# What tuning looks at.
METRIC = {"recsim": "reward", "recogym": "ctr", "virtualtb": "ctr", "users": "reward"}


@dataclasses.dataclass(frozen=True)
class SimulatorConfig(Options):
    """Which form of a simulator; of others than the one at hand nothing is looked at."""

    virtualtb_path: str = option("", "VirtualTB: a clone of VirtualTaobao, or its data folder")
    candidates: int = option(10, "RecSim: documents to choose from", at_least=1)
    slate: int = option(2, "RecSim: documents in a slate", at_least=1)
    reward: Literal["watch_time", "clicks"] = option("watch_time", "RecSim: what is paid")
    products: int = option(100, "RecoGym: products", at_least=1)
    flips: int = option(50, "RecoGym: pairs of products whose clicks are swapped", at_least=0)
    data: str = option("", "users: folder of prepared data, whose sessions begin the play")
    world: str = option(
        "truth",
        "users: a folder that fit_simulator wrote, or `truth` for the ground truth of the "
        "embedded log",
    )
    item_width: int = option(16, "users: width of an item's vector, from the log", at_least=1)


def simulator(name: str, config: SimulatorConfig) -> contract.Simulator:
    """A simulator by its name.

    Raises:
      UserError: if it is not there or does not go with its numbers.
    """
    try:
        if name == "recsim":
            return seen.RememberedEvolution(
                recsim.InterestEvolutionConfig(config.candidates, config.slate, config.reward)
            )
        if name == "recogym":
            return recogym.RecoGymV1(
                recogym.RecoGymV1Config(products=config.products, flips=config.flips)
            )
    except ValueError as error:
        raise UserError(f"--simulator={name}: {error}") from error
    if name == "users":
        if not config.data:
            raise UserError("--data: simulated users need the folder of prepared data")
        return log_users.load(config.data, config.world, config.item_width)
    if not config.virtualtb_path:
        raise UserError(
            "--virtualtb_path: VirtualTB's networks are not part of this project. Expected the "
            "folder of a clone: git clone https://github.com/eyounx/VirtualTaobao"
        )
    return seen.ScaledTaobao(pathlib.Path(config.virtualtb_path))


def at_split(made: contract.Simulator, split: str) -> contract.Simulator:
    """Simulated users of a log whose sessions begin in a split; a public simulator itself."""
    return made.of_split(split) if isinstance(made, log_users.LogUsers) else made


# Fields of SimulatorConfig that decide what a simulator answers. VirtualTB's weights do.
_FORM: dict[str, tuple[str, ...]] = {
    "recsim": ("candidates", "slate", "reward"),
    "recogym": ("products", "flips"),
    "virtualtb": (),
    "users": ("item_width",),
}


def form(name: str, config: SimulatorConfig) -> dict[str, Any]:
    """A simulator's name and the fields that decide what it answers, to be recorded."""
    return {"simulator": name, **{field: getattr(config, field) for field in _FORM[name]}}


def inputs(config: SimulatorConfig, made: contract.Simulator) -> dict[str, identity.Source]:
    """The files that a simulator was read from, as inputs of a run or a study.

    Args:
      config: which form of it.
      made: the simulator.
    """
    if isinstance(made, log_users.LogUsers):
        return worlds.inputs(made.data, config.world, made.world)
    if not isinstance(made, virtualtb.VirtualTaobao):
        return {}
    return {"virtualtb": identity.Source(config.virtualtb_path, made.fingerprint)}


def _controls(name: str, simulator: contract.Simulator) -> dict[str, Callable[[Any], Policy]]:
    """The controls of a simulator: name -> makes the policy."""
    if isinstance(simulator, log_users.LogUsers):
        make = log_users.LogUsers.control
        return {each: functools.partial(make, name=each) for each in simulator.controls()}
    if name == "recsim":
        return {
            "random": playing.random,
            "top_interest": recsim.top_interest,
            "top_quality": recsim.top_quality,
            "heuristic": recsim.interest_times_quality,
        }
    if name == "recogym":
        return {
            "random": playing.random,
            "last_viewed": recogym.last_viewed,
            "most_viewed": recogym.most_viewed,
            "best_product": recogym.best_product,
            "bayes": recogym_posterior.bayes_optimal,
            "oracle": recogym.oracle,
        }
    return {"random": playing.random, "constant": constant}


def controls(name: str, simulator: contract.Simulator) -> tuple[str, ...]:
    """Names of a simulator's controls."""
    return tuple(_controls(name, simulator))


def control(
    name: str, control_name: str, simulator: contract.Simulator
) -> tuple[contract.Simulator, Policy]:
    """A control, and the simulator that it plays in."""
    if isinstance(simulator, seen.RememberedEvolution):  # the same users, without the memory
        simulator = recsim.InterestEvolution(simulator.config)
    if control_name == "bayes":  # plays in a simulator of its own
        assert isinstance(simulator, recogym.RecoGymV1)
        simulator = recogym_posterior.Believing(simulator)
    return simulator, _controls(name, simulator)[control_name](simulator)


def constant(simulator: virtualtb.VirtualTaobao) -> Policy:
    """One action for everybody, found by climbing the simulator's own click model."""
    import tensorflow as tf

    action = tf.constant(virtualtb.constant_action(simulator, seed=0))

    def policy(turn: Turn) -> tf.Tensor:
        return tf.repeat(action[None], tf.shape(turn.observation)[0], axis=0)

    return policy


_IMRL = "tfimrl.imrl_method"
_GOALREC = "tfgoalrec.online"


class _Known(NamedTuple):
    """A method of the registry.

    Attributes:
      title: in plots and tables.
      module: full name, with `CONFIG`.
      maker: the class in it.
      changes: fields that make it what its name says.
    """

    title: str
    module: str
    maker: str
    changes: Mapping[str, Any] = {}


def _imrl(title: str, **changes: Any) -> _Known:
    return _Known(title, _IMRL, "ImrlMethod", changes)


def _baseline(title: str, name: str) -> _Known:
    return _Known(title, f"tfrec.baselines.online.{name}", name.capitalize())


METHODS: dict[str, _Known] = {
    "imrl": _imrl("IMRL"),
    "imrl_e": _imrl("IMRL-E (no empowerment)", exploration="entropy"),
    "imrl_a": _imrl("IMRL-A (no augmentation)", augmentation="none"),
    "imrl_kl": _imrl("IMRL-KL (our reading)", exploration="kl"),
    "imrl_ea": _imrl("neither: our SAC", exploration="entropy", augmentation="none"),
    # Controls of augmentation, without empowerment.
    "imrl_e_copies": _imrl(
        "IMRL-E, copies without an exchange", exploration="entropy", augmentation="copies"
    ),
    "imrl_e_one": _imrl("IMRL-E, one copy (Algorithm 1)", exploration="entropy", copies=1),
    "imrl_e_learned": _imrl(
        "IMRL-E, learned graph", exploration="entropy", augmentation="learned"
    ),
    "goalrec": _Known("GoalRec", _GOALREC, "OnlineGoalRec"),
    "sac": _baseline("SAC (TF-Agents)", "sac"),
    "td3": _baseline("TD3", "td3"),
    "ddpg": _baseline("DDPG", "ddpg"),
    "slateq": _baseline("SlateQ", "slateq"),
    "reinforce": _baseline("REINFORCE", "reinforce"),
    "deers": _baseline("DEERS", "deers"),
    "kgrl": _baseline("KGRL", "kgrl"),
    "tpgr": _baseline("TPGR", "tpgr"),
    "pgpr": _baseline("PGPR", "pgpr"),
}
HELP = f"{', '.join(METHODS)}; with a method and a simulator, --help lists their flags too"

# Numbers that fit a simulator, for each of the methods that have such a field; all ours. Where
# a small difference in much noise has to be found, small networks and large batches find it.
_FITTED: dict[str, dict[str, Any]] = {
    "recsim": {
        "hidden": (64,),
        "batch": 1024,
        "learning_rate": 1e-3,
        "tau": 0.1,
        "discount": 0.9995,  # a session's end, 150 steps away, is what a choice puts off
        "twins": "mean",
        "target_entropy": 0.0,
        "beta": 1e-4,  # at .01 the intrinsic term outweighs the reward
        "augmentation": "heuristic",  # not exact here, see RememberedEvolution.structure
        "threshold_max": 4.0,  # minutes
        "reward_scale": 0.02,  # a session is worth 6, which networks reach soon
        "initial_temperature": 0.004,
        "replay_size": 400_000,
        "item_graph": False,  # documents change at every step
    },
    "recogym": {
        "hidden": (64,),
        "batch": 512,  # each step is learned from twice; oftener, its noise is learned
        "learning_rate": 1e-3,
        "final_rate": 0.05,
        "tau": 0.02,
        "discount": 0.3,  # no recommendation changes what comes later, but for a click
        "target_entropy": 0.2,
        "softness": 0.5,  # of a hundred products, or gradients reach the best one alone
        "beta": 1e-4,
        "augmentation": "true",  # which allows nothing: made-up clicks would be another user's
        "vectors": "views",
        "vector_width": 8,
        "vector_sessions": 1_000,
        "reward_scale": 10.0,  # a click in a hundred steps
        "initial_temperature": 0.001,
        "replay_size": 1_000_000,
        "choice_model": False,  # a slate is one product
    },
    "virtualtb": {
        "hidden": (128, 128),
        "learning_rate": 1e-3,
        "tau": 0.02,
        "discount": 0.5,  # no action changes what comes later
        "target_entropy": 1 / 9,
        # The true graph allows no exchange; users left out of it, which costs some reward.
        "augmentation": "heuristic",
        "copies": 64,  # everything clicked is 1 random step in 700, and half of each batch
        "threshold_max": 10.0,  # clicks
        "threshold_ramp": 0.02,
        "reward_scale": 0.1,
        "initial_temperature": 0.01,
        "replay_size": 400_000,
        "item_graph": False,  # an action is a point, and no item
        "action_dropout": 0.0,
    },
    "users": {
        "hidden": (128,),
        "batch": 512,
        "learning_rate": 1e-3,
        "tau": 0.02,
        "final_rate": 0.05,
        "discount": 0.98,
        "target_entropy": 0.0,
        "beta": 1e-4,
        # The rule of thumb exchanges tastes, which decide what is clicked: it unlearned what
        # had been learned.
        "augmentation": "learned",
        "threshold_max": 1.0,  # a click
        "initial_temperature": 0.01,
        "replay_size": 400_000,
        "choice_model": False,  # a slate is one item
    },
}
# Numbers that differ for the methods of a module.
_FITTED_MODULE: dict[str, dict[str, dict[str, Any]]] = {
    # IMRL's critics judge products by their number, as a shrunk linear function of the user for
    # each. One with hidden layers finds which products are good for all, and takes the noise of
    # a click in fifty for what users differ in.
    _IMRL: {
        "recogym": {
            "vectors": "viewers",
            "vector_width": 16,
            "critic": "bilinear",
            "critic_decay": 0.0004,
            "refined": 10,
            "batch": 1024,
            "update_factor": 2,
        }
    },
    _GOALREC: {
        # Wide advantage streams learn the noise of the sums, which is far larger than what one
        # document changes in them.
        "recsim": {
            "horizon": 200,  # steps; longer than nearly all sessions
            "learning_rate": 2e-3,
            "tau": 0.003,
            "stream": 16,
            "item_vector": 2,
            "goal_units": 4,
            "replay_size": 700_000,
        },
        # Most products are poor: tries of the best tenth tell which of them is best.
        "recogym": {
            "horizon": 4,
            "tau": 0.003,
            "stream": 16,
            "item_vector": 4,
            "goal_units": 4,
            "dropout": 0.0,
            "epsilon_end": 0.2,
            "action_pool": 0.1,
        },
        "users": {"horizon": 16, "tau": 0.01},
    },
}
# What tuning chooses from, of the fields that a method has.
_SPACE: dict[str, tuple] = {
    "learning_rate": (3e-4, 1e-3, 3e-3),
    "batch": (256, 1024),
    "update_factor": (1, 2, 4),
    "tau": (0.005, 0.02, 0.1),
    "exploration_noise": (0.05, 0.1, 0.3),
    "entropy": (0.001, 0.01, 0.1),
    "target_entropy": (-1.0, 0.0, 0.2),
    "epsilon_end": (0.02, 0.05, 0.2),
    "action_dropout": (0.2, 0.5, 0.8),
}
# The same of baselines in a simulator: IMRL's critics ask for `viewers`.
_SPACE_THERE: dict[str, dict[str, tuple]] = {"recogym": {"vectors": ("views", "viewers")}}
# What has no choice in a simulator.
_NOT_TUNED: dict[str, tuple[str, ...]] = {"virtualtb": ("action_dropout",)}
# They learn from each step once, at a rate of their own.
_ON_POLICY = ("reinforce", "tpgr", "pgpr")
_SIZES: dict[str, dict[str, Any]] = {
    "recsim": {"stretch": 32, "updates": 36, "warm_up": 40_000, "total_units": 300},
    "recogym": {"sessions": 256, "stretch": 32, "updates": 32, "warm_up": 50_000,
                "total_units": 100, "test_every": 10, "test_sessions": 2_000},
    "virtualtb": {"sessions": 128, "stretch": 8, "updates": 32, "warm_up": 50_000,
                  "total_units": 200, "test_every": 10},
    "users": {"sessions": 256, "stretch": 8, "updates": 32, "warm_up": 20_000,
              "total_units": 200, "test_every": 20, "test_sessions": 1_000},
}  # fmt: skip


def sizes_class(simulator_name: str) -> type[online_learner.OnlineConfig]:
    """How much is played, with a simulator's own numbers as defaults."""
    return _with_defaults(online_learner.OnlineConfig, _SIZES[simulator_name])


def config_class(method: str, simulator_name: str) -> type[Any]:
    """A method's configuration, with defaults that fit a simulator."""
    known = get(method)
    plain = _module(known).CONFIG
    fields = {field.name for field in dataclasses.fields(plain)}
    numbers = dict(_FITTED[simulator_name])
    numbers |= _FITTED_MODULE.get(known.module, {}).get(simulator_name, {})
    fitted = {
        name: value
        for name, value in numbers.items()
        if name in fields and not (name == "learning_rate" and method in _ON_POLICY)
    }
    return _with_defaults(plain, fitted | dict(known.changes))


def get(method: str) -> _Known:
    """A method by its name.

    Raises:
      UserError: if there is none of that name.
    """
    if method not in METHODS:
        raise UserError(f"no method {method!r}; there are {', '.join(METHODS)}")
    return METHODS[method]


def space(method: str, simulator_name: str, fields: tuple[str, ...] = ()) -> dict[str, tuple]:
    """What tuning chooses from: field -> choices.

    Args:
      method: its name.
      simulator_name: where it learns.
      fields: only these; empty for all.

    Raises:
      UserError: if a field is not tuned.
    """
    known = get(method)
    choices = dict(_SPACE)
    if known.module != _IMRL:
        choices |= _SPACE_THERE.get(simulator_name, {})
    names = {field.name for field in dataclasses.fields(_module(known).CONFIG)}
    names -= set(_NOT_TUNED.get(simulator_name, ()))
    found = {name: values for name, values in choices.items() if name in names}
    unknown = [name for name in fields if name not in found]
    if unknown:
        raise UserError(
            f"--fields={','.join(unknown)}: not in the space of {method}, which is "
            f"{', '.join(found)}"
        )
    return {name: found[name] for name in fields or found}


def make(method: str, config: Any, simulator: contract.Simulator, seed: int) -> Method:
    """A method at its beginning.

    Raises:
      ValueError: if it does not go with the simulator.
    """
    known = get(method)
    return getattr(_module(known), known.maker)(config, simulator, seed)


def fitting(config: Any, sizes: online_learner.OnlineConfig) -> Any:
    """The configuration with a replay no larger than the run has steps.

    Who plays at random for some steps does so until learning begins: a policy that has learned
    nothing tells nobody more.
    """
    changes: dict[str, Any] = {}
    if hasattr(config, "replay_size"):
        steps = sizes.total_units * sizes.sessions * sizes.stretch
        changes["replay_size"] = min(config.replay_size, steps)
    if hasattr(config, "random_steps"):
        changes["random_steps"] = max(config.random_steps, sizes.warm_up)
    return dataclasses.replace(config, **changes)


def _module(known: _Known) -> Any:
    return importlib.import_module(known.module)


def _with_defaults(config: type[Any], defaults: Mapping[str, Any]) -> type[Any]:
    """The same dataclass with other defaults."""
    hints = typing.get_type_hints(config)
    fields = [
        (
            field.name,
            hints[field.name],
            dataclasses.field(default=defaults[field.name], metadata=field.metadata),
        )
        for field in dataclasses.fields(config)
        if field.name in defaults
    ]
    absent = set(defaults) - {name for name, *_ in fields}
    if absent:
        raise KeyError(f"{config.__name__} has no {', '.join(sorted(absent))}")
    return dataclasses.make_dataclass(config.__name__, fields, bases=(config,), frozen=True)
