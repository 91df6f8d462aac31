"""Export of a trained agent as the next version of a folder, for the scripts that write one."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfgoalrec import exporting
from tfrec.baselines.paths import trained as path_agents
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.methods import online_agent, trained
from tfrec.serving import descriptions, export, files, numbered, ranker, score_ranker


class Settings(NamedTuple):
    """How a version is written.

    Attributes:
      name: name of the model in its manifest; empty for that of the method.
      table: precision of the item table.
      shortlist: items that a fully connected head scores; None for the default.
      described: names and features of the items for people; None for none.
    """

    name: str = ""
    table: str = "float32"
    shortlist: int | None = None
    described: descriptions.Descriptions | None = None


def newest(directory: str | pathlib.Path) -> Settings:
    """The settings of the newest version of an export; the defaults if there is none.

    The descriptions of the items are those of that version.

    Raises:
      UserError: if the newest version is damaged.
    """
    directory = pathlib.Path(directory)
    numbers = numbered.versions(directory) if directory.is_dir() else []
    if not numbers:
        return Settings()
    version = directory / str(numbers[-1])
    manifest = files.open_manifest(version)
    table = manifest.get("table", {})
    return Settings(
        manifest["name"],
        table.get("precision", "float32"),
        table.get("shortlist"),
        descriptions.load(version, manifest),
    )


def write(
    agent: trained.SavedAgent,
    path: str,
    directory: str,
    settings: Settings,
    *,
    version: int | None = None,
    data: storage.PreparedData | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> tuple[pathlib.Path, ranker.Ranker]:
    """Writes a version of an agent, and warns of its limits.

    Args:
      agent: the agent.
      path: its folder, for messages.
      directory: folder of the versions.
      settings: of the version.
      version: its number; the next free one by default.
      data: the prepared data that the agent was trained on, to record its source.
      metrics: metrics of an evaluation.

    Returns:
      The version's folder, and the agent as it was exported.

    Raises:
      UserError: if the agent has no scores, an option is for GoalRec alone, or the version is
        not valid; nothing is written then.
    """
    exported, shortlist = _ranker(agent, path, settings)
    metadata = exporting.metadata(
        agent,
        path,
        agent.fingerprint or agent.identify(),
        name=settings.name or agent.method,
        data=data,
        metrics=metrics,
    )
    for limit in metadata.limits:
        flags.warn(limit)
    folder = export.export(
        exported, directory, version, metadata, settings.table, shortlist, settings.described
    )
    return folder, exported


def _ranker(
    agent: trained.SavedAgent, path: str, settings: Settings
) -> tuple[ranker.Ranker, int | None]:
    """Returns the agent as a ranker, and its shortlist.

    Raises:
      UserError: if the agent has no scores, or an option is for GoalRec alone.
    """
    if isinstance(agent, online_agent.OnlineAgent):
        raise UserError(
            f"--agent={path}: {agent.method} returns ranks without scores; expected an "
            "agent that scores items. Export the policy of its run with --policy"
        )
    if isinstance(agent, path_agents.PathAgent):
        raise UserError(
            f"--agent={path}: {agent.method} ranks for the users of its log, by their "
            "ids, and a request to an exported model has a history; expected an agent that "
            "scores the catalogue for a history. launch.recommend_all writes its lists"
        )
    if not isinstance(agent, trained.TrainedMethod):
        return cast(ranker.Ranker, agent), settings.shortlist
    if settings.shortlist or settings.table != "float32":
        raise UserError(
            f"--agent={path}: {agent.method} scores every item at once; expected "
            "--table and --shortlist at their defaults"
        )
    scored = score_ranker.ScoreRanker(
        agent.learner, agent.weights(), agent.spec, agent.vocabulary
    )
    return scored, 0
