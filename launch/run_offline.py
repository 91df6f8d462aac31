r"""Trains and evaluates cells of IMRL's Table II, tunes methods, or prepares a data set.

    python -m launch.run_offline --out=runs/table2 --scale=sample --data_set=movielens \
        --method=sasrec --seed=0

`launch.reproduce --table=II` runs this script for every cell. It is a separate script so that
any scheduler can distribute the cells over machines with a shared folder.
`--method=prepare --source=...` comes first.
"""

import dataclasses
import pathlib

from launch import flags
from launch.experiments import cell_config, offline_cells, offline_plan, offline_table, pool
from tfrec import outputs
from tfrec.errors import UserError
from tfrec.options import option


@dataclasses.dataclass(frozen=True)
class RunOfflineConfig(cell_config.TableCellsConfig):
    """The cells, and the action."""

    out: str = option("runs/table2", "folder of all cells: the --out of launch.reproduce")
    method: tuple[str, ...] = option(
        ("imrl",),
        "methods, run one after the other; prepare: prepares the data, evaluates the controls",
        distinct=True,
        min_length=1,
    )


flags.define(RunOfflineConfig)


def main(_):
    config = flags.read(RunOfflineConfig)
    outputs.check_folder(config.out)
    config.check_data_set(offline_plan.DATA_SETS)
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
