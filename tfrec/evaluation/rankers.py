"""Rankers of held-out events by name: one way to configure, train and ask each for its lists.

    ranker = rankers.get("sasrec")
    config = ranker.configured(epochs=200, batch=128)
    trained = ranker.train(config, task)
    items = trained.lists(split.test, 20).items

Sequential models and models of paths in a knowledge graph learn from the training events.
Methods of reinforcement learning play with users of the training events. Controls are fitted to
the training events without a configuration.
"""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfrec import types
from tfrec.baselines.paths import config as paths_config
from tfrec.baselines.paths import learner as path_learner
from tfrec.baselines.paths import trained as path_agents
from tfrec.baselines.paths import walking_graph
from tfrec.baselines.sequential import fitting, learner
from tfrec.baselines.sequential import methods as sequential
from tfrec.baselines.sequential import trained as sequence_agents
from tfrec.data import (
    identity,
    item_categories,
    knowledge_graph,
    protocols,
    sequences,
    storage,
    vocabulary,
)
from tfrec.evaluation import next_items, offline, path_lists
from tfrec.methods import online_config, online_run, presets, registry
from tfrec.methods import trained as saved_agents

# Fields that are not tuned, so that the amount of computation is the same for all methods.
_COMPUTATION = ("batch", "update_factor")

CONTROLS: dict[str, Callable[[sequences.Sequences], next_items.Ranker]] = {
    name: registry.deferred("tfrec.baselines.sequential.controls", class_name)
    for name, class_name in (
        ("popularity", "Popularity"),
        ("recent_popularity", "RecentPopularity"),
        ("item_neighbours", "ItemNeighbours"),
        ("ease", "Ease"),
    )
}
# The control that ranks by the clicks of the users with which methods play; see `user_lists`.
USERS_OF_PLAY = "users_of_play"
CONTROL_NAMES = (*CONTROLS, USERS_OF_PLAY)


class Play(NamedTuple):
    """The play of methods that learn step by step.

    Attributes:
      data: the whole log with its feedback.
      form: makes the configuration of the environment `users`; called only by such methods.
      config: amounts of play, learning and testing.
      save_every: iterations between checkpoints.
    """

    data: storage.PreparedData
    form: Callable[[], Any]
    config: online_config.OnlineConfig
    save_every: int


class Task(NamedTuple):
    """A run of a ranker on the training events of a log.

    Attributes:
      split: training, validation and test events.
      protocol: name of the protocol of the split.
      vocabulary: raw ids of the log.
      source: path and fingerprint of the log.
      folder: folder of the run; an unfinished run in it is continued.
      seed: seed of weights, batches and play.
      save_every: epochs between checkpoints.
      categories: reads the categories of the items; called only by methods that use them.
      features: encoded features of the items; None if the log has none.
      graph: the knowledge graph of methods that walk one.
      play: the play of methods that learn step by step.
      warn: called with a sentence for each missing input.
    """

    split: protocols.Split
    protocol: str
    vocabulary: vocabulary.Vocabulary
    source: identity.Source
    folder: pathlib.Path
    seed: int
    save_every: int = 1
    categories: Callable[[], item_categories.Categories | None] = lambda: None
    features: types.Features | None = None
    graph: knowledge_graph.KnowledgeGraph | None = None
    play: Play | None = None
    warn: Callable[[str], None] = lambda sentence: None


class Lists(NamedTuple):
    """Lists of V users.

    Attributes:
      items: dense ids, int32 [V, K], best first, padded with 0.
      completed: shares of items without a path; None for methods that walk no graph.
    """

    items: np.ndarray
    completed: path_lists.Completed | None = None


class Trained(NamedTuple):
    """A finished run.

    Attributes:
      agent: the agent, with the facts about its training.
      lists: ranks for the users of held-out events: (held_out, length of a list) -> lists.
      best_epoch: epoch of the agent's weights; None for methods without epochs.
    """

    agent: saved_agents.SavedAgent
    lists: Callable[[protocols.HeldOut, int], Lists]
    best_epoch: int | None = None


@dataclasses.dataclass(frozen=True)
class Ranker(abc.ABC):
    """A method that is trained and then ranks; a subclass for each kind of training.

    Attributes:
      name: name in flags, folders and tables.
      plays: whether it learns by playing; otherwise it learns in epochs.
      walks_graph: whether it needs a knowledge graph.
    """

    name: str
    plays = False
    walks_graph = False

    @property
    def title(self) -> str:
        """Its name in reports of tuning."""
        return self.name

    @property
    def reads_categories(self) -> bool:
        """Whether it reads the categories of items."""
        return False

    @property
    def named(self) -> Mapping[str, Any]:
        """The fields that its name fixes: those of a method without one of its parts."""
        return {}

    @property
    @abc.abstractmethod
    def config(self) -> type[Any]:
        """The class of its configuration."""

    @property
    @abc.abstractmethod
    def space(self) -> dict[str, tuple]:
        """The choices of tuning: field -> values."""

    @abc.abstractmethod
    def configured(
        self, epochs: int, batch: int, numbers: Mapping[str, Any] | None = None
    ) -> Any:
        """Returns its configuration in a comparison, before tuning.

        Args:
          epochs: largest number of epochs.
          batch: users in a batch of a sequential method.
          numbers: fields of methods that learn by playing, for those that have them and whose
            name does not fix them.
        """

    @abc.abstractmethod
    def train(self, config: Any, task: Task) -> Trained:
        """Trains it, or continues the run in the task's folder.

        Args:
          config: its configuration.
          task: the run.

        Raises:
          UserError: if the folder holds another run, or the configuration does not fit.
          DivergedExit: if a loss, a gradient, a weight or a score is not finite.
        """


class SequentialRanker(Ranker):
    """A model of the order of a user's events, or such a method without one of its parts."""

    @property
    def _ablation(self) -> sequential.Ablation:
        return sequential.ABLATIONS.get(self.name, sequential.Ablation(self.name, {}))

    @property
    def _method(self) -> sequential.SequentialMethod:
        return sequential.METHODS[self._ablation.method]()

    @property
    def reads_categories(self) -> bool:
        return self._method.categories and not self._ablation.one_category

    @property
    def named(self) -> Mapping[str, Any]:
        return self._ablation.fixed

    @property
    def config(self) -> type[Any]:
        return self._method.config

    @property
    def space(self) -> dict[str, tuple]:
        return {field: x for field, x in self._method.space.items() if field not in self.named}

    def configured(
        self, epochs: int, batch: int, numbers: Mapping[str, Any] | None = None
    ) -> Any:
        return self.config(epochs=epochs, batch=batch, **self.named)

    def train(self, config: Any, task: Task) -> Trained:
        encoder = task.vocabulary.item_features
        categories = task.categories() if self.reads_categories else None
        if self._ablation.one_category:
            categories = item_categories.one(task.split.train.num_items)
        fitted = fitting.fit(
            self._ablation.method,
            config,
            task.split.train,
            lambda model: next_items.ndcg_at_10(model, task.split.validation),
            task.folder,
            task.seed,
            source=task.source,
            protocol=task.protocol,
            categories=categories,
            features=task.features,
            sizes=encoder.spec if encoder else None,
            save_every=task.save_every,
            warn=task.warn,
        )
        model = fitted.model
        return Trained(
            sequence_agents.TrainedSequence(
                self._ablation.method, model, task.vocabulary, _about(task, fitted)
            ),
            lambda held_out, k: Lists(next_items.rank(model, held_out.history, k)),
            int(fitted.best_epoch),
        )


class PathRanker(Ranker):
    """A policy that walks a knowledge graph from a user to items."""

    walks_graph = True

    @property
    def config(self) -> type[Any]:
        return paths_config.CONFIGS[self.name]

    @property
    def space(self) -> dict[str, tuple]:
        return dict(paths_config.SPACE)

    def configured(
        self, epochs: int, batch: int, numbers: Mapping[str, Any] | None = None
    ) -> Any:
        plain = self.config()
        return dataclasses.replace(
            plain,
            embedding_epochs=min(plain.embedding_epochs, epochs),
            epochs=min(plain.epochs, epochs),
        )

    def train(self, config: Any, task: Task) -> Trained:
        graph = task.graph
        assert graph is not None, f"{self.name} walks a graph"
        fitted = path_learner.fit(
            config,
            walking_graph.joined(task.split.train, graph),
            path_lists.validation(task.split.validation, config.validation_users, task.seed),
            task.folder,
            task.seed,
            task.save_every,
            inputs={"log": task.source, "graph": graph.source},
            extra={"method": self.name, "protocol": task.protocol},
        )
        model = fitted.model

        def lists(held_out: protocols.HeldOut, k: int) -> Lists:
            ranked = model.lists(held_out.users, held_out.history, k)
            return Lists(ranked.items, path_lists.completed(ranked))

        agent = path_agents.PathAgent(
            model,
            task.vocabulary,
            path_agents.Names(graph.entities, graph.relations),
            _about(task, fitted) | {"graph": graph.source.fingerprint},
        )
        return Trained(agent, lists, int(fitted.best_epoch))


class PlayingRanker(Ranker):
    """A method that learns step by step, in the environment `users`."""

    plays = True

    @property
    def title(self) -> str:
        return registry.get(self.name, "users").title

    @property
    def named(self) -> Mapping[str, Any]:
        return registry.get(self.name, "users").online.changes

    @property
    def config(self) -> type[Any]:
        return presets.config_class(self.name, "users")

    @property
    def space(self) -> dict[str, tuple]:
        every = presets.space(self.name, "users")
        return {field: every[field] for field in every if field not in _COMPUTATION}

    def configured(
        self, epochs: int, batch: int, numbers: Mapping[str, Any] | None = None
    ) -> Any:
        config = self.config
        names = {field.name for field in dataclasses.fields(config)} - set(self.named)
        return config(**{name: x for name, x in (numbers or {}).items() if name in names})

    def train(self, config: Any, task: Task) -> Trained:
        play = task.play
        assert play is not None, f"{self.name} learns by playing"
        run = online_run.Task(
            environment="users",
            method=self.name,
            seed=task.seed,
            form=play.form(),
            play=play.config,
            numbers=config,
            save_every=play.save_every,
        )
        online_run.run(task.folder, run)
        agent = registry.load(task.folder / online_run.AGENT)
        return Trained(
            agent,
            lambda held_out, k: Lists(offline.lists(agent, play.data, held_out, k)),
        )


ANCHORS = sequential.ANCHORS  # method -> the methods without one of its parts
ABLATIONS = tuple(sequential.ABLATIONS)
SEQUENTIAL, WALKING = tuple(sequential.METHODS), tuple(paths_config.CONFIGS)
# Rankers that learn in epochs; every other one learns by playing.
IN_EPOCHS: dict[str, Ranker] = {
    **{name: SequentialRanker(name) for name in SEQUENTIAL},
    **{name: PathRanker(name) for name in WALKING},
}


def get(name: str) -> Ranker:
    """Looks a ranker up by name.

    Args:
      name: name of a sequential method or of one of its ablations, of a method that walks a
        knowledge graph, or of one that learns step by step in the environment `users`.

    Raises:
      UserError: if there is no such method.
    """
    if name in IN_EPOCHS:
        return IN_EPOCHS[name]
    if name in sequential.ABLATIONS:
        return SequentialRanker(name)
    registry.get(name, "users")
    return PlayingRanker(name)


def _about(task: Task, fitted: Any) -> dict[str, Any]:
    """The facts about its training that a saved model records."""
    return {
        "protocol": task.protocol,
        "data": task.source.fingerprint,
        "seed": task.seed,
        "best_epoch": int(fitted.best_epoch),
        learner.VALIDATION: float(fitted.best_score),
    }
