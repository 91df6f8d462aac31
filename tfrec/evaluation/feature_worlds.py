"""Embedded users, items that their log never shows, and policies restricted to some items.

The exact value of the optimum and of random items is known for each set of items, and so is
that of the best plan which knows the users but of the items only their attributes. Where tastes
depend on the hour of the session, so are bounds of what can be earned without it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import storage
from tfrec.environments import (
    contract,
    embedded,
    embedded_attributes,
    embedded_hours,
    exact_values,
    player,
    policies,
    scoring,
    users,
    worlds,
)
from tfrec.errors import UserError
from tfrec.methods import trained

KNOWN, NEW, ALL = "items of the log", "new items", "all items"
_REWARD = np.array([1.0, 0.0])  # clicks
_SEED = 31  # of the played sessions: every policy meets the same users and the same luck


class Part(NamedTuple):
    """A set of items that may be shown, and exact values there.

    Attributes:
      items: raw ids.
      optimum: float [U], expected clicks at the optimum in the played sessions of each user.
      by_attributes: the same of the best plan for what the attributes of the items tell.
      random: the same of random items.
      without_hour: the same of the best plan that knows the users but not the hour, and learns
        nothing from answers; None where tastes do not depend on the hour.
      first_without_hour: the same of the optimum after a first item that is chosen without the
        hour, an upper bound of all agents without the hour; None likewise.
    """

    items: np.ndarray
    optimum: np.ndarray
    by_attributes: np.ndarray
    random: np.ndarray
    without_hour: np.ndarray | None = None
    first_without_hour: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Setting:
    """Prepared data of the embedded log and its users with every item.

    Attributes:
      data: the log's prepared sessions.
      world: the true users, with the items of the log and the new ones.
      starts: of the played sessions.
      user: int [U], dense ids of the users who play.
      parts: values by set of items: KNOWN, NEW and ALL.
      popularity: float [U], expected clicks in a session of each test user who is shown the
        item with the most clicks in the training log all the time.
    """

    data: storage.PreparedData
    world: embedded.EmbeddedWorld
    starts: types.Starts
    user: np.ndarray
    parts: dict[str, Part]
    popularity: np.ndarray


def setting(data: storage.PreparedData, max_users: int, sessions_per_user: int) -> Setting:
    """The users and items of an embedded log, with exact values for its test users.

    Args:
      data: prepared data of the embedded log, some of whose items the log never shows.
      max_users: test users who play, at most.
      sessions_per_user: sessions that each of them plays.

    Raises:
      UserError: if the data is not of the embedded log, or its log shows every item.
    """
    known = worlds.load(worlds.TRUTH, data)
    assert isinstance(known, embedded.EmbeddedWorld)
    if not known.config.new_items:
        raise UserError(
            f"{data.directory}: its log shows every item; expected --embedded_new_items above 0"
        )
    world = embedded.with_new_items(known)
    starts = scoring.starts(data, "test", max_users, sessions_per_user)
    user, first_rows = np.unique(starts.user, return_index=True)
    once = types.rows(starts, first_rows)  # all sessions of a user have the same start
    count, items = data.spec.num_items, world.vocabulary.items
    model = embedded_attributes.attribute_model(world)
    dense = np.arange(1, len(items) + 1)
    parts = {
        name: _part(world, model, dense[first:last], once)
        for name, first, last in (
            (KNOWN, 0, count),
            (NEW, count, len(items)),
            (ALL, 0, len(items)),
        )
    }
    clicks = policies.clicks_of_items(data.episodes("train"), count)
    most_clicked = np.array([[clicks.argmax() + 1]])
    popularity = exact_values.plan_value(world, _REWARD, most_clicked)
    popularity = exact_values.start_values(world, popularity, once)
    return Setting(data, world, starts, user, parts, popularity)


def play(place: Setting, agent: trained.SavedAgent, name: str) -> np.ndarray:
    """Mean clicks in a session of each test user with an agent, float [U].

    Args:
      place: the users.
      agent: ranks items of the part, among others; it may be of other data of this world.
      name: the part whose items it may show.
    """
    spec = dataclasses.replace(agent.spec.ids_alone, candidates=0)
    # Items have the dense ids of the agent; users and contexts those of the starts.
    starts_vocabulary = place.data.vocabulary
    vocabulary = dataclasses.replace(starts_vocabulary, item_ids=agent.vocabulary.item_ids)
    world = embedded.EmbeddedWorld(place.world.config, spec, vocabulary)
    history = agent.vocabulary.encode(starts_vocabulary.decode(place.starts.history_item))
    starts = place.starts._replace(history_item=history)
    environment = users.UserEnvironment(world)
    others = ~np.isin(agent.vocabulary.items[: spec.num_candidates], place.parts[name].items)
    policy = _without(agent.policy(), tf.constant(others))
    played = player.Player(environment, policy).play(starts, _SEED)
    shown = agent.vocabulary.decode(np.asarray(played.item)[np.asarray(played.item) > 0])
    assert np.isin(shown, place.parts[name].items).all()
    clicks = np.asarray(played.feedback)[..., 0].sum(axis=1)
    row = np.searchsorted(place.user, played.user)
    return np.bincount(row, clicks) / np.bincount(row)


def _part(
    world: embedded.EmbeddedWorld,
    model: exact_values.ItemModel,
    items: np.ndarray,
    starts: types.Starts,
) -> Part:
    """A set of items with the values of one start of each user."""

    def of_users(value: np.ndarray) -> np.ndarray:
        return exact_values.start_values(world, value, starts)

    plan = exact_values.solve(world, _REWARD, items, model).item
    part = Part(
        world.vocabulary.items[items - 1],
        of_users(exact_values.solve(world, _REWARD, items).value),
        of_users(exact_values.plan_value(world, _REWARD, plan)),
        of_users(exact_values.random_value(world, _REWARD, items)),
    )
    if world.config.day_parts == 1:
        return part
    bounds = embedded_hours.without_hour(world, _REWARD, items)
    low, high = (embedded_hours.of_starts(world, value, starts) for value in bounds)
    return part._replace(without_hour=low, first_without_hour=high)


def _without(policy: contract.Policy, blocked: tf.Tensor) -> contract.Policy:
    """A policy that shows none of the blocked candidates, bool [A]."""

    def restricted(timestep: contract.Timestep) -> tf.Tensor:
        rows = tf.shape(contract.history_of(timestep).step)[0]
        also = tf.repeat(blocked[None], rows, axis=0)
        if timestep.blocked is not None:
            also = tf.logical_or(also, timestep.blocked)
        return policy(timestep._replace(blocked=also))

    return restricted
