r"""Changes the items that a trained agent ranks, without training.

    python -m launch.update_items --agent=runs/goalrec/agent --items=items.parquet \
        --out=runs/goalrec_today/agent --export=export

The table has one row for each item: the raw id first, then the features that the agent was
trained with. The changed agent ranks new items by these features, and the table replaces the
features of the other items. With --absent=remove, items that the table lacks are removed.

With --export, the changed agent is also the next version of a folder of exports, with the name,
the item table and the shortlist of the newest one there. Where that one has names and features
of its items for people, or --item_name is given, the table replaces these, too. The folder of
the agent appears when the version is verified, or neither appears.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import agent_export, flags
from tfrec import outputs
from tfrec.data import vocabulary
from tfrec.errors import UserError
from tfrec.methods import catalogue, registry
from tfrec.options import Options, option, required
from tfrec.serving import descriptions


@dataclasses.dataclass(frozen=True)
class UpdateItemsConfig(Options):
    """The agent, its items, and the folder of the changed agent."""

    agent: str = required("folder of a trained agent that reads features of items")
    items: str = required("text or Parquet file of the items; first column: the raw id")
    out: str = required("output folder of the changed agent, which must not exist yet")
    export: str = option(
        "",
        "folder of numbered versions that gets a verified export of the changed agent; empty "
        "for none",
    )
    item_name: str = option(
        "",
        "column of the items' table with their names, for the export; by default that of the "
        "newest version",
    )
    absent: Literal["keep", "remove"] = option(
        "keep", "treatment of items that the table lacks"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.item_name and not self.export:
            raise ValueError("--item_name is for an export: pass --export, too")


flags.define(UpdateItemsConfig)


def main(_):
    config = flags.read(UpdateItemsConfig)
    if pathlib.Path(config.out).exists():
        raise UserError(f"--out={config.out}: exists already; choose another folder")
    outputs.check_folder(config.out)
    if config.export:
        outputs.check_folder(config.export, "--export")
    agent = registry.load(config.agent)
    change = catalogue.plan(agent, config.items, config.absent)
    changed = agent.with_items(change)
    settings = _settings(config, changed.vocabulary)
    version = None
    with outputs.replacing_folder(config.out) as partial:
        changed.save(partial)
        if config.export:
            version, _ = agent_export.write(changed, config.agent, config.export, settings)
    print(
        f"{config.out}: {changed.spec.num_items:,} items, {change.added:,} added, "
        f"{change.removed:,} removed; {changed.spec.num_candidates:,} may be recommended"
    )
    if version is not None:
        print(f"{version}: verified against the agent")


def _settings(config: UpdateItemsConfig, ids: vocabulary.Vocabulary) -> agent_export.Settings:
    """How the export is written: as the newest version, with the descriptions of the table."""
    if not config.export:
        return agent_export.Settings()
    settings = agent_export.newest(config.export)
    former = settings.described
    name = config.item_name or (former.name if former else "")
    if not former and not name:
        return settings
    described = descriptions.read(config.items, ids.item_ids, ids.item_features, name, former)
    return settings._replace(described=described)


if __name__ == "__main__":
    flags.run(main)
