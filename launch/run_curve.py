"""Runs cells of IMRL's figures: a method in an environment, or its controls.

    python -m launch.run_curve --out=runs/figures --scale=sample --environment=recsim \
        --method=imrl --seed=0

`launch.reproduce --figure` runs this script for every cell. It is a separate script so that any
scheduler can distribute the cells over machines with a shared folder.
"""

import dataclasses
import pathlib
from typing import Literal

from launch import flags
from launch.experiments import cell_config, figures, pool
from tfrec import outputs
from tfrec.methods import registry
from tfrec.options import option


@dataclasses.dataclass(frozen=True)
class RunCurveConfig(cell_config.CellsConfig):
    """The cells."""

    out: str = option("runs/figures", "folder of all cells")
    environment: Literal["recsim", "recogym", "virtualtb"] = option(
        "recsim", "environment of the cells"
    )
    method: tuple[str, ...] = option(
        ("imrl",),
        f"methods, run one after the other; {figures.CONTROLS}: levels of untrained policies",
        distinct=True,
        min_length=1,
    )
    virtualtb_path: str = option("", "folder of a clone of VirtualTaobao")


flags.define(RunCurveConfig)


def main(_):
    config = flags.read(RunCurveConfig)
    outputs.check_folder(config.out)
    for method in config.method:
        if method != figures.CONTROLS:
            registry.get(method, config.environment)
    out, scale = pathlib.Path(config.out), figures.SCALES[config.scale]

    def work(method: str) -> None:
        cell = figures.Cell(config.environment, method, config.seed)
        figures.run(out, cell, scale, config.virtualtb_path)

    pool.each(config.method, work)


if __name__ == "__main__":
    flags.run(main)
