"""Simulated users by name: a fitted user model's folder, the embedded truth, or the log."""

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
    "simulated users: a folder that fit_simulator wrote; `truth` for the ground truth of the "
    "embedded log; or `lookup`, who click what the log says that they clicked"
)


@dataclasses.dataclass(frozen=True)
class SimulatedUsers:
    """Users that answer recommendations in place of the log's.

    Attributes:
      world: the model of the users.
      data: the prepared data that their ids are of.
      name: folder of the user model, or `truth`; recorded with what is trained on them.
      report: how true fitted users are to held-out sessions, see `simulated.Fit`; None for
        users that were loaded, and for the embedded truth.
    """

    world: user_models.UserModel
    data: storage.PreparedData
    name: str
    report: Mapping[str, Any] | None = None

    @property
    def environment(self) -> users_lib.UserEnvironment:
        """The users as an environment of policies that read the history."""
        return users_lib.UserEnvironment(self.world)

    def __str__(self) -> str:
        named = {TRUTH: "the embedded truth", LOOKUP: "users who act as the log says"}
        kind = named.get(self.name, f"fitted users of {self.name}")
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
            "expected the embedded log, or a folder that fit_simulator wrote"
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
      name: of the world, as `load` takes it.
      world: the world; None where the log alone is learned from.
    """
    found = {"data": data.source}
    if world is not None:
        found["world"] = identity.Source(name, world.fingerprint)
    return found


def about(data: storage.PreparedData, sources: Mapping[str, identity.Source]) -> dict[str, Any]:
    """Where an agent comes from, to be kept with it.

    Args:
      data: the prepared data that it was trained on.
      sources: what `inputs` gave.
    """
    found = dict(data.provenance)
    if world := sources.get("world"):
        found |= {"world": world.path, "world_fingerprint": world.fingerprint}
    return found


def last_sessions(episodes: types.Episodes) -> types.Episodes:
    """The last session of each user, with the longest history: evaluation starts from it."""
    user = np.asarray(episodes.user)
    last = np.append(user[1:] != user[:-1], True)
    return types.Episodes(*(np.asarray(part)[last] for part in episodes))
