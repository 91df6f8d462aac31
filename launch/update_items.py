"""Changes the items that a trained agent ranks, without training.

    python -m launch.update_items --agent=runs/goalrec/agent --items=items.parquet \
        --out=runs/goalrec_today/agent
    python -m launch.export_model --agent=runs/goalrec_today/agent --out=export

The table has one row for each item: the raw id first, then the features that the agent was
trained with. The changed agent ranks new items by these features, and the table replaces the
features of the other items. With --absent=remove, items that the table lacks are removed.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec import outputs
from tfrec.errors import UserError
from tfrec.methods import catalogue, registry
from tfrec.options import Options, option, required


@dataclasses.dataclass(frozen=True)
class UpdateItemsConfig(Options):
    """The agent, its items, and the folder of the changed agent."""

    agent: str = required("folder of a trained agent that reads features of items")
    items: str = required("text or Parquet file of the items; first column: the raw id")
    out: str = required("output folder of the changed agent, which must not exist yet")
    absent: Literal["keep", "remove"] = option(
        "keep", "treatment of items that the table lacks"
    )


flags.define(UpdateItemsConfig)


def main(_):
    config = flags.read(UpdateItemsConfig)
    if pathlib.Path(config.out).exists():
        raise UserError(f"--out={config.out}: exists already; choose another folder")
    outputs.check_folder(config.out)
    agent = registry.load(config.agent)
    change = catalogue.plan(agent, config.items, config.absent)
    changed = agent.with_items(change)
    changed.save(config.out)
    print(
        f"{config.out}: {changed.spec.num_items:,} items, {change.added:,} added, "
        f"{change.removed:,} removed; {changed.spec.num_candidates:,} may be recommended"
    )


if __name__ == "__main__":
    flags.run(main)
