"""Simulated users by name: the folder of a fitted user model, `truth` or `lookup`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrec import options, types
from tfrec.data import identity, storage, synthetic
from tfrec.environments import embedded, lookup, user_models
from tfrec.environments import users as users_lib
from tfrec.environments.fitted import simulated
from tfrec.errors import UserError

TRUTH = "truth"
LOOKUP = "lookup"
HELP = (
    "simulated users: a folder written by fit_simulator; `truth` for the ground truth of the "
    "embedded log; or `lookup` for users with the clicks of the log"
)


@dataclasses.dataclass(frozen=True)
class SimulatedUsers:
    """Simulated users with the ids of prepared data.

    Attributes:
      world: the user model.
      data: the prepared data that defines the ids.
      name: folder of the user model, `truth` or `lookup`; recorded with agents that are
        trained on the users.
      report: fit to held-out sessions, see `simulated.Fit`; None for loaded users and for the
        embedded truth.
    """

    world: user_models.UserModel
    data: storage.PreparedData
    name: str
    report: Mapping[str, Any] | None = None

    @property
    def environment(self) -> users_lib.UserEnvironment:
        """The users as an environment for policies that read the history."""
        return users_lib.UserEnvironment(self.world)

    def __str__(self) -> str:
        kinds = {TRUTH: "the embedded truth", LOOKUP: "users with the clicks of the log"}
        kind = kinds.get(self.name, f"fitted users of {self.name}")
        if self.report is None:
            return kind
        return f"{kind}\n\n{simulated.table(self.report)}"

    def _repr_markdown_(self) -> str:
        return str(self)


def load(name: str, data: storage.PreparedData) -> user_models.UserModel:
    """Opens a world for prepared data.

    Raises:
      UserError: if the world was not made for this data.
    """
    if name == LOOKUP:
        return lookup.LookupWorld(data.episodes("all"), data.spec, data.vocabulary)
    if name != TRUTH:
        world = simulated.load(name)
        if world.data is None:
            raise UserError(
                f"{name}: does not record the items and users behind its dense ids, so it "
                f"cannot be compared with {data.directory} (fingerprint {data.fingerprint}): "
                "an earlier version fitted it. Fit it again: python -m launch.fit_simulator "
                f"--data={data.directory} --out={name} --overwrite"
            )
        identity.check(dataclasses.replace(world.data, path=name), data.origin)
        return world
    generator = data.manifest.get("generator")
    if not generator:
        raise UserError(
            f"{data.directory}: its log ({data.manifest['source']}) has no known ground truth; "
            "expected the embedded log, or a folder written by fit_simulator"
        )
    config = options.restored(synthetic.SyntheticConfig, generator)
    return embedded.EmbeddedWorld(config, data.spec, data.vocabulary)


def users(name: str, data: storage.PreparedData) -> SimulatedUsers:
    """Simulated users of prepared data; arguments and errors as in `load`."""
    return SimulatedUsers(load(name, data), data, name)


def inputs(
    data: storage.PreparedData, name: str = "", world: user_models.UserModel | None = None
) -> dict[str, identity.Source]:
    """Data and world as inputs of a run or a study.

    Args:
      data: the prepared data.
      name: name of the world, as in `load`.
      world: the world; None for learning from the log alone.
    """
    sources = {"data": data.source}
    if world is not None:
        sources["world"] = identity.Source(name, world.fingerprint)
    return sources


def about(data: storage.PreparedData, sources: Mapping[str, identity.Source]) -> dict[str, Any]:
    """Provenance of an agent, which is saved with it.

    Args:
      data: the prepared data that it was trained on.
      sources: result of `inputs`.
    """
    provenance = dict(data.provenance)
    if world := sources.get("world"):
        provenance |= {"world": world.path, "world_fingerprint": world.fingerprint}
    return provenance


def last_sessions(episodes: types.Episodes) -> types.Episodes:
    """The last session of each user, which has the longest history; evaluations start there."""
    return types.rows(episodes, _is_last(episodes))


def earlier_sessions(episodes: types.Episodes, user: np.ndarray) -> types.Episodes:
    """The sessions of some users, given by dense ids, before their last one."""
    wanted = np.isin(np.asarray(episodes.user), user)
    return types.rows(episodes, ~_is_last(episodes) & wanted)


def _is_last(episodes: types.Episodes) -> np.ndarray:
    user = np.asarray(episodes.user)
    return np.append(user[1:] != user[:-1], True)
