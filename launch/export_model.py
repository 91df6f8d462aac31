"""Exports a trained agent as a verified SavedModel that ranks for any goal, or a policy.

    python -m launch.export_model --agent=runs/goalrec/agent --out=export
    python -m launch.export_model --agent=runs/sasrec/model --out=export_sasrec
    python -m launch.export_model --policy=runs/imrl/policy --out=policies

An agent without goals, a baseline or a sequential model, has one goal, `score`. The model is
loaded afresh and compared with the agent before its directory appears.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Literal

import rich
from rich import markup

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import agent_export, flags
from tfrec import errors, outputs
from tfrec.data import storage
from tfrec.methods import registry
from tfrec.options import Options, option
from tfrec.serving import descriptions, export_policy, manifest
from tfrec.serving import policy as policy_lib


@dataclasses.dataclass(frozen=True)
class ExportModelConfig(Options):
    """The exported agent or policy, and the folder of versions."""

    agent: str = option(
        "", "folder of a trained agent: of GoalRec, a baseline or a sequential model"
    )
    policy: str = option("", "instead of --agent, a policy that launch.train wrote")
    out: str = option("export", "folder of numbered versions")
    version: int | None = option(
        None, "version number; by default the next free one", at_least=1, at_most=2**63 - 1
    )
    name: str = option(
        "",
        "name of the model in its manifest and card; by default that of the method, or policy",
    )
    data: str = option(
        "", "folder of the prepared data that the agent was trained on, to record its source"
    )
    items: str = option(
        "",
        "text or Parquet file of the items (first column: the raw id), whose features, as the "
        "agent declares them, and names the export shows to people; with --item_name, the "
        "table of --data by default",
    )
    item_name: str = option("", "column of that table with the names of the items")
    table: Literal["float32", "bfloat16", "int8"] = option(
        "float32",
        "precision of the item table; lower ones select a shortlist that is then scored "
        "exactly",
    )
    shortlist: int | None = option(
        None,
        "items that a fully connected head scores, selected by an approximate search; 0 for "
        "all items; by default 2000, and all of a catalogue less than twice as large",
        at_least=0,
    )
    results: str = option(
        "",
        "results.json of an evaluation, or result.json of a policy's run, for the manifest's "
        "metrics",
    )

    def __post_init__(self):
        super().__post_init__()
        if bool(self.agent) == bool(self.policy):
            raise ValueError("give --agent or --policy, one of them")
        is_set = {"data": self.data, "shortlist": self.shortlist is not None}
        is_set |= {"items": self.items, "item_name": self.item_name}
        is_set["table"] = self.table != "float32"
        for name in is_set:
            if self.policy and is_set[name]:
                raise ValueError(f"--{name} is for agents; a policy has none")


flags.define(ExportModelConfig)


def main(_):
    config = flags.read(ExportModelConfig)
    outputs.check_folder(config.out)
    if config.policy:
        policy = policy_lib.SavedPolicy(config.policy)
        metadata = manifest.Metadata(
            name=config.name or "policy",
            metrics=_metrics(config.results, "tests", config.policy, policy.fingerprint),
            fingerprint=policy.fingerprint,
        )
        version = export_policy.export(policy, config.out, config.version, metadata)
        _say(version, "policy", "load it with tfrec/serving/loaded.py")
        return
    agent = registry.load(config.agent)
    data = storage.PreparedData.open(config.data) if config.data else None
    described = descriptions.of_agent(agent.vocabulary, config.items, config.item_name, data)
    version, exported = agent_export.write(
        agent,
        config.agent,
        config.out,
        agent_export.Settings(config.name, config.table, config.shortlist, described),
        version=config.version,
        data=data,
        metrics=_metrics(config.results, "policies", config.agent, agent.fingerprint),
    )
    goals = f"Goals: {', '.join(exported.named_goals) or 'none named'}"
    _say(version, "agent", "rank with launch.recommend", goals)


def _say(version: pathlib.Path, source: str, next_step: str, goals: str = "") -> None:
    rich.print(
        f"[bold]{markup.escape(str(version))}[/]: verified against the {source}. "
        f"{goals + '. ' if goals else ''}Read model_card.md there, and {next_step}."
    )


def _metrics(path: str, part: str, source: str, fingerprint: str) -> dict[str, Any]:
    """Returns the metrics in a results file of the exported agent or policy.

    Args:
      path: path of the results; empty for none.
      part: the key of the metrics.
      source: folder of the agent or policy.
      fingerprint: fingerprint of the agent or policy.

    Raises:
      UserError: if the file has no such results, or results of another agent or policy.
    """
    if not path:
        return {}
    try:
        results = json.loads(pathlib.Path(path).read_text())
        metrics, recorded = results[part], results.get("fingerprints")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"--results={path}: expected the results of an evaluation, with {part!r} ({error})"
        ) from error
    if recorded is None:
        raise errors.UserError(
            f"--results={path}: does not record what was evaluated (an earlier version wrote "
            f"it), so its metrics may be those of others than {source} (fingerprint "
            f"{fingerprint}). Evaluate again"
        )
    evaluated = [x for seeds in recorded.get("agents", {}).values() for x in seeds]
    evaluated += [recorded["policy"]] if "policy" in recorded else []
    if fingerprint not in evaluated:
        raise errors.UserError(
            f"--results={path}: evaluated {', '.join(evaluated) or 'no agent'}, and not "
            f"{source}, whose fingerprint is {fingerprint}. Pass the results of an evaluation "
            f"of {source}"
        )
    return metrics


if __name__ == "__main__":
    flags.run(main)
