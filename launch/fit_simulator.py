"""Fits simulated users to prepared data and compares them with the log.

    python -m launch.fit_simulator --data=runs/data --out=runs/simulator
    python -m launch.fit_simulator --model=adversarial --data=runs/data --out=runs/choices

The recurrent model predicts all feedback to an item and when the user leaves; it is calibrated.
Users of the adversarial model (Chen et al. 2019) choose among displayed items and never leave;
`--model=adversarial --help` lists its flags.
"""

import dataclasses
import pathlib
from typing import Literal

import rich
from rich import markdown

from launch import flags
from tfrec import outputs
from tfrec.data import storage
from tfrec.environments.fitted import kinds, simulated
from tfrec.options import MAX_SEED, Options, option, required


@dataclasses.dataclass(frozen=True)
class FitSimulatorConfig(Options):
    """The data, the user model and its folder."""

    data: str = required("folder of prepared data, written by launch.prepare_data")
    out: str = required("folder for the user model and its report")
    model: Literal["recurrent", "adversarial"] = option("recurrent", "kind of user model")
    split: Literal["all", "train", "validation", "test"] = option(
        "all",
        "users on which the simulator is fitted: all, or those of one split, so that a policy "
        "can be trained in one simulator and evaluated in another",
    )
    seed: int = option(
        0,
        "seed of the weights, the held-out sessions and the report",
        at_least=0,
        at_most=MAX_SEED,
    )
    target_depth: float | None = option(
        None,
        "mean depth to calibrate the exits of the recurrent model to, steps; by default the "
        "log's exits",
        at_least=1,
    )
    overwrite: bool = option(False, "replace an existing user model")


flags.define(FitSimulatorConfig)
flags.define_dependent(
    "model", kinds.CONFIGS, lambda kind: kinds.CONFIGS[kind], kinds.RECURRENT
)


def main(_):
    config = flags.read(FitSimulatorConfig)
    outputs.check_folder(config.out)
    model_config = flags.read(kinds.CONFIGS[config.model])
    data = storage.PreparedData.open(config.data)
    fit = simulated.fit(
        data,
        config.out,
        model_config,
        config.seed,
        config.target_depth,
        config.overwrite,
        config.split,
    )
    rich.print(markdown.Markdown(simulated.table(fit.report)))
    if fit.calibration:
        adjusted = ", ".join(
            f"{name} {a:.2f} z {b:+.2f}" for name, (a, b) in fit.calibration.items()
        )
        rich.print(f"calibration of each logit z (for an amount, its logarithm): {adjusted}")
    out = pathlib.Path(config.out)
    rich.print(f"user model in {out / simulated.MODEL}, report in {out / 'simulator.md'}")


if __name__ == "__main__":
    flags.run(main)
