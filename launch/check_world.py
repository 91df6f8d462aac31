r"""Reports what environments of simulated users can tell about recommenders.

    python -m launch.check_world --data=runs/data --worlds=truth --out=runs/check
    python -m launch.check_world --data=runs/ml/data --worlds=runs/ml/users0,runs/ml/users1 \
        --out=runs/ml/check

The report has the variance of click and exit logits by user, item, state and interactions, what
policies earn that ignore users or sessions, and whether the environment can rank personalised
methods, by thresholds that are flags. With several worlds of one data set, such as refits with
other seeds, it has the spread between them. Writes check.json, table.md, report.md, report.html
and check.png.
"""

import dataclasses
import pathlib

from launch import flags
from tfrec import outputs
from tfrec.data import storage
from tfrec.environments import registry, worlds
from tfrec.errors import UserError
from tfrec.evaluation import world_check, world_check_config
from tfrec.options import Options, option

_REASONS = {
    "recsim": "its documents are drawn anew for each user, so users have no item in common",
    "recogym": "its users view products by themselves, and clicks are known for one slate only",
    "virtualtb": "its actions are continuous, and there are no items to list",
    "gymnasium": "its users cannot be asked for their answers to every item",
}


@dataclasses.dataclass(frozen=True)
class CheckWorldConfig(Options):
    """What is measured, and where the report goes."""

    environment: str = option(
        "users", "the environment; only `users`, of a log, can be measured"
    )
    data: str = option("runs/data", "folder of the prepared data")
    worlds: tuple[str, ...] = option(
        ("truth",),
        f"one or more, measured side by side: {worlds.HELP}",
        distinct=True,
        min_length=1,
    )
    out: str = option("runs/check", "folder for the report")


flags.define(CheckWorldConfig)
flags.define(world_check_config.WorldCheckConfig)


def main(_):
    config = flags.read(CheckWorldConfig)
    numbers = flags.read(world_check_config.WorldCheckConfig)
    environment = registry.get(config.environment)
    if not environment.of_log:
        raise UserError(
            f"--environment={config.environment}: {environment.title} cannot be measured: "
            f"{_REASONS[config.environment]}. Expected --environment=users, with --data and "
            "--worlds"
        )
    outputs.check_folder(config.out)
    data = storage.PreparedData.open(config.data)
    users = [worlds.users(name, data) for name in config.worlds]  # all are opened first
    checks = []
    for each in users:
        checks.append(world_check.check(each, numbers))
        page = world_check.write(config.out, checks, data, numbers)  # so far
    print((pathlib.Path(config.out) / "table.md").read_text())
    print(f"report: {page}")


if __name__ == "__main__":
    flags.run(main)
