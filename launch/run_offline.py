"""Trains and evaluates cells of IMRL's Table II, tunes methods, or prepares a data set.

    python -m launch.run_offline --out=runs/table2 --scale=sample --data_set=movielens \
        --method=sasrec --seed=0

`launch.reproduce --table=II` runs this script for every cell. It is a separate script so that
any scheduler can distribute the cells over machines with a shared folder.
`--method=prepare --source=...` comes first.
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
    """The cells, and the action."""

    out: str = option("runs/table2", "folder of all cells")
    scale: Literal["smoke", "sample", "full"] = option(
        "sample", "sizes of data, training and tests"
    )
    data_set: str = option(
        "embedded", "amazon_cds, librarything and so on; embedded: generated"
    )
    method: tuple[str, ...] = option(
        ("imrl",),
        "methods, run one after the other; prepare: prepares the data, evaluates the controls",
        distinct=True,
        min_length=1,
    )
    seed: int = option(0, "seed of the cells", at_least=0, at_most=MAX_SEED)
    source: str = option("", "path of the data set's log, to prepare it")
    trials: int = option(
        0, "number of settings to try in tuning, instead of running the cells", at_least=0
    )


flags.define(RunOfflineConfig)


def main(_):
    config = flags.read(RunOfflineConfig)
    outputs.check_folder(config.out)
    if config.data_set not in offline_plan.DATA_SETS:
        data_sets = ", ".join(offline_plan.DATA_SETS)
        raise UserError(f"--data_set={config.data_set}: expected one of {data_sets}")
    methods = (offline_table.PREPARE, *offline_plan.ROWS, *offline_plan.ABLATIONS)
    for method in config.method:
        if method not in methods:
            raise UserError(f"--method={method}: expected one of {', '.join(methods)}")
    out, scale = pathlib.Path(config.out), offline_plan.SCALES[config.scale]

    def work(method: str) -> None:
        if method == offline_table.PREPARE:
            offline_table.prepare(out, config.data_set, config.source, scale)
        elif config.trials:
            comparison = offline_table.open_comparison(out, config.data_set, scale)
            offline_cells.tune(comparison, method, config.trials)
        else:
            cell = offline_table.OfflineCell(config.data_set, method, config.seed)
            offline_table.run(out, cell, scale)

    pool.each(config.method, work)


if __name__ == "__main__":
    flags.run(main)
