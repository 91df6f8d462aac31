"""Trains and evaluates cells of IMRL's Table II, tunes methods, or prepares a data set.

    python -m launch.run_offline --out=runs/table2 --scale=sample --data_set=movielens \
        --method=sasrec --seed=0

`launch.reproduce --table=II` runs this for every cell. It stands alone so that any scheduler
can spread the cells over machines that share a folder. `--method=prepare --source=...` comes
first.
"""

import dataclasses
import pathlib
from typing import Literal

from launch import flags
from launch.experiments import offline_cells, offline_plan, offline_table, pool
from tfrec import outputs
from tfrec.errors import UserError
from tfrec.options import MAX_SEED, Options, option


@dataclasses.dataclass(frozen=True)
class RunOfflineConfig(Options):
    """Which cells, and what to do."""

    out: str = option("runs/table2", "folder of all cells")
    scale: Literal["smoke", "sample", "full"] = option("sample", "how much of everything")
    data_set: str = option(
        "embedded", "amazon_cds, librarything and so on; embedded: generated"
    )
    method: tuple[str, ...] = option(
        ("imrl",),
        "methods, one after the other; prepare: prepares the data and evaluates the controls",
        distinct=True,
        min_length=1,
    )
    seed: int = option(0, "seed of the cells", at_least=0, at_most=MAX_SEED)
    source: str = option("", "where the data set's log lies, to prepare it")
    trials: int = option(
        0, "tune: try this many settings instead of running the cells", at_least=0
    )


flags.define(RunOfflineConfig)


def main(_):
    config = flags.read(RunOfflineConfig)
    outputs.check_folder(config.out)
    if config.data_set not in offline_plan.DATA_SETS:
        known = ", ".join(offline_plan.DATA_SETS)
        raise UserError(f"--data_set={config.data_set}: expected one of {known}")
    known_methods = (offline_table.PREPARE, *offline_plan.ROWS, *offline_plan.ABLATIONS)
    for method in config.method:
        if method not in known_methods:
            raise UserError(f"--method={method}: expected one of {', '.join(known_methods)}")
    out, scale = pathlib.Path(config.out), offline_plan.SCALES[config.scale]

    def work(method: str) -> None:
        if method == offline_table.PREPARE:
            offline_table.prepare(out, config.data_set, config.source, scale)
        elif config.trials:
            here = offline_table.comparison(out, config.data_set, scale)
            offline_cells.tune(here, method, config.trials)
        else:
            cell = offline_table.OfflineCell(config.data_set, method, config.seed)
            offline_table.run(out, cell, scale)

    pool.each(config.method, work)


if __name__ == "__main__":
    flags.run(main)
