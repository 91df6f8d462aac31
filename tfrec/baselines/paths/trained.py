"""Saved models of paths: they rank items for users of their log, and explain each item."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec import options, types
from tfrec.baselines.paths import pgpr, walking_graph
from tfrec.baselines.paths.config import METHOD, PgprKgConfig
from tfrec.data import identity, knowledge_graph, parquet
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.data.observations import RawId
from tfrec.environments import contract
from tfrec.errors import UserError
from tfrec.methods import ranking, registry, trained

_SCRIPT = f"`python -m launch.train_sequential --method={METHOD}`"
_NAMES = "graph_names.parquet"


class Explanation(NamedTuple):
    """A recommended item and the path that leads to it.

    Attributes:
      item: raw id.
      score: f(user, item).
      probability: of the path under the policy; 0 where there is no path.
      path: e.g. `user 7 -interacted-> Dune -author-> Frank Herbert <-author- Dune Messiah`;
        empty where there is no path.
    """

    item: RawId
    score: float
    probability: float
    path: str


@dataclasses.dataclass(frozen=True)
class Names:
    """Names of nodes other than users and items.

    Attributes:
      entities: str [X].
      relations: str [R - 1], those of the knowledge graph.
    """

    entities: np.ndarray
    relations: np.ndarray

    def save(self, directory: pathlib.Path) -> None:
        """Writes the names into the folder."""
        kinds = ["entity"] * len(self.entities) + ["relation"] * len(self.relations)
        names = [*self.entities.tolist(), *self.relations.tolist()]
        columns = {"kind": kinds, "name": names}
        frame = pl.DataFrame(columns, schema={"kind": pl.String, "name": pl.String})
        parquet.write(frame, directory / _NAMES)


def _read_names(directory: pathlib.Path) -> Names:
    path = directory / _NAMES
    try:
        frame = parquet.read(path)
        parts = [
            vocabulary_lib.as_array(frame.filter(pl.col("kind") == kind)["name"])
            for kind in ("entity", "relation")
        ]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: no readable names of the graph ({error})") from error
    return Names(*parts)


class PathAgent(trained.SavedAgent):
    """A trained model of paths. It ranks for the users of its log, by their ids.

    Args:
      model: with the weights that are saved.
      vocabulary: raw ids of the log.
      names: of the knowledge graph.
      about: fingerprint of the log, protocol, seed and the like.
    """

    manifest = registry.PATHS
    fields = ("method", "config", "sizes", "about")
    decisive = ("method", "config", "ids", "graph", "weights")
    reads_feedback = False

    def __init__(
        self,
        model: pgpr.PathModel,
        vocabulary: vocabulary_lib.Vocabulary,
        names: Names,
        about: Mapping[str, Any],
    ):
        self.method, self.model, self.names = METHOD, model, names
        self.config, self.vocabulary, self.about = model.config, vocabulary, dict(about)
        # Events of the log are actions of the user of any kind. No history is read.
        event = types.FeedbackColumn("event", "binary", "events")
        self.spec = types.DataSpec((event,), len(vocabulary.items), len(vocabulary.users), 1, 1)
        self.named_goals = {"": np.zeros([0], np.float32)}

    def weights(self) -> tf.Module:
        return self.model

    def description(self) -> dict[str, Any]:
        return super().description() | {"sizes": self.model.sizes._asdict()}

    def contents(self) -> dict[str, Any]:
        return super().contents() | {"graph": identity.fingerprint(self.names)}

    def save_ids(self, directory: pathlib.Path) -> None:
        super().save_ids(directory)
        self.names.save(directory)

    def policy(self, goal: Any = None) -> contract.Policy:
        """Raises UserError: a state names no user."""
        raise UserError(_BY_USER)

    def lists(
        self, observation: types.Observation, blocked: np.ndarray, k: int, goal: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Raises UserError: a state names no user."""
        raise UserError(_BY_USER)

    def lists_of_users(
        self,
        users: np.ndarray,
        observation: types.Observation,
        blocked: np.ndarray,
        k: int,
        goal: str = "",
    ) -> tuple[np.ndarray, np.ndarray]:
        """The lists of users; see `trained.SavedAgent.lists_of_users`.

        A user whom the training events do not have is ranked for by <r_1, i> + b_i.
        """
        del observation
        self._reject_goal(goal)
        lists = self._lists(users, blocked, k)
        return lists.items, lists.scores

    def explain(self, user: RawId, k: int = 10, exclude_seen: bool = True) -> list[Explanation]:
        """The list of a user with the path to each item.

        Args:
          user: raw id of a user of the log.
          k: length of the list.
          exclude_seen: whether the items of the user's training events are left out.

        Raises:
          UserError: if the log has no such user, or k is below 1.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UserError(f"k is {k!r}; expected a whole number of at least 1")
        try:
            dense = int(self.vocabulary.user_ids.encode([user])[0])
        except UserError as error:
            raise UserError(f"user is {user!r}: {error}") from error
        if not dense:
            some = ", ".join(repr(x) for x in self.vocabulary.users[:3].tolist())
            raise UserError(f"user is {user!r}; expected a user of the log, such as {some}")
        blocked = np.zeros([1, self.spec.num_items], bool)
        if exclude_seen:
            blocked[0, self.model.neighbours(dense - 1) - 1] = True
        lists = self._lists(np.array([user]), blocked, k)
        return [
            Explanation(
                self.vocabulary.decode(lists.items[0, place]).item(),
                float(lists.scores[0, place]),
                float(np.exp(lists.log_prob[0, place])),
                self.text(lists.node[0, place], lists.relation[0, place])
                if lists.with_path[0, place]
                else "",
            )
            for place in np.flatnonzero(lists.items[0])
        ]

    def text(self, nodes: np.ndarray, relations: np.ndarray) -> str:
        """A path in names; steps that stay are left out.

        Args:
          nodes: int [L + 1], from the user on.
          relations: int [L], by which each node but the first was reached.
        """
        parts, forward = [self._name(int(nodes[0]))], self.model.sizes.relations
        names = [knowledge_graph.INTERACTED, *self.names.relations.tolist()]
        for node, relation in zip(nodes[1:].tolist(), relations.tolist(), strict=True):
            if relation == walking_graph.STAY:
                continue
            name = names[(relation - 1) % forward]
            arrow = f"-{name}->" if relation <= forward else f"<-{name}-"
            parts += [arrow, self._name(node)]
        return " ".join(parts)

    def _name(self, node: int) -> str:
        sizes = self.model.sizes
        if node <= sizes.items:
            return str(self.vocabulary.items[node - 1])
        if node < sizes.first_user:
            return str(self.names.entities[node - 1 - sizes.items])
        return f"user {self.vocabulary.users[node - sizes.first_user]}"

    def _lists(self, users: np.ndarray, blocked: np.ndarray, k: int) -> pgpr.Lists:
        dense = self.vocabulary.user_ids.encode(users)
        nodes = np.where(dense > 0, self.model.nodes_of(dense - 1), 0)
        return self.model.lists_of_nodes(nodes, blocked, k)

    def rank(
        self, request: ranking.RankingRequest, goal: str | Mapping[str, float] | None = None
    ) -> ranking.Ranking:
        """Raises UserError: a request names no user; see `explain`."""
        raise UserError(_BY_USER)


_BY_USER = (
    f"{METHOD} ranks for the users of its log, by their ids, and not for a history; expected "
    "`agent.explain(user)` from Python, or launch.recommend_all for the lists of all users"
)


def load(directory: str | pathlib.Path) -> PathAgent:
    """Opens the folder of a saved model of paths.

    Raises:
      UserError: if it is not one, or is damaged.
    """
    directory = pathlib.Path(directory)
    path = directory / PathAgent.manifest
    manifest = trained.read_manifest(path, PathAgent.fields, _SCRIPT)
    if manifest["method"] != METHOD:
        raise UserError(f"{path}: method is {manifest['method']!r}; expected {METHOD}")
    config = options.restored(PgprKgConfig, manifest["config"])
    try:
        sizes = walking_graph.Sizes(**manifest["sizes"])
    except TypeError as error:
        raise UserError(f"{path}: damaged sizes ({error}); train the agent again") from error
    vocabulary, names = vocabulary_lib.load(directory), _read_names(directory)
    counts = (len(vocabulary.items), len(names.entities), len(vocabulary.users))
    if counts != sizes[:3] or len(names.relations) + 1 != sizes.relations:
        raise UserError(
            f"{path}: damaged: its sizes are not those of the names beside it; train the "
            "agent again"
        )
    model = pgpr.PathModel(config, walking_graph.empty(sizes), 0)
    agent = PathAgent(model, vocabulary, names, manifest["about"])
    agent.restore(directory, manifest)
    return agent
