"""The registry of methods: each by its name, where it learns, and its saved agents.

    method = registry.get("rainbow")
    config = method.config(learning_rate=3e-4)
    learner = method.make(config, spec, log, world, None, seed=0)
    ...
    method.trained(config, spec, learner, data.vocabulary, about).save(folder)
    agent = registry.load(folder)

    method = registry.get("imrl", "recsim").online.maker(config, simulator, seed=0)

A package registers its methods when it is imported: `tfrec.baselines` the baselines,
`tfgoalrec` GoalRec, `tfimrl` IMRL and its ablations. Configurations need no TensorFlow; the
modules that learn are imported when a learner is made, since TensorFlow and TF-Agents take
seconds to import.
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

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrec.data import vocabulary as vocabulary_lib
    from tfrec.environments import contract, user_models
    from tfrec.methods import online as online_lib


class Learner(Protocol):
    """A learner of any method; also a `tfrec.training.loop.Learner`.

    Attributes:
      iteration: int64 scalar variable, the iterations done.
      total_iterations: iterations in a whole run.
      acting: the modules whose weights `policy()` reads, all that is saved in the end.
    """

    iteration: tf.Variable
    total_iterations: int
    acting: tf.Module

    def advance(self) -> dict[str, Any]:
        """Does one iteration; returns numbers to log."""

    def policy(self) -> contract.Policy:
        """The policy that is evaluated: greedy, without exploration."""


class Parts(NamedTuple):
    """A method's form that learns from a log and then in rounds of whole sessions.

    Attributes:
      config: a frozen dataclass, every field with a default.
      space: field -> its choices when the method is tuned.
      learner: makes a learner of (config, spec, log, world, item_vectors, seed).
      check: raises ValueError if a configuration does not fit the spec of a log; called
        before any work.
      trained: makes the agent that is saved of (learner, vocabulary, about); None for
        `TrainedMethod`.
    """

    config: type[Any]
    space: Mapping[str, tuple]
    learner: Callable[..., Learner]
    check: Callable[[Any, types.DataSpec], None] = lambda config, spec: None
    trained: Callable[..., trained_lib.SavedAgent] | None = None


class Online(NamedTuple):
    """A method's form that learns step by step.

    Attributes:
      config: a frozen dataclass, every field with a default; `presets.config_class` gives it
        with defaults that suit an environment.
      maker: makes the method of (config, simulator, seed); ValueError if they do not fit.
      changes: fields of the configuration that the method's name fixes.
    """

    config: type[Any]
    maker: Callable[[Any, contract.Simulator, int], online_lib.Method]
    changes: Mapping[str, Any] = {}


class Method:
    """One method of the registry, which learns from a log, step by step, or both.

    Args:
      name: in flags and folders.
      title: in tables.
      parts: its form for logs (environment `log`); None if it has none.
      online: its form for every other environment; None if it has none.
      plays: whether its form for logs also learns from play; otherwise from the log alone.
      family: of methods that share numbers in presets; the name by default.
      needs_items: whether its actions must be items; otherwise also continuous vectors.
      needs_features: whether it reads the columns of an observation feature by feature, which
        are not known of a Gymnasium environment.
    """

    def __init__(
        self,
        name: str,
        title: str,
        parts: Parts | None = None,
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
        self._log_form, self._online_form = parts, online

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the environments that it learns in; `log` is among them or not."""
        found = (LOG,) if self._log_form else ()
        if self._online_form is None:
            return found
        continuous = () if self.needs_items else ("virtualtb",)
        unknown = () if self.needs_features else ("gymnasium",)
        return (*found, "recsim", "recogym", *continuous, "users", *unknown)

    @property
    def _parts(self) -> Parts:
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
        return self._parts.config

    @property
    def space(self) -> dict[str, tuple]:
        return dict(self._parts.space)

    def check(self, config: Any, spec: types.DataSpec) -> None:
        """Rejects a configuration that `make` would reject for what it declares.

        Raises:
          ValueError: if the configuration does not fit the log; names the field.
        """
        self._parts.check(config, spec)

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
        """A learner at its first round.

        Args:
          config: of this method's class.
          spec: the log's spec.
          log: training sessions, numpy arrays.
          world: the simulated users to play with; None to learn from the log alone. A method
            that does not play leaves it aside.
          vectors: of items, float [N + 1, >= width]; None for those of the log, see
            `item_vectors`.
          seed: of the weights and of all later draws.
          features: of the items, where the spec says that models read them; those of prepared
            data are its `item_features`. None leaves them to a checkpoint.

        Raises:
          ValueError: if the configuration does not fit the log; names the field.
        """
        world = world if self.plays else None
        if not getattr(config, "use_features", False):
            spec, features = spec.ids_alone, None
        if vectors is None:
            vectors = item_vectors(config, log, spec)
        learner = self._parts.learner(config, spec, log, world, vectors, seed)
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
        """The agent that a learner has become, which shares the learner's weights.

        Args:
          config: the learner's.
          spec: the learner's.
          learner: what `make` returned.
          vocabulary: the log's ids.
          about: where it comes from: data fingerprint, seed and the like.
        """
        if self._parts.trained is not None:
            return self._parts.trained(learner, vocabulary, about)
        return trained_lib.TrainedMethod(self.name, config, learner, spec, vocabulary, about)


# Manifests of formats that other packages register: GoalRec's, that of sequential models, and
# that of models whose paths through a knowledge graph lead to items.
GOALREC, SEQUENTIAL, PATHS = "agent.json", "sequence_model.json", "path_model.json"
LOG = "log"  # the environment of methods that learn from a log, and then in rounds of play
METHODS: dict[str, Method] = {}
# Manifest of a format of saved agents -> what opens a folder with such a manifest.
_FORMATS: dict[str, Callable[[pathlib.Path], trained_lib.SavedAgent]] = {}


def register(method: Method) -> None:
    """Adds a method under its name; one that is registered already is replaced."""
    METHODS[method.name] = method


def register_format(
    manifest: str, load: Callable[[pathlib.Path], trained_lib.SavedAgent]
) -> None:
    """Adds a format of saved agents.

    Args:
      manifest: name of the file that marks such a folder.
      load: opens the folder.
    """
    _FORMATS[manifest] = load


def deferred(module: str, name: str) -> Callable[..., Any]:
    """A class or function of a module that is imported at the first call.

    Args:
      module: dotted name.
      name: of the class or function.
    """

    def call(*args: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args)

    return call


def get(name: str, environment: str = "") -> Method:
    """A method by its name.

    Args:
      name: of the method.
      environment: where it must be able to learn; empty for anywhere.

    Raises:
      UserError: if there is none of that name, or it does not learn there.
    """
    known = names(environment)
    if name in known:
        return METHODS[name]
    if name in METHODS:
        raise UserError(
            f"--environment={environment}: {name} learns in "
            f"{', '.join(METHODS[name].environments)}; here learn {', '.join(known)}"
        )
    packages = "tfgoalrec and tfimrl register theirs when they are imported"
    raise UserError(f"no method {name!r}; there are {', '.join(known)} ({packages})")


def names(environment: str = "") -> tuple[str, ...]:
    """Names of the methods that learn in an environment; of all if it is empty."""
    return tuple(
        name
        for name, method in METHODS.items()
        if not environment or environment in method.environments
    )


def item_vectors(config: Any, log: types.Episodes, spec: types.DataSpec) -> np.ndarray:
    """Item vectors of the training log, as wide as a method's configuration asks."""
    from tfrec.data import item_vectors as item_vectors_lib

    width = max(_vector_width(config), getattr(config, "frozen_embedding", 0))
    return item_vectors_lib.log_vectors(log, spec.num_items, width)


def load(directory: str | pathlib.Path) -> trained_lib.SavedAgent:
    """Opens the folder of a trained agent of any registered method.

    Raises:
      UserError: if it is not one, or is damaged.
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
    """A learner whose networks have no trained weights yet, to restore or to copy to.

    Args:
      name: of the method.
      config: its configuration.
      spec: the log's spec.
    """
    # One session stands for the log; the weights that depend on the log come later.
    sizes = ("replay_sessions", "sessions_per_round")
    small = dataclasses.replace(config, **{n: 1 for n in sizes if hasattr(config, n)})
    vectors = np.zeros((spec.num_items + 1, _vector_width(config)), np.float32)
    return get(name).make(small, spec, _one_session(spec), None, vectors, seed=0)


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


def _vector_width(config: Any) -> int:
    """Width of a method's item vectors; 1 for a method that has none."""
    return getattr(config, "embedding", 1)


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


def _load_online(directory: pathlib.Path) -> trained_lib.SavedAgent:
    from tfrec.methods import online_agent

    return online_agent.load(directory)


_OWN_FORMATS = {trained_lib.TrainedMethod.manifest: _load_baseline, "online.json": _load_online}
for _manifest, _load in _OWN_FORMATS.items():
    register_format(_manifest, _load)
