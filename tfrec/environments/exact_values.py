"""Exact values in the embedded world: its optimum by value iteration, and values of plans.

This is the only world in which the distance of a policy from the optimum is known: its true
state (taste, type, fatigue, step) is small enough for exact value iteration.

Axes: S segments, L fatigue levels, N items, Z clusters, T steps, as in `embedded`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import synthetic
from tfrec.environments import contract
from tfrec.environments.embedded import EmbeddedWorld


class ItemModel(NamedTuple):
    """Expected responses to each item: those of the true users, or estimates of them.

    Attributes:
      click: float [S, L, N], probability of a click, by segment and fatigue.
      seconds: float [S, L, N], expected watch; 0 without a click.
      cell: float [N, Z, 3], probability of each cluster and kind, which decide the next
        fatigue and the exit.
    """

    click: np.ndarray
    seconds: np.ndarray
    cell: np.ndarray


def true_model(world: EmbeddedWorld) -> ItemModel:
    """The true expected responses of the world's users to all of its N items."""
    click = world._click.numpy().astype(np.float64)  # [S, L, N]
    cells = np.eye(world.after.shape[-1])[world.item_cell]  # [N, Z * 3]
    return ItemModel(
        click,
        click * world._seconds.numpy(),
        cells.reshape(len(cells), -1, synthetic.NUM_KINDS),
    )


class Optimum(NamedTuple):
    """The optimal policy for a reward and its value, in the true state.

    Attributes:
      value: float [T + 1, S, L], expected return.
      item: int [T, S, L], dense id of the item to show.
    """

    value: np.ndarray
    item: np.ndarray


def solve(
    world: EmbeddedWorld,
    reward: np.ndarray,
    items: np.ndarray | None = None,
    model: ItemModel | None = None,
) -> Optimum:
    """Exact finite-horizon value iteration over (step, segment, fatigue).

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      items: int [K], dense ids of the items that may be shown; all candidates by default.
      model: model of the items; by default the truth. With another model, `item` is the optimal
        plan under that model, `value` is its expected value under the model, and `plan_value`
        is its true value.

    Raises:
      ValueError: if an item is not a candidate, or there is none.
    """
    allowed = _allowed(world, items)  # [K]
    if model is None:
        model = true_model(world)
    now = expected_reward(reward, model)[..., allowed - 1]  # [S, L, K]
    # Items of one cell have the same values to come, so the best of each cell suffices.
    cells, cell_of = np.unique(_flat_cells(model)[allowed - 1], axis=0, return_inverse=True)
    best, best_now = _best_of_groups(now, allowed, cell_of.ravel())  # [S, L, G]
    to_come = values_to_come(world, cells)
    horizon = world.spec.max_steps
    value = np.zeros((horizon + 1, *now.shape[:2]))
    item = np.zeros((horizon, *now.shape[:2]), np.int64)
    for step in reversed(range(horizon)):
        q = best_now + to_come(value[step + 1])  # [S, L, G]
        value[step] = q.max(axis=-1)
        # Of equal items the one with the lowest id.
        item[step] = np.where(q == value[step][..., None], best, np.inf).min(axis=-1)
    return Optimum(value, item)


class CellValues(NamedTuple):
    """Optimal values of showing the best item of each cell; G cells that have items.

    Attributes:
      item: int [G], dense id of the item with the most clicks of each cell.
      value: float32 [T, S, L, G], expected clicks from the step on.
    """

    item: np.ndarray
    value: np.ndarray


def cell_values(world: EmbeddedWorld) -> CellValues:
    """Solves the world for clicks and keeps the optimal values of all actions worth taking."""
    order = np.lexsort([-world.truth.click_logit, world.item_cell])
    cells, first = np.unique(world.item_cell[order], return_index=True)
    item = order[first] + 1
    reward = np.eye(len(world.spec.feedback))[0]
    now = expected_reward(reward, true_model(world))[..., item - 1]  # [S, L, G]
    to_come = values_to_come(world, np.eye(world.after.shape[-1])[cells])
    value = solve(world, reward).value
    return CellValues(item, np.array([now + to_come(x) for x in value[1:]], np.float32))


def first_values(
    world: EmbeddedWorld, reward: np.ndarray, items: np.ndarray | None = None
) -> np.ndarray:
    """Optimal value of a session that begins with each item.

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      items: int [K], dense ids of the items that may be shown; all candidates by default.

    Returns:
      float [S, K].

    Raises:
      ValueError: if an item is not a candidate, or there is none.
    """
    shown, model = _allowed(world, items) - 1, true_model(world)
    to_come = values_to_come(world, _flat_cells(model)[shown])
    later = to_come(solve(world, reward, items).value[1])  # [S, L, K]
    return (expected_reward(reward, model)[..., shown] + later)[:, 0]


def plan_value(
    world: EmbeddedWorld,
    reward: np.ndarray,
    item: np.ndarray,
    model: ItemModel | None = None,
) -> np.ndarray:
    """Exact value of showing a given item in each state.

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      item: int, dense ids, of a shape that broadcasts to [T, S, L]: `Optimum.item`, or one id
        for each segment, [S, 1].
      model: expected responses; by default the truth.

    Returns:
      float [T + 1, S, L], expected reward to come.

    Raises:
      ValueError: if an item is not a candidate.
    """
    _allowed(world, item)
    horizon, (segments, levels, _) = world.spec.max_steps, world.after.shape
    plan = np.broadcast_to(item, (horizon, segments, levels)) - 1  # [T, S, L]
    now = expected_reward(reward, model or true_model(world))  # [S, L, N]
    to_come = values_to_come(world, np.eye(world.after.shape[-1]))
    value = np.zeros((horizon + 1, segments, levels))
    for step in reversed(range(horizon)):
        later = to_come(value[step + 1])  # [S, L, Z * 3]
        value[step] = (
            np.take_along_axis(now, plan[step][..., None], axis=-1)
            + np.take_along_axis(later, world.item_cell[plan[step]][..., None], axis=-1)
        )[..., 0]
    return value


def improved_plan(world: EmbeddedWorld, reward: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """One step of policy improvement: the best item if a policy is followed afterwards.

    Methods that learn the values of the policy that was logged, without bootstrapping, estimate
    these action values. The plan shows what they can earn from a log at best.

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      policy: float [S, L, N], probability of each item, as `logging_policy` gives it.

    Returns:
      int [T, S, L], dense id of the item to show; its true value is its `plan_value`.

    Raises:
      ValueError: if some items are no candidates.
    """
    _allowed(world, np.arange(1, policy.shape[-1] + 1))
    now = expected_reward(reward, true_model(world))  # [S, L, N]
    to_come = values_to_come(world, np.eye(world.after.shape[-1]))
    value = np.zeros(now.shape[:2])  # of the policy
    item = np.zeros((world.spec.max_steps, *now.shape[:2]), np.int64)
    for step in reversed(range(world.spec.max_steps)):
        q = now + to_come(value)[..., world.item_cell]  # [S, L, N]
        item[step] = q.argmax(axis=-1) + 1
        value = (policy * q).sum(axis=-1)
    return item


def random_value(
    world: EmbeddedWorld, reward: np.ndarray, items: np.ndarray | None = None
) -> np.ndarray:
    """Exact value of showing a random item at every step, each with the same probability.

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      items: int [K], dense ids of the items to draw from; all candidates by default.

    Returns:
      float [T + 1, S, L], expected reward to come.

    Raises:
      ValueError: if an item is not a candidate, or there is none.
    """
    drawn, model = _allowed(world, items) - 1, true_model(world)
    now = expected_reward(reward, model)[..., drawn].mean(axis=-1)  # [S, L]
    to_come = values_to_come(world, _flat_cells(model)[drawn].mean(axis=0)[None])
    value = np.zeros((world.spec.max_steps + 1, *now.shape))
    for step in reversed(range(world.spec.max_steps)):
        value[step] = now + to_come(value[step + 1])[..., 0]
    return value


def session_values(world: EmbeddedWorld, value: np.ndarray) -> np.ndarray:
    """Expected reward of a session of each user, in the mean over the parts of the day.

    Args:
      world: the true world.
      value: float [T + 1, S, L], as `solve`, `plan_value` and `random_value` give it.

    Returns:
      float [U], in the order of the dense user ids.
    """
    return value[0, world.session_segment[:, world.user_segment], 0].mean(axis=0)


def start_values(world: EmbeddedWorld, value: np.ndarray, starts: types.Starts) -> np.ndarray:
    """Expected reward of the sessions that begin with given starts, in their hours.

    Args:
      world: the true world.
      value: float [T + 1, S, L], as `solve`, `plan_value` and `random_value` give it.
      starts: B starts, numpy arrays.

    Returns:
      float [B].
    """
    return value[0, world.reset(types.constants(starts)).segment.numpy(), 0]


def _allowed(world: EmbeddedWorld, items: np.ndarray | None) -> np.ndarray:
    """Dense ids of the items that may be shown; raises ValueError if one is no candidate."""
    candidates = world.spec.num_candidates
    allowed = np.arange(1, candidates + 1) if items is None else np.asarray(items)
    if not allowed.size or allowed.min() < 1 or allowed.max() > candidates:
        raise ValueError(f"items are {allowed}; expected at least one, each 1 to {candidates}")
    return allowed


def expected_reward(reward: np.ndarray, model: ItemModel) -> np.ndarray:
    """Expected reward of one step, float [S, L, N]."""
    return reward[0] * model.click + reward[1] * model.seconds


def _flat_cells(model: ItemModel) -> np.ndarray:
    """Probability of each cell, float [N, Z * 3]."""
    return model.cell.reshape(len(model.cell), -1)


def _best_of_groups(
    now: np.ndarray, items: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The item of each group with the highest expected reward, the first of equal ones.

    Args:
      now: float [S, L, K], expected reward of each item.
      items: int [K], dense ids.
      group: int [K], group of each item, 0 to G - 1.

    Returns:
      Dense ids, int [S, L, G], and their expected rewards, float [S, L, G].
    """
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    best = [items[part[now[..., part].argmax(axis=-1)]] for part in members]
    best_now = [now[..., part].max(axis=-1) for part in members]
    return np.stack(best, axis=-1), np.stack(best_now, axis=-1)


def exit_probability(world: EmbeddedWorld) -> np.ndarray:
    """True p(exit) after an item of each cell, float [S, L, Z * 3]."""
    return world._exit.numpy().astype(np.float64)


def values_to_come(
    world: EmbeddedWorld, cells: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Expected reward after a step, for each of G probabilities of the shown item's cell.

    Args:
      world: the true world.
      cells: float [G, Z * 3].

    Returns:
      A function of the values after the step, [S, L], that returns float [S, L, G].
    """
    stays = 1.0 - exit_probability(world)  # [S, L, Z * 3]
    segment = np.arange(len(stays))[:, None, None]

    def to_come(value: np.ndarray) -> np.ndarray:
        return (stays * value[segment, world.after]) @ cells.T

    return to_come


def optimal_policy(optimum: Optimum) -> contract.Policy:
    """The optimal policy; see `plan_policy`."""
    return plan_policy(optimum.item)


def plan_policy(item: np.ndarray) -> contract.Policy:
    """The policy that shows a given item in each state, which it reads.

    It requires a `users.UserEnvironment` of the embedded world.

    Args:
      item: int [T, S, L], dense ids, such as `Optimum.item`.
    """
    table = tf.constant(item, tf.int32)

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        state = timestep.state.world
        # A loop may step sessions that are over; items shown in them have no meaning.
        step = tf.minimum(state.step, table.shape[0] - 1)
        item = tf.gather_nd(table, tf.stack([step, state.segment, state.fatigue], axis=1))
        return contract.action_of(item)

    return policy
