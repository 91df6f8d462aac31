"""Fits simulated users to prepared data, calibrates them and reports how true they are."""

import dataclasses
import pathlib

import numpy as np
import rich
from rich import markdown

from launch import flags
from tfrec import outputs, types
from tfrec.data import storage
from tfrec.environments.fitted import calibration, fitting, user_model_config
from tfrec.errors import UserError
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
    out = pathlib.Path(config.out)
    if (out / "model").exists() and not config.overwrite:
        raise UserError(f"{out / 'model'} exists; pass --overwrite or another --out")
    data = storage.PreparedData.open(config.data)
    # All users: this is the world that policies are tried in. That no policy learns from
    # test users is the business of the starts it is given.
    episodes = data.episodes(storage.ALL)
    held_out = fitting.held_out_sessions(
        len(episodes.length), model_config.held_out_fraction, config.seed
    )
    model = fitting.fit(episodes, data.spec, model_config, config.seed)
    unseen = types.Episodes(*(np.asarray(x)[held_out] for x in episodes))
    moved = calibration.calibrate(model, episodes, config.target_depth, unseen, config.seed)
    model.save(out / "model", data.origin)
    measured = calibration.report(model, unseen, out, log=episodes, seed=config.seed)
    rich.print(markdown.Markdown(calibration.table(measured)))
    adjusted = ", ".join(f"{name} {a:.2f} z {b:+.2f}" for name, (a, b) in moved.items())
    rich.print(f"calibration made of each logit z (of an amount, its logarithm): {adjusted}")
    rich.print(f"user model in {out / 'model'}, report in {out / 'simulator.md'}")


if __name__ == "__main__":
    flags.run(main)
