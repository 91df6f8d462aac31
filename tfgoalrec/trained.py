"""How is a trained agent kept? One folder with everything that ranking needs.

agent.json holds the configuration, the spec, the goals and where they come from;
vocabulary_*.parquet the raw ids; checkpoint/ the weights, the statistics of the
measurements and the frozen embeddings.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgoalrec import acting, calibration
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.measurements import Measurements
from tfgoalrec.world_model import WorldModel
from tfrec import options, outputs, types, weights
from tfrec.data import identity
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.environments import session
from tfrec.errors import UserError
from tfrec.training import checkpoint

_ABOUT = "agent.json"
_CHECKPOINT = "checkpoint"
_FIELDS = ("config", "spec", "measurements", "frozen_embedding", "goals", "about")


class TrainedAgent:
    """What is left when learning is over: it ranks items for any goal.

    No `tf.Module`, which would wrap the dicts below: JSON does not write wrapped ones.

    Attributes:
      config: the method's numbers.
      spec: the log's spec.
      measurements: what is predicted.
      world_model: M(s, a, g).
      named_goals: goals by name, each float [M] of unit length.
      vocabulary: raw ids.
      about: data fingerprint, seed and the like.
      discarded: columns that no goal may weigh, see `calibration.discarded`.
      fingerprint: hash of weights, configuration, goals and ids; empty until it is loaded.
    """

    fingerprint: str = ""

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
        """A named goal, float [M].

        Raises:
          UserError: if there is no goal of that name.
        """
        if name not in self.named_goals:
            raise UserError(f"no goal {name!r}; the agent has {', '.join(self.named_goals)}")
        return self.named_goals[name]

    def policy(self, goal: np.ndarray | tf.Tensor | tf.Variable) -> session.Policy:
        """Greedy for a goal, float [M]; a variable may change between plays."""
        return acting.greedy(self.world_model, goal)

    def contents(self) -> dict[str, Any]:
        """Fingerprints of the files beside agent.json: `ids` and `weights`."""
        variables = checkpoint.named_variables(_Weights(self))
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

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes the agent's folder, whole or not at all; one that is there is replaced.

        Raises:
          NonFiniteWeightsError: if a weight is not finite; nothing is written.
          UserError: if the folder cannot be written; nothing is left behind.
        """
        directory, kept = pathlib.Path(directory), _Weights(self)
        weights.check(checkpoint.named_variables(kept).items(), f"{directory}: not written")
        about = {
            "config": options.resolved(self.config),
            "spec": dataclasses.asdict(self.spec),
            "measurements": self.measurements.names,
            "frozen_embedding": self.measurements.item_embedding.shape[1],
            "goals": {name: goal.tolist() for name, goal in self.named_goals.items()},
            "about": self.about,
            **self.contents(),
        }
        with outputs.replacing_folder(directory) as partial:
            self.vocabulary.save(partial)
            checkpoint.write(partial / _CHECKPOINT, kept, about["config"])
            (partial / _ABOUT).write_text(json.dumps(about, indent=2) + "\n")


class _Weights(tf.Module):
    """The variables of an agent, under names that do not depend on its other parts."""

    def __init__(self, agent: TrainedAgent):
        super().__init__(name="agent")
        self.world_model, self.measurements = agent.world_model, agent.measurements


def load(directory: str | pathlib.Path) -> TrainedAgent:
    """Opens an agent's folder.

    Raises:
      UserError: if it is not one, or is damaged.
    """
    directory = pathlib.Path(directory)
    path = directory / _ABOUT
    try:
        about = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{directory}: no trained agent here (no {_ABOUT}); expected a folder that "
            "`python -m launch.train_goalrec` wrote"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    absent = [name for name in _FIELDS if name not in about]
    if absent:
        raise UserError(f"{path}: damaged: no {', '.join(absent)}; train the agent again")
    spec = types.DataSpec.restored(about["spec"])
    config = options.restored(GoalRecConfig, about["config"])
    frozen = np.zeros((spec.num_items + 1, about["frozen_embedding"]), np.float32)
    measurements = Measurements(tuple(about["measurements"]), spec, frozen)
    start = np.zeros((spec.num_items + 1, config.embedding), np.float32)
    agent = TrainedAgent(
        config,
        measurements,
        WorldModel(config, spec, measurements.size, start),
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
    checkpoint.read(directory / _CHECKPOINT, _Weights(agent))
    kept = identity.verified(path, about, agent.contents(), "Train the agent again")
    decisive = ("config", "measurements", "goals", "ids", "weights")
    agent.fingerprint = identity.fingerprint({name: kept[name] for name in decisive})
    return agent
