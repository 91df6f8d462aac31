"""Simulated users of a prepared log as a simulator of `launch.live`, with their controls."""

from __future__ import annotations

from typing import Self

from tfrec.data import item_vectors, storage
from tfrec.environments import scoring, session, users, worlds
from tfrec.environments.playing import Policy
from tfrec.evaluation import controls


class LogUsers(users.UserEnvironment):
    """Simulated users of a prepared log; sessions begin where those of the training split do.

    Args:
      data: the prepared data.
      world: the users.
      item_width: width of an item's vector.

    Attributes:
      data: as given.
    """

    def __init__(self, data: storage.PreparedData, world: session.World, item_width: int):
        self.data = data
        log = data.episodes("train")
        vectors = item_vectors.log_vectors(log, data.spec.num_items, item_width)
        super().__init__(world, session.starts_of(log), vectors)

    def of_split(self, split: str) -> Self:
        """The same users; sessions begin where the last ones of a split's users do."""
        return self.at(
            scoring.starts(self.data, split, self.data.num_sessions(split), repeats=1)
        )

    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return controls.names(controls.is_solvable(self.world))

    def control(self, name: str) -> Policy:
        """A control by its name, see `controls.CONTROLS`."""
        return self.adapted(controls.CONTROLS[name]().policy(self.data, self.world, seed=0))


def load(path: str, world: str, item_width: int) -> LogUsers:
    """Opens the users of prepared data.

    Args:
      path: folder of the data.
      world: see `worlds.load`.
      item_width: see `LogUsers`.

    Raises:
      UserError: if the data cannot be read, or the users are of other data.
    """
    data = storage.PreparedData.open(path)
    return LogUsers(data, worlds.load(world, data), item_width)
