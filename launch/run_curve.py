r"""Runs cells of IMRL's figures: a method in an environment, or its controls; or tunes methods.

    python -m launch.run_curve --out=runs/figures --scale=sample --environment=recsim \
        --method=imrl --seed=0

`launch.reproduce --figure` runs this script for every cell. It is a separate script so that any
scheduler can distribute the cells over machines with a shared folder.
"""

import dataclasses
import pathlib
from typing import Literal

from launch import flags
from launch.experiments import cell_config, figure_plan, figures, pool
from tfrec import outputs
from tfrec.methods import registry
from tfrec.options import option


@dataclasses.dataclass(frozen=True)
class RunCurveConfig(cell_config.CellsConfig):
    """The cells."""

    out: str = option("runs/figures", "folder of all cells: the --out of launch.reproduce")
    environment: Literal["recsim", "recogym", "virtualtb"] = option(
        "recsim", "environment of the cells"
    )
    method: tuple[str, ...] = option(
        ("imrl",),
        f"methods, run one after the other; {figure_plan.CONTROLS}: levels of untrained "
        "policies",
        distinct=True,
        min_length=1,
    )
    virtualtb_path: str = option("", "folder of a clone of VirtualTaobao")
    trials: int = option(
        0, "number of settings to try in tuning, instead of running the cells", at_least=0
    )


flags.define(RunCurveConfig)


def main(_):
    config = flags.read(RunCurveConfig)
    outputs.check_folder(config.out)
    for method in config.method:
        if method != figure_plan.CONTROLS:
            registry.get(method, config.environment)
    out, scale = pathlib.Path(config.out), figure_plan.SCALES[config.scale]

    def work(method: str) -> None:
        path, place = config.virtualtb_path, config.environment
        if config.trials:
            figures.tune(out, place, method, scale, path, config.trials)
        else:
            figures.run(out, figure_plan.Cell(place, method, config.seed), scale, path)

    pool.each(config.method, work)


if __name__ == "__main__":
    flags.run(main)
