"""Simulated users of a prepared log as a simulator of `launch.live`, with their controls."""

from __future__ import annotations

from tfrec.data import item_vectors, storage
from tfrec.environments import scoring, session, users, worlds
from tfrec.environments.playing import Policy
from tfrec.evaluation import controls


class LogUsers(users.UserEnvironment):
    """Simulated users of a prepared log.

    Args:
      data: the prepared data.
      world: the users.
      split: whose sessions begin the play: all of `train`, the last of each user of the others.
      item_width: width of an item's vector.

    Attributes:
      data: as given.
    """

    def __init__(
        self, data: storage.PreparedData, world: session.World, split: str, item_width: int
    ):
        self.data = data
        log = data.episodes("train")
        starts = session.starts_of(log)
        if split != "train":
            starts = scoring.starts(data, split, data.num_sessions(split), repeats=1)
        vectors = item_vectors.log_vectors(log, data.spec.num_items, item_width)
        super().__init__(world, starts, vectors)

    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return controls.names(controls.is_solvable(self.world))

    def control(self, name: str) -> Policy:
        """A control by its name, see `controls.policies`."""
        return self.adapted(controls.policies(self.data, self.world, seed=0)[name])


def load(path: str, world: str, split: str, item_width: int) -> LogUsers:
    """Opens the users of prepared data.

    Args:
      path: folder of the data.
      world: see `worlds.load`.
      split: see `LogUsers`.
      item_width: see `LogUsers`.

    Raises:
      UserError: if the data cannot be read, or the users are of other data.
    """
    data = storage.PreparedData.open(path)
    return LogUsers(data, worlds.load(world, data), split, item_width)
