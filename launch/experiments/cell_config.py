"""Flags of the scripts that run cells of tables and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Literal

from tfrec.errors import UserError
from tfrec.options import MAX_SEED, Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellsConfig(Options):
    """The size and the seed of cells."""

    scale: Literal["smoke", "sample", "full"] = option(
        "sample", "sizes of data, training and tests"
    )
    seed: int = option(0, "seed of the cells", at_least=0, at_most=MAX_SEED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableCellsConfig(CellsConfig):
    """Cells of a table with data sets as its columns, and the action."""

    data_set: str = option(
        "embedded", "data set of the cells, e.g. movielens; embedded: a generated log"
    )
    source: str = option("", "path of the data set's log, to prepare it")
    trials: int = option(
        0, "number of settings to try in tuning, instead of running the cells", at_least=0
    )

    def check_data_set(self, data_sets: Collection[str]) -> None:
        """Rejects a data set that the table does not have.

        Raises:
          UserError: naming the data sets of the table.
        """
        if self.data_set not in data_sets:
            raise UserError(
                f"--data_set={self.data_set}: expected one of {', '.join(data_sets)}"
            )
