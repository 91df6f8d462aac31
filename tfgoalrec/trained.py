"""GoalRec's trained agent, and its folder with all data that ranking needs.

agent.json holds the configuration, the spec, the goals and the data's fingerprint;
vocabulary_*.parquet the raw ids; checkpoint/ the weights, the statistics of the
measurements and the frozen embeddings.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgoalrec import acting, calibration
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.measurements import Measurements
from tfgoalrec.world_model import WorldModel
from tfrec import options, types
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.environments import contract
from tfrec.errors import UserError
from tfrec.methods import catalogue, ranking, registry
from tfrec.methods import trained as saved
from tfrec.nn import item_embedding
from tfrec.ops import selection
from tfrec.serving import golden, requests, unsaved


class TrainedAgent(saved.SavedAgent):
    """GoalRec's trained agent: it ranks items for any goal.

    Not a `tf.Module`, which would wrap the dicts below in types that JSON cannot write.

    Attributes:
      config: the method's configuration.
      spec: the log's spec.
      measurements: the predicted measurements.
      world_model: M(s, a, g).
      named_goals: goals by name, each float [M] of unit length.
      vocabulary: raw ids of items and users.
      about: data fingerprint, seed and the like.
      discarded: columns that no goal may weigh, see `calibration.discarded`.
      fingerprint: hash of weights, configuration, goals and ids; empty until it is loaded.
    """

    method = "goalrec"
    manifest = registry.GOALREC
    fields = ("config", "spec", "measurements", "frozen_embedding", "goals", "about")
    decisive = ("config", "measurements", "goals", "ids", "weights")

    def __init__(
        self,
        config: GoalRecConfig,
        measurements: Measurements,
        world_model: WorldModel,
        named_goals: Mapping[str, np.ndarray],
        vocabulary: vocabulary_lib.Vocabulary,
        about: Mapping[str, Any],
    ):
        self.config, self.spec = config, measurements.spec
        self.measurements, self.world_model = measurements, world_model
        self.named_goals = dict(named_goals)
        self.vocabulary, self.about = vocabulary, dict(about)
        self.discarded = calibration.discarded(config.far_windows, measurements)

    def goal(self, name: str) -> np.ndarray:
        """Returns a named goal, float [M].

        Raises:
          UserError: if there is no goal of that name.
        """
        if name not in self.named_goals:
            raise UserError(f"no goal {name!r}; the agent has {', '.join(self.named_goals)}")
        return self.named_goals[name]

    def policy(
        self, goal: np.ndarray | tf.Tensor | tf.Variable | None = None
    ) -> contract.Policy:
        """Returns the greedy policy for a goal.

        Args:
          goal: float [M]; a variable may change between plays. None for the first named goal.
        """
        goal = next(iter(self.named_goals.values())) if goal is None else goal
        return acting.greedy(self.world_model, goal)

    def rank(
        self, request: ranking.RankingRequest, goal: str | Mapping[str, float] | None = None
    ) -> ranking.Ranking:
        """Returns the best items for a request, with the predicted measurements of each.

        The exported agent returns the same items and scores, from the same graph.

        Args:
          request: the request.
          goal: a named goal, or the weight of one raw unit of each measurement, e.g.
            `{"click@0": 1, "watch@1..3": 0.02}`; None for the first named goal.

        Raises:
          UserError: if there is no such goal or measurement, or all weights are 0.
        """
        goal = next(iter(self.named_goals)) if goal is None else goal
        columns = self._model.columns
        goal_field: dict[str, Any] = {"goal_name": goal}
        if isinstance(goal, Mapping):
            for name in goal:
                if name not in columns:
                    raise UserError(
                        f"goal: {name!r} is not a measurement; there are "
                        f"{ranking.similar(name, columns)}"
                    )
            goal_field = {"weights": tuple(float(goal.get(name, 0.0)) for name in columns)}
        else:
            self.goal(goal)  # raises if there is none of that name
        model_request = requests.Request(
            request.history,
            request.feedback,
            request.step,
            candidates=request.candidates,
            exclude=request.exclude,
            k=request.k,
            context_values=request.context_values,
            **goal_field,
        )
        [answer] = self._model.rank([model_request])
        return ranking.Ranking(
            tuple(answer.item),
            tuple(answer.score.tolist()),
            {
                name: tuple(answer.measurements[:, column].tolist())
                for column, name in enumerate(columns)
            },
            dict(zip(columns, self._model.units, strict=True)),
            request.unknown,
        )

    def lists(
        self, observation: types.Observation, blocked: np.ndarray, k: int, goal: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns items in descending order of g . M(s, a, g); see `SavedAgent.lists`."""
        named = self.goal(goal or next(iter(self.named_goals)))
        goals = tf.tile(tf.constant(named, tf.float32)[None], [len(blocked), 1])  # [B, M]
        code = self.world_model.encode(observation, goals)
        scores = self.world_model.scores(code, goals)
        item, score = selection.best_items(scores, blocked, k)
        return item.numpy(), score.numpy()

    @functools.cached_property
    def _model(self) -> unsaved.UnsavedModel:
        return unsaved.UnsavedModel(self)

    def with_items(self, change: catalogue.Catalogue) -> saved.SavedAgent:
        if self.config.no_new_items:
            raise UserError(self.config.no_new_items)
        catalogue.check_history_crosses(self, change)
        frozen = self.measurements.item_embedding.shape[1]
        measurements, world_model = _untrained(
            self.config, change.spec, self.measurements.names, frozen
        )
        about = self.about | change.about(self.fingerprint)
        agent = TrainedAgent(
            self.config, measurements, world_model, self.named_goals, change.vocabulary, about
        )
        catalogue.transfer(self.weights(), agent.weights(), change)
        if change.features is not None:
            item_embedding.set_features(world_model, change.features)
        return agent

    def weights(self) -> tf.Module:
        return _Weights(self)

    def description(self) -> dict[str, Any]:
        return {
            "config": options.resolved(self.config),
            "spec": self.spec.described(),
            "measurements": self.measurements.names,
            "frozen_embedding": self.measurements.item_embedding.shape[1],
            "goals": {name: goal.tolist() for name, goal in self.named_goals.items()},
            "about": self.about,
        }

    def warn(self) -> None:
        """Logs a warning for each goal under which all items have the same score."""
        golden.tied_goals(self)


class _Weights(tf.Module):
    """The variables of an agent, under names that do not depend on its other parts."""

    def __init__(self, agent: TrainedAgent):
        super().__init__(name="agent")
        self.world_model, self.measurements = agent.world_model, agent.measurements


def _untrained(
    config: GoalRecConfig, spec: types.DataSpec, names: Sequence[str], frozen: int
) -> tuple[Measurements, WorldModel]:
    """Measurements and a world model without values yet, to restore or to copy to.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      names: of the measurements.
      frozen: width of the frozen item vectors.
    """
    vectors = np.zeros((spec.num_items + 1, frozen), np.float32)
    measurements = Measurements(tuple(names), spec, vectors)
    start = np.zeros((spec.num_items + 1, config.embedding), np.float32)
    return measurements, WorldModel(config, spec, measurements.size, start)


def load(directory: str | pathlib.Path) -> TrainedAgent:
    """Loads a GoalRec agent.

    Raises:
      UserError: if the folder holds no GoalRec agent, or is damaged.
    """
    directory = pathlib.Path(directory)
    path = directory / TrainedAgent.manifest
    about = saved.read_manifest(
        path, TrainedAgent.fields, "`python -m launch.train --method=goalrec`"
    )
    spec = types.DataSpec.restored(about["spec"])
    config = options.restored(GoalRecConfig, about["config"])
    measurements, world_model = _untrained(
        config, spec, about["measurements"], about["frozen_embedding"]
    )
    agent = TrainedAgent(
        config,
        measurements,
        world_model,
        {name: np.array(goal, np.float32) for name, goal in about["goals"].items()},
        vocabulary_lib.load(directory),
        about["about"],
    )
    try:
        for name, goal in agent.named_goals.items():
            weighed = dict(zip(measurements.columns, goal.tolist(), strict=True))
            calibration.check_goal(name, weighed, agent.discarded)
    except ValueError as error:
        raise UserError(f"{path}: {error}; train the agent again") from error
    agent.restore(directory, about)
    return agent
