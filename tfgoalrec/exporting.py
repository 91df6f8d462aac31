"""Metadata of an exported agent: its training data, metrics and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrec.data import identity, storage
from tfrec.errors import UserError
from tfrec.methods import trained
from tfrec.serving import manifest


def metadata(
    agent: trained.SavedAgent,
    path: str,
    fingerprint: str,
    *,
    name: str,
    data: storage.PreparedData | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> manifest.Metadata:
    """Returns the metadata of an export.

    Args:
      agent: the exported agent.
      path: the agent's folder, for messages.
      fingerprint: fingerprint of the agent.
      name: name of the model.
      data: the prepared data that the agent was trained on, to record its source.
      metrics: metrics of an evaluation.

    Raises:
      UserError: if the agent was trained on other data.
    """
    return manifest.Metadata(
        name=name,
        data=_training(agent, path, data),
        metrics=dict(metrics or {}),
        limits=_limits(agent),
        fingerprint=fingerprint,
    )


def _training(
    agent: trained.SavedAgent, path: str, data: storage.PreparedData | None
) -> dict[str, Any]:
    about = {
        "fingerprint" if key == "data" else key: x for key, x in agent.about.items() if x != ""
    }
    about |= {"ids": agent.contents()["ids"]}
    if data is None:
        return about
    identity.check(agent.origin(path), data.origin)
    if data.fingerprint != agent.about.get("data"):
        raise UserError(
            f"--data={data.directory}: its fingerprint is {data.fingerprint}, but "
            f"{path} was trained on {agent.about.get('data')}: the same ids, with "
            "other rows or another split. Pass the data that the agent was trained on"
        )
    return about | {
        "source": data.manifest["source"],
        "items": data.spec.num_items,
        "users": data.spec.num_users,
        "training sessions": data.num_sessions("train"),
    }


def _limits(agent: trained.SavedAgent) -> tuple[str, ...]:
    """Returns the model card's warning about items without training data."""
    count = agent.about.get(storage.UNTRAINED, 0)
    if not count:
        return ()
    return (
        f"{count:,} of its {agent.spec.num_items:,} items stand in no stored training step. "
        "They may be recommended, but no event of theirs was in the training data; pass the "
        "other items as candidates to leave them out.",
    )
