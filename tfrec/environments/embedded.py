"""The embedded ground truth as a world, and its optimum by value iteration.

This is the only world in which the distance of a policy from the optimum is known: its true
state (taste, type, fatigue, step) is small enough for exact value iteration.

Axes: S segments, L fatigue levels, N items, Z clusters, T steps, P parts of the day. A segment
is a taste with a type of user (`SyntheticConfig.segments`); it determines the user's expected
responses. The segment of a session follows from the user's own segment and the hour
(`SyntheticConfig.session_segments`). A cell is a cluster with a kind; it determines what an
item does to fatigue and exits.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import identity, synthetic
from tfrec.data.vocabulary import Ids, Vocabulary
from tfrec.environments import contract, user_models
from tfrec.errors import UserError

# Options that earlier versions did not have. At their defaults users are those of earlier
# versions, and so is the fingerprint.
_LATER_OPTIONS = ("fatigue_steps", "type_by_taste", "suited_fatigue", "exit_match", "day_parts")


class HiddenState(NamedTuple):
    """True state of the users, int32 [B] each.

    Attributes:
      segment: taste and type in the session, a row of `SyntheticConfig.segments`; the taste
        where there is one type.
      fatigue: fatigue level.
      step: steps taken in the session.
    """

    segment: tf.Tensor
    fatigue: tf.Tensor
    step: tf.Tensor


class EmbeddedWorld(tf.Module):
    """The users of `tfrec.data.synthetic`, in batches of thousands.

    Args:
      config: the ground truth that wrote the log.
      spec: the prepared log's spec.
      vocabulary: the prepared log's ids, which map dense ids to those of the ground truth.
        Items that the log never shows may be among them. Where tastes depend on the hour,
        its `state_encoder` decodes the hour of a start, which is in `context_values`.

    Raises:
      UserError: if tastes depend on the hour, and the context has no hour of UTC.
    """

    repeats = True

    def __init__(
        self, config: synthetic.SyntheticConfig, spec: types.DataSpec, vocabulary: Vocabulary
    ):
        super().__init__(name="embedded_world")
        self.spec = spec
        self.config = config
        self.vocabulary = vocabulary
        truth = synthetic.truth(config)
        raw_item = _numbers(vocabulary.items)  # [N] the truth's item index by dense id - 1
        raw_user = _numbers(vocabulary.users)  # [U]
        self.truth = synthetic.Truth(
            cluster=truth.cluster[raw_item],
            kind=truth.kind[raw_item],
            click_logit=truth.click_logit[raw_item],
            taste=truth.taste[raw_user],
            user_type=truth.user_type[raw_user],
        )
        self.user_segment = config.segment(self.truth.taste, self.truth.user_type)  # [U]
        self.session_segment = config.session_segments()  # [P, S]
        self.item_cell = self.truth.cluster * synthetic.NUM_KINDS + self.truth.kind  # [N]
        levels = np.arange(config.max_fatigue + 1)
        tastes = np.arange(config.num_tastes)
        grid_taste, grid_fatigue = (
            x.ravel() for x in np.meshgrid(tastes, levels, indexing="ij")
        )
        click = synthetic.click_probability(config, self.truth, grid_taste, grid_fatigue)
        click = click.astype(np.float32).reshape(len(tastes), len(levels), -1)
        self.after, leave = _transitions(config)  # [S, L, Z * 3]
        self._click = tf.constant(click[config.segments()[0]])  # [S, L, N]
        self._after = tf.constant(self.after, tf.int32)
        self._exit = tf.constant(leave, tf.float32)
        self._cell = tf.constant(self.item_cell, tf.int32)
        self._segment = tf.constant(np.concatenate([[0], self.user_segment]), tf.int32)
        self._session_segment = tf.constant(self.session_segment, tf.int32)
        self._hour_code = _hour_code(config, vocabulary)
        self._seconds = tf.constant(
            synthetic.expected_seconds(config, self.truth.kind), tf.float32
        )  # [N]
        self._median = tf.constant(
            np.asarray(config.watch_seconds)[self.truth.kind], tf.float32
        )  # [N]

    @property
    def fingerprint(self) -> str:
        """Hash of the ground truth, of its ids and of the candidates."""
        ids = identity.ids_of(self.vocabulary, self.spec)
        truth = dataclasses.asdict(self.config)
        defaults = dataclasses.asdict(synthetic.SyntheticConfig())
        for name in synthetic.NOT_OF_USERS:
            del truth[name]
        for name in _LATER_OPTIONS:
            if truth[name] == defaults[name]:
                del truth[name]
        return identity.fingerprint([truth, ids, self.spec.candidates])

    @property
    def new_items(self) -> np.ndarray:
        """int32 [K], dense ids of the items that the log never shows, ascending.

        The vocabulary of a prepared log has none of them; one that was extended may.
        """
        config = self.config
        new = synthetic.new_items(config, synthetic.truth(config))
        return (
            np.flatnonzero(np.isin(_numbers(self.vocabulary.items), new)).astype(np.int32) + 1
        )

    def logging_policy(self) -> np.ndarray:
        """Probability with which the log shows each of the items, float [S, L, N]."""
        click = self._click.numpy().astype(np.float64)
        flat = synthetic.logging_policy(self.config, click.reshape(-1, click.shape[-1]))
        return flat.reshape(click.shape)

    def part(self, starts: types.Starts) -> tf.Tensor:
        """Part of the day in which each session starts, int32 [B].

        Raises:
          ValueError: if tastes depend on the hour, and the starts have no `context_values`.
          tf.errors.InvalidArgumentError: likewise, and a start has a missing hour.
        """
        if self._hour_code is None:
            return tf.zeros_like(starts.user)
        slot, first = self._hour_code
        hour = tf.convert_to_tensor(types.context_values_of(starts))[:, slot] - first  # [B]
        known = tf.debugging.assert_non_negative(hour, "a start has no hour")
        with tf.control_dependencies([known] if known is not None else []):
            return self.config.part_of(hour)

    def reset(self, starts: types.Starts) -> HiddenState:
        zeros = tf.zeros_like(starts.user)
        own = tf.gather(self._segment, starts.user)  # [B]
        place = tf.stack([self.part(starts), own], axis=1)  # [B, 2]
        return HiddenState(tf.gather_nd(self._session_segment, place), zeros, zeros)

    def responses(self, state: HiddenState, candidates: tf.Tensor) -> user_models.Responses:
        place = tf.stack([state.segment, state.fatigue], axis=1)  # [B, 2]
        click = tf.gather(tf.gather_nd(self._click, place), candidates - 1, axis=1)  # [B, A]
        seconds = click * tf.gather(self._seconds, candidates - 1)[None, :]
        cell = tf.gather(self._cell, candidates - 1)  # [A]
        return user_models.Responses(
            feedback=tf.stack([click, seconds], axis=-1),  # [B, A, F]
            exit=tf.gather(tf.gather_nd(self._exit, place), cell, axis=1),  # [B, A]
        )

    def step(
        self,
        state: HiddenState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[HiddenState, tf.Tensor, tf.Tensor]:
        seeds = tf.random.experimental.stateless_split(seed, 3)
        shape = tf.shape(item)
        probability, exits, after = self.expected(state, item)
        if distort is not None:
            probability = distort(tf.math.log(probability) - tf.math.log1p(-probability))
        click = tf.random.stateless_uniform(shape, seeds[0]) < probability
        spread = self.config.watch_spread * tf.random.stateless_normal(shape, seeds[1])
        seconds = tf.where(click, tf.gather(self._median, item - 1) * tf.exp(spread), 0.0)
        left = tf.random.stateless_uniform(shape, seeds[2]) < exits
        feedback = tf.stack([tf.cast(click, tf.float32), seconds], axis=-1)  # [B, F]
        return HiddenState(state.segment, after, state.step + 1), feedback, left

    def expected(
        self, state: HiddenState, item: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What one item does, for B users in states and an item of each.

        Returns:
          Probability of a click and of an exit, float32 [B] each, and the fatigue after the
          item, int32 [B].
        """
        place, index = [state.segment, state.fatigue], item - 1
        cell = tf.stack([*place, tf.gather(self._cell, index)], axis=1)
        click = tf.gather_nd(self._click, tf.stack([*place, index], axis=1))
        return click, tf.gather_nd(self._exit, cell), tf.gather_nd(self._after, cell)


def _hour_code(
    config: synthetic.SyntheticConfig, vocabulary: Vocabulary
) -> tuple[int, int] | None:
    """Column of the hour in `context_values`, and the number of hour 0 in it.

    Returns None where tastes do not depend on the hour.
    """
    if config.day_parts == 1:
        return None
    code = vocabulary.state_encoder.hour_code()
    if code is None:
        raise UserError(
            f"tastes depend on the hour (day_parts is {config.day_parts}), but the context has "
            'no hour of UTC; expected [context.hour] with kind = "hour" and utc_offset 0 in '
            "the declaration of features"
        )
    return code


def _transitions(config: synthetic.SyntheticConfig) -> tuple[np.ndarray, np.ndarray]:
    """Fatigue level after an item and p(exit), int and float [S, L, Z * 3], by cell."""
    taste, user_type = config.segments()
    cells = np.arange(config.num_tastes * synthetic.NUM_KINDS)
    cluster, kind = np.divmod(cells, synthetic.NUM_KINDS)
    suits = taste[:, None, None] == cluster  # [S, 1, Z * 3]
    levels = np.arange(config.max_fatigue + 1)[:, None]  # [L, 1]
    after = synthetic.next_fatigue(config, levels, kind, user_type[:, None, None], suits)
    return after, synthetic.exit_probability(config, after, suits)


def with_new_items(world: EmbeddedWorld) -> EmbeddedWorld:
    """The same users with the items that the log never shows.

    Args:
      world: of a prepared log.

    Returns:
      A world in which the items of the log have the same dense ids as before, and the new
      ones follow. Every item is a candidate.
    """
    config, old = world.config, world.vocabulary.items
    new = synthetic.item_ids(synthetic.new_items(config, synthetic.truth(config)))
    items = np.append(old, np.setdiff1d(new, old))
    vocabulary = dataclasses.replace(world.vocabulary, item_ids=Ids(items))
    spec = dataclasses.replace(world.spec, num_items=len(items), candidates=0)
    return EmbeddedWorld(config, spec, vocabulary)


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


def _numbers(raw: np.ndarray) -> np.ndarray:
    """Ground-truth indices of raw ids such as `i17` or `u3`."""
    return np.array([int(str(name)[1:]) - 1 for name in raw])
