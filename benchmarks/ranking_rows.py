"""The rows of the AUC comparison: one for each step of a prepared log, in plain arrays."""

import dataclasses

import numpy as np

from tfrec import types

SPLITS = ("train", "validation", "test")


def clicks_only(spec: types.DataSpec) -> types.DataSpec:
    """The spec with the click as the only feedback column."""
    return dataclasses.replace(spec, feedback=spec.feedback[:1])


def clicks_of(episodes: types.Episodes) -> types.Episodes:
    """The sessions with the click as the only feedback."""
    return episodes._replace(
        history_feedback=episodes.history_feedback[..., :1], feedback=episodes.feedback[..., :1]
    )


def rows(episodes: types.Episodes) -> dict[str, np.ndarray]:
    """History before each step, shown item and click.

    Args:
      episodes: B sessions with L steps in all, numpy.

    Returns:
      `user` int32 [L], `history_item` int32 [L, H] and `history_click` float32 [L, H], both
      oldest first and left-padded with 0, `step` int32 [L], `item` int32 [L], `click`
      float32 [L]; `context_values` int32 [L, K], where features of users are declared.
    """
    horizon, steps = episodes.history_item.shape[1], episodes.item.shape[1]
    session, step = np.nonzero(np.arange(steps) < episodes.length[:, None])  # [L] each
    item = np.concatenate([episodes.history_item, episodes.item], axis=1)  # [B, H + T]
    click = np.concatenate(
        [episodes.history_feedback[..., 0], episodes.feedback[..., 0]], axis=1
    )
    window = session[:, None], step[:, None] + np.arange(horizon)  # [L, H]
    users: dict[str, np.ndarray] = {}
    if not isinstance(episodes.context_values, tuple):
        users["context_values"] = episodes.context_values[session]
    return users | {
        "user": episodes.user[session],
        "history_item": item[window],
        "history_click": click[window],
        "step": step.astype(np.int32),
        "item": episodes.item[session, step],
        "click": episodes.feedback[session, step, 0],
    }


def observation(part: dict[str, np.ndarray]) -> types.Observation:
    """Converts rows to observations."""
    return types.Observation(
        part["history_item"],
        part["history_click"][..., None],
        part["step"],
        part.get("context_values", ()),
    )
