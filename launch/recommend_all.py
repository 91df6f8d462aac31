r"""Writes the ranked lists of every user of a log to a Parquet file.

    python -m launch.recommend_all --agent=runs/goalrec/agent --data=runs/data --k=20 \
        --exclude_seen --out=lists.parquet

The columns are user, rank (from 1), item and score, a row for each listed item. The same
command continues after an interruption. A sequential model reads logs in other forms, too:

    python -m launch.recommend_all --agent=runs/sasrec/model --data=ml-1m.txt --format=rows \
        --out=lists.parquet
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec import outputs
from tfrec.data import sequence_logs, storage
from tfrec.data.sources import table as table_source
from tfrec.methods import all_users, registry
from tfrec.options import Options, option, required


@dataclasses.dataclass(frozen=True)
class RecommendAllConfig(Options):
    """The agent, the log and the output file."""

    agent: str = required("folder of a trained agent, or `model/` of a sequential run")
    data: str = required("the log of the users")
    out: str = required("the Parquet file, which must not exist yet")
    format: Literal["prepared", "rows", "lines", "table"] = option(
        "prepared",
        "form of the log, as in launch.train_sequential; agents other than sequential models "
        "read feedback, which only prepared data has",
    )


flags.define(RecommendAllConfig)
flags.define(all_users.ListsConfig)
flags.define(table_source.TableConfig, "columns_")


def main(_):
    config, lists = flags.read(RecommendAllConfig), flags.read(all_users.ListsConfig)
    outputs.check_file(config.out)
    agent = registry.load(config.agent)
    all_users.check(config.out, agent, lists)
    if config.format == "prepared":
        data = storage.PreparedData.open(config.data)
        histories = all_users.of_prepared(data, agent)
    else:
        columns = flags.read(table_source.TableConfig, "columns_")
        log = sequence_logs.open_log(config.data, config.format, columns)
        histories = all_users.of_log(log, agent, config.data)
    unknown = int((histories.events.lengths == 0).sum())
    if unknown:
        flags.warn(
            f"{unknown:,} of {len(histories.users):,} users have no event of an item that the "
            "agent knows; their lists are those of an empty history"
        )

    def say(done: int, users: int) -> None:
        print(f"{done:,} of {users:,} users")

    before = all_users.write(agent, histories, config.out, lists, say)
    resumed = f", {before:,} of them by an earlier run" if before else ""
    print(f"{config.out}: lists of {len(histories.users):,} users{resumed}")


if __name__ == "__main__":
    flags.run(main)
