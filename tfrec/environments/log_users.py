"""Simulator of the users of a prepared log, with the log's splits and controls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Self

from tfrec.data import identity, item_vectors, storage
from tfrec.environments import contract, controls, scoring, user_models, users, worlds


class LogUsers(users.UserEnvironment):
    """Simulated users of a prepared log; sessions start as those of the training split.

    Args:
      simulated: the users.
      item_width: width of an item's vector.
      taste: the last columns of an item's vector, see `item_vectors.log_vectors`.

    Attributes:
      data: the prepared data of the users.
    """

    def __init__(
        self,
        simulated: worlds.SimulatedUsers,
        item_width: int,
        taste: item_vectors.Taste = "co_clicks",
    ):
        self._simulated = simulated
        self.data = simulated.data
        log = self.data.episodes("train")
        vectors = item_vectors.log_vectors(
            log, self.data.spec.num_items, item_width, taste=taste
        )
        super().__init__(simulated.world, user_models.starts_of(log), vectors)

    def of_split(self, split: str) -> Self:
        """The same users, with sessions that start as the last ones of a split's users."""
        sessions = self.data.num_sessions(split)
        return self.at(scoring.starts(self.data, split, sessions, repeats=1))

    def controls(self) -> dict[str, Callable[[], tuple[contract.Simulator, contract.Policy]]]:
        """The controls of `tfrec.environments.controls`."""
        names = controls.names(controls.is_solvable(self.world))
        return {name: functools.partial(self._control, name) for name in names}

    def inputs(self) -> dict[str, identity.Source]:
        return worlds.inputs(self.data, self._simulated.name, self.world)

    def _control(self, name: str) -> tuple[contract.Simulator, contract.Policy]:
        return self, controls.CONTROLS[name]().policy(self.data, self, seed=0)


def load(path: str, world: str, item_width: int, taste: item_vectors.Taste) -> LogUsers:
    """Opens the users of prepared data.

    Args:
      path: folder of the data.
      world: see `worlds.load`.
      item_width: see `LogUsers`.
      taste: see `LogUsers`.

    Raises:
      UserError: if the data cannot be read, or the users are of other data.
    """
    data = storage.PreparedData.open(path)
    return LogUsers(worlds.users(world, data), item_width, taste)
