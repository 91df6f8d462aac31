"""Saved agents: folders with a manifest, the raw ids and the policy's weights.

    <agent>/<manifest>.json          configuration, spec, origin and fingerprints
            vocabulary_*.parquet     raw ids
            checkpoint/              weights

The name of the manifest determines the format, see `registry.register_format`.
"""

from __future__ import annotations

import abc
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfrec import options, outputs, types
from tfrec.errors import UserError
from tfrec.methods import ranking

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrec.data import identity
    from tfrec.data import vocabulary as vocabulary_lib
    from tfrec.environments import contract
    from tfrec.methods import catalogue

_CHECKPOINT = "checkpoint"


class SavedAgent(abc.ABC):
    """A trained agent that ranks items under its goals, and can be saved.

    Attributes:
      manifest: name of the file that describes the agent.
      fields: required keys of the manifest.
      decisive: keys of the manifest that the fingerprint includes.
      reads_feedback: whether its scores depend on the feedback in a history.
      method: its name in the registry.
      config: the method's configuration.
      spec: the log's spec.
      named_goals: goals by name; a method without goals has one, named ''.
      vocabulary: raw ids.
      about: fingerprint of the data, seed and the like.
      fingerprint: hash of weights, configuration, goals and ids; empty before loading.
    """

    manifest: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    decisive: ClassVar[tuple[str, ...]]
    reads_feedback: ClassVar[bool] = True

    method: str
    config: Any
    spec: types.DataSpec
    named_goals: dict[str, np.ndarray]
    vocabulary: vocabulary_lib.Vocabulary
    about: dict[str, Any]
    fingerprint: str = ""

    @abc.abstractmethod
    def policy(
        self, goal: np.ndarray | tf.Tensor | tf.Variable | None = None
    ) -> contract.Policy:
        """The greedy policy for a goal, float [M]; a variable may change between plays."""

    def rank(
        self, request: ranking.RankingRequest, goal: str | Mapping[str, float] | None = None
    ) -> ranking.Ranking:
        """Ranks the best items for a request, in the order of `lists`.

        Args:
          request: the request.
          goal: a named goal, or the weight of one raw unit of each measurement; None for the
            first named goal. Agents without goals accept only None.

        Raises:
          UserError: if the agent has no such goal.
        """
        self._reject_goal(goal)
        allowed = ranking.allowed(request, self.vocabulary, self.spec.num_candidates)
        [item], [score] = self.lists(self._observation(request), ~allowed[None], request.k)
        return self._ranking(request, item, score)

    @abc.abstractmethod
    def lists(
        self, observation: types.Observation, blocked: np.ndarray, k: int, goal: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ranked lists for a batch of states.

        Args:
          observation: B states.
          blocked: bool [B, A], candidates that may not be listed; A is the spec's
            `num_candidates`.
          k: length of a list.
          goal: a named goal; empty for the first one.

        Returns:
          Dense item ids, best first, int32 [B, min(k, A)], and their scores, float32; padded
          with 0 and minus infinity if there are fewer items.

        Raises:
          UserError: if the agent has no such goal.
        """

    def lists_of_users(
        self,
        users: np.ndarray,
        observation: types.Observation,
        blocked: np.ndarray,
        k: int,
        goal: str = "",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ranked lists of users of a log; agents without user ids rank for their states.

        Args:
          users: raw ids [B].
          observation: states of the users, see `lists`.
          blocked: see `lists`.
          k: length of a list.
          goal: see `lists`.

        Returns:
          As `lists`.

        Raises:
          UserError: if the agent has no such goal.
        """
        del users
        return self.lists(observation, blocked, k, goal)

    def with_items(self, change: catalogue.Catalogue) -> SavedAgent:
        """The agent with other items to rank, without training; see `catalogue.plan`.

        Raises:
          UserError: if the agent cannot take other items; says why.
        """
        del change
        raise UserError(f"{self.method} cannot rank other items than those of its log")

    @abc.abstractmethod
    def weights(self) -> tf.Module:
        """The saved variables, with names that do not depend on other modules."""

    def description(self) -> dict[str, Any]:
        """The content of the manifest without the fingerprints; plain values."""
        return {
            "method": self.method,
            "config": options.resolved(self.config),
            "spec": self.spec.described(),
            "about": options.resolved(self.about),
        }

    def warn(self) -> None:  # noqa: B027  no warnings by default
        """Logs a warning for each goal under which the agent cannot rank."""

    def _reject_goal(self, goal: str | Mapping[str, float] | None) -> None:
        """Raises UserError for a goal, in agents that rank for the reward alone."""
        if goal:
            raise UserError(
                f"goal is {goal!r}; expected none: {self.method} ranks for the reward alone"
            )

    def _ranking(
        self, request: ranking.RankingRequest, item: np.ndarray, score: np.ndarray
    ) -> ranking.Ranking:
        """The ranking of a request from a row of `lists`."""
        is_item = item > 0
        return ranking.Ranking(
            tuple(self.vocabulary.decode(item[is_item]).tolist()),
            tuple(score[is_item].tolist()),
            unknown=request.unknown,
        )

    def _observation(self, request: ranking.RankingRequest) -> types.Observation:
        """The state of a request, a batch of one."""
        from tfrec.data import observations

        dense = self.vocabulary.encode(list(request.history))
        dense_ids = {
            item: int(number)
            for item, number in zip(request.history, dense, strict=True)
            if number
        }
        return observations.of_events(self.spec, [request], dense_ids)

    def contents(self) -> dict[str, Any]:
        """Fingerprints of the other files: `ids`, `weights` and those of features."""
        from tfrec.data import identity
        from tfrec.training import checkpoint

        variables = checkpoint.named_variables(self.weights())
        values = {name: variable.numpy() for name, variable in variables.items()}
        contents = {
            "ids": identity.ids_of(self.vocabulary, self.spec),
            "weights": identity.fingerprint(values),
        }
        for name, encoder in (
            ("features", self.vocabulary.item_features),
            ("user_features", self.vocabulary.user_features),
            ("context_features", self.vocabulary.context_features),
        ):
            if encoder is not None:
                contents[name] = identity.fingerprint(encoder.described())
        return contents

    def identify(self) -> str:
        """Computes and sets the fingerprint of weights, configuration, goals and ids."""
        from tfrec.data import identity

        content = {**self.description(), **self.contents()}
        self.fingerprint = identity.fingerprint({name: content[name] for name in self.decisive})
        return self.fingerprint

    def origin(self, path: str | pathlib.Path) -> identity.Origin:
        """The prepared data that the agent was trained on.

        Args:
          path: the agent's folder, for messages.
        """
        from tfrec.data import identity

        return identity.trained(path, self.vocabulary, self.spec, self.about)

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes the agent's folder, whole or not at all; an existing one is replaced.

        Raises:
          NonFiniteWeightsError: if a weight is not finite; nothing is written.
          UserError: if the folder cannot be written; nothing is left behind.
        """
        from tfrec import weights
        from tfrec.training import checkpoint

        directory, saved = pathlib.Path(directory), self.weights()
        weights.check(checkpoint.named_variables(saved).items(), f"{directory}: not written")
        manifest = {**self.description(), **self.contents()}
        with outputs.replacing_folder(directory) as partial:
            self.save_ids(partial)
            checkpoint.write(partial / _CHECKPOINT, saved, manifest["config"])
            (partial / self.manifest).write_text(json.dumps(manifest, indent=2) + "\n")

    def save_ids(self, directory: pathlib.Path) -> None:
        """Writes the raw ids, and names that the agent needs."""
        self.vocabulary.save(directory)

    def restore(self, directory: pathlib.Path, manifest: Mapping[str, Any]) -> None:
        """Reads the saved weights, and checks the files against the manifest.

        Raises:
          UserError: if a file is missing, damaged or of another agent.
        """
        from tfrec.data import identity
        from tfrec.training import checkpoint

        checkpoint.read(directory / _CHECKPOINT, self.weights())
        path, remedy = directory / self.manifest, "Train the agent again"
        verified = identity.verified(path, manifest, self.contents(), remedy)
        self.fingerprint = identity.fingerprint(
            {name: verified[name] for name in self.decisive}
        )


def read_manifest(path: pathlib.Path, fields: Sequence[str], script: str) -> dict[str, Any]:
    """Reads the manifest of a saved agent.

    Args:
      path: path of the manifest.
      fields: required keys.
      script: the command that writes such a folder, for the message.

    Raises:
      UserError: if the file is missing, no JSON, or lacks a field.
    """
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{path.parent}: no trained agent here (no {path.name}); expected a folder that "
            f"{script} wrote"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    absent = [name for name in fields if name not in manifest]
    if absent:
        raise UserError(f"{path}: damaged: no {', '.join(absent)}; train the agent again")
    return manifest


class TrainedMethod(SavedAgent):
    """A baseline's trained agent, which ranks items for the reward.

    Args:
      method: its name in the registry.
      config: the method's configuration.
      learner: learner with `policy` and `acting`, the modules that the policy reads.
      spec: the log's spec.
      vocabulary: raw ids.
      about: fingerprint of the data, seed and the like.
    """

    manifest = "method.json"
    fields = ("method", "config", "spec", "about")
    decisive = ("method", "config", "ids", "weights")

    def __init__(
        self,
        method: str,
        config: Any,
        learner: Any,
        spec: types.DataSpec,
        vocabulary: vocabulary_lib.Vocabulary,
        about: Mapping[str, Any],
    ):
        self.method, self.config, self.spec = method, config, spec
        self.vocabulary, self.about = vocabulary, dict(about)
        self.named_goals = {"": np.zeros([0], np.float32)}
        self.learner = learner

    def weights(self) -> tf.Module:
        return self.learner.acting

    def with_items(self, change: catalogue.Catalogue) -> SavedAgent:
        from tfrec.methods import catalogue as catalogue_lib
        from tfrec.methods import registry
        from tfrec.nn import item_embedding

        if self.learner.fixed_items:
            raise UserError(
                f"{self.method} cannot rank other items than those of its log: "
                f"{self.learner.fixed_items}"
            )
        catalogue_lib.check_history_crosses(self, change)
        learner = registry.untrained(self.method, self.config, change.spec)
        catalogue_lib.transfer(self.weights(), learner.acting, change)
        if change.features is not None:
            item_embedding.set_features(learner.acting, change.features)
        about = self.about | change.about(self.fingerprint)
        return TrainedMethod(
            self.method, self.config, learner, change.spec, change.vocabulary, about
        )

    def policy(self, goal: Any = None) -> contract.Policy:
        """The greedy policy; the goal has no effect."""
        del goal
        return self.learner.policy()

    def lists(
        self, observation: types.Observation, blocked: np.ndarray, k: int, goal: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """The candidates in the order of the method's scores; see `SavedAgent.lists`."""
        from tfrec.ops import selection

        self._reject_goal(goal)
        scores = self.learner.scores(observation, blocked)
        item, score = selection.best_items(scores, blocked, k)
        return np.asarray(item), np.asarray(score)
