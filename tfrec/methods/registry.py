"""The registry of methods: names, supported environments, and formats of saved agents.

    method = registry.get("rainbow")
    config = method.config(learning_rate=3e-4)
    learner = method.make(config, spec, log, world, None, seed=0)
    ...
    method.trained(config, spec, learner, data.vocabulary, about).save(folder)
    agent = registry.load(folder)

    method = registry.get("imrl", "recsim").online.maker(config, simulator, seed=0)

A package registers its methods on import: `tfrec.baselines` the baselines, `tfgoalrec` GoalRec,
`tfimrl` IMRL and its ablations. Configurations need no TensorFlow. Modules of learners are
imported when a learner is made, because importing TensorFlow and TF-Agents takes seconds.
"""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from tfrec import options, types
from tfrec.errors import UserError
from tfrec.methods import trained as trained_lib
from tfrec.methods.log_config import OF_PLAY, StateConfig

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrec.data import vocabulary as vocabulary_lib
    from tfrec.environments import contract, user_models
    from tfrec.methods import online as online_lib


class Learner(Protocol):
    """A learner of any method; also a `tfrec.training.loop.Learner`.

    Attributes:
      iteration: int64 scalar variable, completed iterations.
      total_iterations: iterations in a complete run.
      acting: the modules whose weights `policy()` reads and an agent saves.
    """

    iteration: tf.Variable
    total_iterations: int
    acting: tf.Module

    def advance(self) -> dict[str, Any]:
        """Runs one iteration; returns metrics to log."""

    def policy(self) -> contract.Policy:
        """The evaluated policy: greedy, without exploration."""


class LogForm(NamedTuple):
    """A method's form that learns from a log and then in rounds of complete sessions.

    Attributes:
      config: a frozen dataclass with a default for every field.
      space: field -> choices of tuning.
      learner: makes a learner of (config, spec, log, world, item_vectors, seed).
      check: raises ValueError if a configuration does not fit the spec of a log; called
        before any work.
      trained: makes the saved agent of (learner, vocabulary, about); None for `TrainedMethod`.
      vector_width: width of the item vectors of a configuration; 1 for a method without item
        vectors.
      updates: updates in a round under a configuration; 0 for a method without updates.
      session_fields: integer fields of the configuration that count sessions. They are 1 in
        the learner of a loaded agent, which stores and plays no sessions.
    """

    config: type[Any]
    space: Mapping[str, tuple]
    learner: Callable[..., Learner]
    check: Callable[[Any, types.DataSpec], None] = lambda config, spec: None
    trained: Callable[..., trained_lib.SavedAgent] | None = None
    vector_width: Callable[[Any], int] = lambda config: 1
    updates: Callable[[Any], int] = lambda config: 0
    session_fields: tuple[str, ...] = ("sessions_per_round",)


class Online(NamedTuple):
    """A method's form that learns step by step.

    Attributes:
      config: a frozen dataclass with a default for every field; `presets.config_class` returns
        it with the defaults of an environment.
      maker: makes the method of (config, simulator, seed); ValueError if they do not fit.
      changes: fields of the configuration that the method's name fixes.
    """

    config: type[Any]
    maker: Callable[[Any, contract.Simulator, int], online_lib.Method]
    changes: Mapping[str, Any] = {}


class Method:
    """A method of the registry, which learns from a log, step by step, or both.

    Args:
      name: name in flags and folders.
      title: title in tables.
      log_form: its form for logs (environment `log`); None if it has none.
      online: its form for other environments; None if it has none.
      plays: whether its form for logs also learns from play.
      family: family of methods with common presets; the name by default.
      needs_items: whether actions must be items; otherwise vectors are also supported.
      needs_features: whether it reads the columns of an observation feature by feature, which
        a Gymnasium environment does not declare.
    """

    def __init__(
        self,
        name: str,
        title: str,
        log_form: LogForm | None = None,
        online: Online | None = None,
        *,
        plays: bool = True,
        family: str = "",
        needs_items: bool = False,
        needs_features: bool = False,
    ):
        self.name, self.title, self.plays = name, title, plays
        self.family = family or name
        self.needs_items, self.needs_features = needs_items, needs_features
        self._log_form, self._online_form = log_form, online

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the supported environments, including `log` for a form for logs."""
        log = (LOG,) if self._log_form else ()
        if self._online_form is None:
            return log
        continuous = () if self.needs_items else ("virtualtb",)
        undeclared = () if self.needs_features else ("gymnasium",)
        return (*log, "recsim", "recogym", *continuous, "users", *undeclared)

    @property
    def log_form(self) -> LogForm:
        """Its form that learns from a log."""
        assert self._log_form is not None, f"{self.name} does not learn from a log"
        return self._log_form

    @property
    def online(self) -> Online:
        """Its form that learns step by step."""
        assert self._online_form is not None, f"{self.name} does not learn step by step"
        return self._online_form

    @property
    def config(self) -> type[Any]:
        """The configuration of its form for logs."""
        return self.log_form.config

    @property
    def space(self) -> dict[str, tuple]:
        """Its tuned fields and their choices; those of play only if it plays."""
        left_out = () if self.plays else OF_PLAY
        return {
            field: choices
            for field, choices in self.log_form.space.items()
            if field not in left_out
        }

    def check(self, config: Any, spec: types.DataSpec) -> None:
        """Rejects a configuration that does not fit the spec of a log.

        Raises:
          ValueError: if the configuration does not fit the log; names the field.
        """
        self.log_form.check(config, spec)

    def updates_per_round(self, config: Any) -> int:
        """Updates in a round under a configuration of its form for logs."""
        return self.log_form.updates(config)

    def make(
        self,
        config: Any,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        vectors: np.ndarray | None,
        seed: int,
        features: types.Features | None = None,
    ) -> Learner:
        """Makes an untrained learner.

        Args:
          config: configuration of this method's class.
          spec: the log's spec.
          log: training sessions, numpy arrays.
          world: the users of play; None to learn from the log alone. Methods that do not play
            ignore it.
          vectors: item vectors, float [N + 1, >= width]; None for those of the log, see
            `item_vectors`.
          seed: seed of the weights and of all random numbers.
          features: features of the items, if the spec declares them; those of prepared data are
            its `item_features`. None if a checkpoint provides them.

        Raises:
          ValueError: if the configuration does not fit the log; names the field.
        """
        world = world if self.plays else None
        if not _reads_features(config):
            spec, features = spec.ids_alone, None
        if vectors is None:
            vectors = item_vectors(self, config, log, spec)
        learner = self.log_form.learner(config, spec, log, world, vectors, seed)
        if features is not None:
            from tfrec.nn import item_embedding

            item_embedding.set_features(cast("tf.Module", learner), features)
        return learner

    def trained(
        self,
        config: Any,
        spec: types.DataSpec,
        learner: Any,
        vocabulary: vocabulary_lib.Vocabulary,
        about: Mapping[str, Any],
    ) -> trained_lib.SavedAgent:
        """Makes the agent of a learner, which shares the learner's weights.

        Args:
          config: the learner's configuration.
          spec: the learner's spec.
          learner: result of `make`.
          vocabulary: the log's ids.
          about: provenance: data fingerprint, seed and the like.
        """
        if self.log_form.trained is not None:
            return self.log_form.trained(learner, vocabulary, about)
        if not _reads_features(config):
            spec = spec.ids_alone
        return trained_lib.TrainedMethod(self.name, config, learner, spec, vocabulary, about)


def _reads_features(config: Any) -> bool:
    """Whether a learner of a configuration reads the features that the data declares."""
    return isinstance(config, StateConfig) and config.use_features


# Manifests of formats that other packages register: GoalRec, sequential models, and models of
# paths in a knowledge graph.
GOALREC, SEQUENTIAL, PATHS = "agent.json", "sequence_model.json", "path_model.json"
LOG = "log"  # the environment of methods that learn from a log and then in rounds of play
METHODS: dict[str, Method] = {}
# Manifest of a format of saved agents -> function that opens a folder with such a manifest.
_FORMATS: dict[str, Callable[[pathlib.Path], trained_lib.SavedAgent]] = {}


def register(method: Method) -> None:
    """Adds a method under its name and replaces an earlier one of that name."""
    METHODS[method.name] = method


def register_format(
    manifest: str, load: Callable[[pathlib.Path], trained_lib.SavedAgent]
) -> None:
    """Adds a format of saved agents.

    Args:
      manifest: name of the file that identifies such a folder.
      load: function that opens the folder.
    """
    _FORMATS[manifest] = load


def deferred(module: str, name: str) -> Callable[..., Any]:
    """A class or function of a module that is imported at the first call.

    Args:
      module: dotted name.
      name: name of the class or function.
    """

    def call(*args: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args)

    return call


def get(name: str, environment: str = "") -> Method:
    """Looks a method up by name.

    Args:
      name: name of the method.
      environment: environment that it must support; empty for any.

    Raises:
      UserError: if no method has that name, or it does not support the environment.
    """
    supported = names(environment)
    if name in supported:
        return METHODS[name]
    if name in METHODS:
        raise UserError(
            f"--environment={environment}: {name} learns in "
            f"{', '.join(METHODS[name].environments)}; here learn {', '.join(supported)}"
        )
    packages = "tfgoalrec and tfimrl register their methods on import"
    raise UserError(f"no method {name!r}; there are {', '.join(supported)} ({packages})")


def names(environment: str = "") -> tuple[str, ...]:
    """Names of the methods that support an environment; of all methods if it is empty."""
    return tuple(
        name
        for name, method in METHODS.items()
        if not environment or environment in method.environments
    )


def item_vectors(
    method: Method, config: Any, log: types.Episodes, spec: types.DataSpec
) -> np.ndarray:
    """Item vectors of the training log with the width of a method's configuration."""
    from tfrec.data import item_vectors as item_vectors_lib

    width = method.log_form.vector_width(config)
    return item_vectors_lib.log_vectors(log, spec.num_items, width)


def load(directory: str | pathlib.Path) -> trained_lib.SavedAgent:
    """Opens the folder of a trained agent of any registered method.

    Raises:
      UserError: if it is no agent's folder, or is damaged.
    """
    directory = pathlib.Path(directory)
    for manifest, load_format in _FORMATS.items():
        if (directory / manifest).exists():
            return load_format(directory)
    expected = ", ".join(f"no {name}" for name in reversed(_FORMATS))
    hint = (
        "" if GOALREC in _FORMATS else "; `import tfgoalrec` first if it is an agent of GoalRec"
    )
    raise UserError(
        f"{directory}: no trained agent here ({expected}); expected a folder that "
        f"`python -m launch.train` wrote{hint}"
    )


def untrained(name: str, config: Any, spec: types.DataSpec) -> Learner:
    """Makes a learner with untrained networks, to restore weights or to copy them to.

    Args:
      name: name of the method.
      config: its configuration.
      spec: the log's spec.
    """
    method = get(name)
    form = method.log_form
    # A log of one session suffices, because weights that depend on the log are set later.
    small = dataclasses.replace(config, **dict.fromkeys(form.session_fields, 1))
    vectors = np.zeros((spec.num_items + 1, form.vector_width(config)), np.float32)
    return method.make(small, spec, _one_session(spec), None, vectors, seed=0)


def _load_baseline(directory: pathlib.Path) -> trained_lib.TrainedMethod:
    from tfrec.data import vocabulary as vocabulary_lib

    agent_class = trained_lib.TrainedMethod
    manifest = trained_lib.read_manifest(
        directory / agent_class.manifest,
        agent_class.fields,
        "`python -m launch.train`",
    )
    method, spec = get(manifest["method"]), types.DataSpec.restored(manifest["spec"])
    config = options.restored(method.config, manifest["config"])
    learner = untrained(method.name, config, spec)
    agent = agent_class(
        method.name,
        config,
        learner,
        spec,
        vocabulary_lib.load(directory),
        manifest["about"],
    )
    agent.restore(directory, manifest)
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
        context_values=(
            () if spec.state_features is None else np.zeros([1, spec.context_slots], np.int32)
        ),
    )


def _load_online(directory: pathlib.Path) -> trained_lib.SavedAgent:
    from tfrec.methods import online_agent

    return online_agent.load(directory)


_OWN_FORMATS = {trained_lib.TrainedMethod.manifest: _load_baseline, "online.json": _load_online}
for _manifest, _load in _OWN_FORMATS.items():
    register_format(_manifest, _load)
