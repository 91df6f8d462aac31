"""Every method under its name: its configuration, what to tune in it, how to make and keep it.

    method = methods.get("rainbow")
    config = method.config(learning_rate=3e-4)
    learner = method.make(config, spec, log, world, methods.item_vectors(config, log, spec), 0)
    ...
    methods.save(folder, "rainbow", config, learner, data.vocabulary, about)
    agent = methods.load(folder)  # ranks under `agent.named_goals`, as GoalRec's do

A method's modules are imported when it is asked for: TF-Agents takes seconds to import.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config as goalrec_config
from tfgoalrec import learner as goalrec_learner
from tfgoalrec import measurements as goalrec_measurements
from tfgoalrec import trained
from tfrec import options, outputs, types, weights
from tfrec.data import identity
from tfrec.data import item_vectors as item_vectors_lib
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.environments import session
from tfrec.errors import UserError
from tfrec.training import checkpoint, loop

if TYPE_CHECKING:
    import tensorflow as tf

Name = Literal["wide_and_deep", "dien", "dyna_q", "rainbow", "td3", "goalrec", "goalrec_off"]
HELP = f"{', '.join(get_args(Name))}; with one of them, --help lists its own flags too"

_ABOUT = "method.json"
_GOALREC = "agent.json"  # GoalRec keeps its agents itself
_CHECKPOINT = "checkpoint"
_FIELDS = ("method", "config", "spec", "about")


class Learner(loop.Learner, Protocol):
    """A learner of any method.

    Attributes:
      total_units: units of work in a whole run.
      acting: the modules whose weights `policy()` reads, all that is kept in the end.
    """

    total_units: int
    acting: tf.Module

    def policy(self) -> session.Policy:
        """The policy that is judged: greedy, without exploration."""


class Parts(NamedTuple):
    """What a method's modules give.

    Attributes:
      config: a frozen dataclass, every field with a default.
      space: field -> its choices when the method is tuned.
      learner: makes a learner of (config, spec, log, world, item_vectors, seed).
      check: raises ValueError if a configuration does not fit the spec of a log; called
        before any work.
    """

    config: type[Any]
    space: Mapping[str, tuple]
    learner: Callable[..., Learner]
    check: Callable[[Any, types.DataSpec], None] = lambda config, spec: None


class Method:
    """One method of the registry.

    Args:
      name: in flags and folders.
      title: in tables.
      parts: imports the method's modules.
      plays: whether it learns from play; otherwise from the log alone.
    """

    def __init__(self, name: str, title: str, parts: Callable[[], Parts], plays: bool = True):
        self.name, self.title, self.plays = name, title, plays
        self._import = parts

    @functools.cached_property
    def _parts(self) -> Parts:
        return self._import()

    @property
    def config(self) -> type[Any]:
        return self._parts.config

    @property
    def space(self) -> dict[str, tuple]:
        return dict(self._parts.space)

    def check(self, config: Any, spec: types.DataSpec) -> None:
        """Refuses a configuration that `make` would refuse for what it declares.

        Raises:
          ValueError: if the configuration does not fit the log; names the field.
        """
        self._parts.check(config, spec)

    def make(
        self,
        config: Any,
        spec: types.DataSpec,
        log: types.Episodes,
        world: session.World | None,
        item_vectors: np.ndarray,
        seed: int,
    ) -> Learner:
        """A learner at its first round.

        Args:
          config: of this method's class.
          spec: the log's spec.
          log: training sessions, numpy arrays.
          world: who answers; None to learn from the log alone. A method that does not
            play leaves it aside.
          item_vectors: float [N + 1, >= width], see `item_vectors`.
          seed: of the weights and of all later draws.

        Raises:
          ValueError: if the configuration does not fit the log; names the field.
        """
        world = world if self.plays else None
        return self._parts.learner(config, spec, log, world, item_vectors, seed)


def _goalrec() -> Parts:
    def measured(config, spec, frozen):
        try:
            return goalrec_measurements.Measurements(config.measurements, spec, frozen)
        except ValueError as error:
            raise ValueError(f"measurements: {error}") from error

    def check(config, spec):
        frozen = np.zeros([1, config.frozen_embedding], np.float32)
        measurements = measured(config, spec, frozen)
        try:
            goalrec_agent.default_goals(config, spec, measurements)
        except ValueError as error:
            raise ValueError(f"goals: {error}") from error

    def learner(config, spec, log, world, item_vectors, seed):
        measurements = measured(config, spec, item_vectors[:, : config.frozen_embedding])
        measurements.fit(log)
        try:
            agent = goalrec_agent.GoalRecAgent(config, spec, measurements, item_vectors, seed)
        except ValueError as error:
            raise ValueError(f"goals: {error}") from error
        return goalrec_learner.GoalRecLearner(agent, log, world)

    return Parts(goalrec_config.GoalRecConfig, goalrec_config.SPACE, learner, check)


def _wide_and_deep() -> Parts:
    from tfrec.baselines import wide_and_deep as module

    return Parts(module.WideAndDeepConfig, module.SPACE, module.WideAndDeepLearner)


def _dien() -> Parts:
    from tfrec.baselines import dien_ranker as module

    return Parts(module.DienConfig, module.SPACE, module.DienLearner)


def _dyna_q() -> Parts:
    from tfrec.baselines import dyna_q as module

    return Parts(module.DynaQConfig, module.SPACE, module.DynaQLearner)


def _rainbow() -> Parts:
    from tfrec.baselines import rainbow as module

    return Parts(module.RainbowConfig, module.SPACE, module.RainbowLearner)


def _td3() -> Parts:
    from tfrec.baselines import td3 as module

    return Parts(module.Td3Config, module.SPACE, module.Td3Learner)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("wide_and_deep", "Wide&Deep", _wide_and_deep),
        Method("dien", "DIEN", _dien),
        Method("dyna_q", "Dyna-Q", _dyna_q),
        Method("rainbow", "Rainbow", _rainbow),
        Method("td3", "TD3", _td3),
        Method("goalrec", "GoalRec", _goalrec),
        Method("goalrec_off", "GoalRec-off", _goalrec, plays=False),
    )
}


def get(name: str) -> Method:
    """A method by its name.

    Raises:
      UserError: if there is none of that name.
    """
    if name not in METHODS:
        raise UserError(f"no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def item_vectors(config: Any, log: types.Episodes, spec: types.DataSpec) -> np.ndarray:
    """Item vectors of the training log, as wide as a method's configuration asks."""
    width = max(config.embedding, getattr(config, "frozen_embedding", 0))
    return item_vectors_lib.log_vectors(log, spec.num_items, width)


class Agent(Protocol):
    """A trained agent of any method; a method without goals has one, named ''.

    Attributes:
      spec: the log's spec.
      named_goals: goals by name.
      fingerprint: hash of weights, configuration and ids.
    """

    spec: types.DataSpec
    named_goals: dict[str, np.ndarray]

    fingerprint: str

    def origin(self, path: str | pathlib.Path) -> identity.Origin:
        """The prepared data that it was trained on; `path` is the agent's folder."""

    def policy(self, goal: np.ndarray | tf.Tensor | tf.Variable) -> session.Policy:
        """Greedy for a goal, float [M]; a variable may change between plays."""


class TrainedMethod:
    """A baseline that is kept: it ranks items for its one goal, the reward.

    Attributes:
      method: its name in the registry.
      config: the method's numbers.
      spec: the log's spec.
      named_goals: one goal, named '' and without numbers.
      vocabulary: raw ids.
      about: data fingerprint, seed and the like.
      fingerprint: hash of weights, configuration and ids; empty until it is loaded.
    """

    fingerprint: str = ""

    def __init__(
        self,
        method: str,
        config: Any,
        learner: Learner,
        spec: types.DataSpec,
        vocabulary: vocabulary_lib.Vocabulary,
        about: Mapping[str, Any],
    ):
        self.method, self.config, self.spec = method, config, spec
        self.vocabulary, self.about = vocabulary, dict(about)
        self.named_goals: dict[str, np.ndarray] = {"": np.zeros([0], np.float32)}
        self._learner = learner

    def contents(self) -> dict[str, Any]:
        """Fingerprints of the files beside method.json: `ids` and `weights`."""
        variables = checkpoint.named_variables(self._learner.acting)
        weights = {name: variable.numpy() for name, variable in variables.items()}
        return {
            "ids": identity.ids_of(self.vocabulary, self.spec),
            "weights": identity.fingerprint(weights),
        }

    def origin(self, path: str | pathlib.Path) -> identity.Origin:
        """The prepared data that the agent was trained on.

        Args:
          path: the agent's folder, for messages.
        """
        return identity.trained(path, self.vocabulary, self.spec, self.about)

    def policy(self, goal: Any = None) -> session.Policy:
        """The policy that is judged; the goal is not looked at."""
        del goal
        return self._learner.policy()


def save(
    directory: str | pathlib.Path,
    name: str,
    config: Any,
    spec: types.DataSpec,
    learner: Learner,
    vocabulary: vocabulary_lib.Vocabulary,
    about: Mapping[str, Any],
) -> None:
    """Writes what acts, once learning is over; an agent that is there is replaced.

    Args:
      directory: the folder to write.
      name: of the method.
      config: the learner's.
      spec: the learner's.
      learner: whose policy is kept.
      vocabulary: the log's ids.
      about: where it comes from: data fingerprint, seed and the like.

    Raises:
      NonFiniteWeightsError: if a weight is not finite; nothing is written.
      UserError: if the folder cannot be written; nothing is left behind.
    """
    if isinstance(learner, goalrec_learner.GoalRecLearner):
        learner.agent.trained(vocabulary, about).save(directory)
        return
    directory = pathlib.Path(directory)
    weights.check(
        checkpoint.named_variables(learner.acting).items(), f"{directory}: not written"
    )
    agent = TrainedMethod(name, config, learner, spec, vocabulary, about)
    kept = {
        "method": name,
        "config": options.resolved(config),
        "spec": dataclasses.asdict(spec),
        "about": options.resolved(dict(about)),
        **agent.contents(),
    }
    with outputs.replacing_folder(directory) as partial:
        vocabulary.save(partial)
        checkpoint.write(partial / _CHECKPOINT, learner.acting, kept["config"])
        (partial / _ABOUT).write_text(json.dumps(kept, indent=2) + "\n")


def load(directory: str | pathlib.Path) -> Agent:
    """Opens the folder of a trained agent, GoalRec's or a baseline's.

    Raises:
      UserError: if it is not one, or is damaged.
    """
    directory = pathlib.Path(directory)
    path = directory / _ABOUT
    if not path.exists():
        if (directory / _GOALREC).exists():
            return trained.load(directory)
        raise UserError(
            f"{directory}: no trained agent here (no {_GOALREC}, no {_ABOUT}); expected a "
            "folder that `python -m launch.train_goalrec` or `launch.train_baseline` wrote"
        )
    try:
        kept = json.loads(path.read_text())
        absent = [name for name in _FIELDS if name not in kept]
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    if absent:
        raise UserError(f"{path}: damaged: no {', '.join(absent)}; train the agent again")
    method, spec = get(kept["method"]), types.DataSpec.restored(kept["spec"])
    config = options.restored(method.config, kept["config"])
    # Its learner is the way to its networks. One session stands for the log; the weights
    # that depended on the log are in the checkpoint.
    small = dataclasses.replace(config, replay_sessions=1, sessions_per_round=1)
    vectors = np.zeros((spec.num_items + 1, config.embedding), np.float32)
    learner = method.make(small, spec, _one_session(spec), None, vectors, seed=0)
    checkpoint.read(directory / _CHECKPOINT, learner.acting)
    vocabulary = vocabulary_lib.load(directory)
    agent = TrainedMethod(method.name, config, learner, spec, vocabulary, kept["about"])
    kept = identity.verified(path, kept, agent.contents(), "Train the agent again")
    decisive = ("method", "config", "ids", "weights")
    agent.fingerprint = identity.fingerprint({name: kept[name] for name in decisive})
    return agent


def _one_session(spec: types.DataSpec) -> types.Episodes:
    history, steps, columns = spec.history_length, spec.max_steps, len(spec.feedback)
    item = np.zeros([1, steps], np.int32)
    item[0, 0] = 1
    return types.Episodes(
        user=np.ones([1], np.int32),
        history_item=np.zeros([1, history], np.int32),
        history_feedback=np.zeros([1, history, columns], np.float32),
        item=item,
        feedback=np.zeros([1, steps, columns], np.float32),
        length=np.ones([1], np.int32),
        exited=np.ones([1], bool),
    )
