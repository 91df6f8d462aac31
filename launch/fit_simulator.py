"""Fits simulated users to prepared data, calibrates them and reports how true they are."""

import dataclasses
import pathlib

import rich
from rich import markdown

from launch import flags
from tfrec import outputs
from tfrec.data import storage
from tfrec.environments.fitted import calibration, simulated, user_model_config
from tfrec.options import MAX_SEED, Options, option, required


@dataclasses.dataclass(frozen=True)
class FitSimulatorConfig(Options):
    """Where the data lies and where the users go."""

    data: str = required("folder of prepared data, written by launch.prepare_data")
    out: str = required("folder for the user model and its report")
    seed: int = option(
        0,
        "seed of the weights, the held-out sessions and the report",
        at_least=0,
        at_most=MAX_SEED,
    )
    target_depth: float | None = option(
        None,
        "mean depth to calibrate the exits to, steps; by default the log's exits",
        at_least=1,
    )
    overwrite: bool = option(False, "replace a user model that is there already")


flags.define(FitSimulatorConfig)
flags.define(user_model_config.UserModelConfig)


def main(_):
    config = flags.read(FitSimulatorConfig)
    outputs.check_folder(config.out)
    model_config = flags.read(user_model_config.UserModelConfig)
    data = storage.PreparedData.open(config.data)
    fit = simulated.fit(
        data, config.out, model_config, config.seed, config.target_depth, config.overwrite
    )
    rich.print(markdown.Markdown(calibration.table(fit.report)))
    adjusted = ", ".join(
        f"{name} {a:.2f} z {b:+.2f}" for name, (a, b) in fit.calibration.items()
    )
    rich.print(f"calibration made of each logit z (of an amount, its logarithm): {adjusted}")
    out = pathlib.Path(config.out)
    rich.print(f"user model in {out / simulated.MODEL}, report in {out / 'simulator.md'}")


if __name__ == "__main__":
    flags.run(main)
