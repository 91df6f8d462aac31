r"""Trains and evaluates cells of a table, or tunes methods for one data set.

    python -m launch.run_cell --out=runs/sample --scale=sample --data_set=movielens \
        --environment=vanilla --method=rainbow --seed=0

`launch.reproduce` runs this script for every cell. It is a separate script so that any
scheduler can distribute the cells over machines with a shared folder. A finished cell is
checked and not run again.
"""

import dataclasses
import functools
import pathlib

from launch import flags
from launch.experiments import (
    cell_config,
    pool,
    table_plan,
    table_results,
    table_settings,
    table_tuning,
    tables,
)
from tfrec import outputs
from tfrec.errors import UserError
from tfrec.options import option


@dataclasses.dataclass(frozen=True)
class RunCellConfig(cell_config.TableCellsConfig):
    """The cell, and the action."""

    out: str = option("runs/reproduction", "folder of all cells: the --out of launch.reproduce")
    environment: str = option(
        "vanilla", "vanilla, high_dimensional, high_variance or high_variance_literal"
    )
    method: tuple[str, ...] = option(
        ("goalrec",),
        "methods or controls, run one after the other; prepare: prepares the data alone",
        distinct=True,
        min_length=1,
    )


flags.define(RunCellConfig)


def main(_):
    config = flags.read(RunCellConfig)
    outputs.check_folder(config.out)
    config.check_data_set(table_plan.DATA_SETS)
    environments = [name for names in table_plan.ENVIRONMENTS.values() for name in names]
    if config.environment not in environments:
        raise UserError(
            f"--environment={config.environment}: expected one of {', '.join(environments)}"
        )
    out, scale = pathlib.Path(config.out), table_plan.SCALES[config.scale]

    @functools.cache  # shared by all methods of this process
    def setting() -> table_settings.Setting:
        return table_settings.setting(out, config.data_set, config.environment, scale)

    def work(method: str) -> None:
        if method == "prepare":
            table_settings.prepare(out, config.data_set, config.source, scale)
        elif config.trials:
            table_tuning.tune(out, config.data_set, method, scale, config.trials)
        else:
            cell = table_plan.Cell(config.data_set, config.environment, method, config.seed)
            if cell.result(out).exists():
                table_results.check_done(out, [cell], scale)
            else:
                tables.run(out, cell, setting(), scale)

    pool.each(config.method, work)


if __name__ == "__main__":
    flags.run(main)
