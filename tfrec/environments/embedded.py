"""The embedded ground truth as a world, and its optimum by value iteration.

This is the only world in which the distance of a policy from the optimum is known: its true
state (taste, fatigue, step) is small enough for exact value iteration.
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


class HiddenState(NamedTuple):
    """True state of the users, int32 [B] each."""

    taste: tf.Tensor
    fatigue: tf.Tensor
    step: tf.Tensor


class EmbeddedWorld(tf.Module):
    """The users of `tfrec.data.synthetic`, in batches of thousands.

    Args:
      config: the ground truth that wrote the log.
      spec: the prepared log's spec.
      vocabulary: the prepared log's ids, which map dense ids to those of the ground truth.
        Items that the log never shows may be among them.
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
        )
        levels = np.arange(config.max_fatigue + 1)
        tastes = np.arange(config.num_tastes)
        grid_taste, grid_fatigue = (
            x.ravel() for x in np.meshgrid(tastes, levels, indexing="ij")
        )
        shape = (len(tastes), len(levels), -1)
        click = synthetic.click_probability(config, self.truth, grid_taste, grid_fatigue)
        after = synthetic.next_fatigue(config, levels[:, None], self.truth.kind[None, :])
        self._click = tf.constant(click.reshape(shape), tf.float32)  # [Z, L, N]
        self._after = tf.constant(after, tf.int32)  # [L, N]
        self._exit = tf.constant(synthetic.exit_probability(config, levels), tf.float32)  # [L]
        self._taste = tf.constant(np.concatenate([[0], self.truth.taste]), tf.int32)  # [U + 1]
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
        for name in synthetic.NOT_OF_USERS:
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

    def reset(self, starts: types.Starts) -> HiddenState:
        zeros = tf.zeros_like(starts.user)
        return HiddenState(tf.gather(self._taste, starts.user), zeros, zeros)

    def responses(self, state: HiddenState, candidates: tf.Tensor) -> user_models.Responses:
        cell = tf.stack([state.taste, state.fatigue], axis=1)  # [B, 2]
        click = tf.gather(tf.gather_nd(self._click, cell), candidates - 1, axis=1)  # [B, A]
        seconds = click * tf.gather(self._seconds, candidates - 1)[None, :]
        after = tf.gather(tf.gather(self._after, state.fatigue), candidates - 1, axis=1)
        return user_models.Responses(
            feedback=tf.stack([click, seconds], axis=-1),  # [B, A, F]
            exit=tf.gather(self._exit, after),
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
        index = item - 1
        probability = tf.gather_nd(
            self._click, tf.stack([state.taste, state.fatigue, index], axis=1)
        )  # [B]
        if distort is not None:
            probability = distort(tf.math.log(probability) - tf.math.log1p(-probability))
        click = tf.random.stateless_uniform(shape, seeds[0]) < probability
        spread = self.config.watch_spread * tf.random.stateless_normal(shape, seeds[1])
        seconds = tf.where(click, tf.gather(self._median, index) * tf.exp(spread), 0.0)
        after = tf.gather_nd(self._after, tf.stack([state.fatigue, index], axis=1))
        left = tf.random.stateless_uniform(shape, seeds[2]) < tf.gather(self._exit, after)
        feedback = tf.stack([tf.cast(click, tf.float32), seconds], axis=-1)  # [B, F]
        return HiddenState(state.taste, after, state.step + 1), feedback, left


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
      click: float [Z, L, N], probability of a click, by taste and fatigue.
      seconds: float [Z, L, N], expected watch; 0 without a click.
      kind: float [N, 3], probability of each kind, which decides the next fatigue.
    """

    click: np.ndarray
    seconds: np.ndarray
    kind: np.ndarray


def true_model(world: EmbeddedWorld) -> ItemModel:
    """The true expected responses of the world's users to all of its N items."""
    click = world._click.numpy().astype(np.float64)  # [Z, L, N]
    kinds = np.eye(len(synthetic.FATIGUE_STEP))
    return ItemModel(click, click * world._seconds.numpy(), kinds[world.truth.kind])


class Optimum(NamedTuple):
    """The optimal policy for a reward and its value, in the true state.

    Attributes:
      value: float [T + 1, Z, L], expected return.
      item: int [T, Z, L], dense id of the item to show.
    """

    value: np.ndarray
    item: np.ndarray


def solve(
    world: EmbeddedWorld,
    reward: np.ndarray,
    items: np.ndarray | None = None,
    model: ItemModel | None = None,
) -> Optimum:
    """Exact finite-horizon value iteration over (step, taste, fatigue).

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
    action_values = _action_values(world, reward, model)
    horizon = world.spec.max_steps
    value = np.zeros((horizon + 1, *model.click.shape[:2]))
    item = np.zeros((horizon, *model.click.shape[:2]), np.int64)
    for step in reversed(range(horizon)):
        q = action_values(value[step + 1])[..., allowed - 1]  # [Z, L, K]
        item[step], value[step] = allowed[q.argmax(axis=-1)], q.max(axis=-1)
    return Optimum(value, item)


def plan_value(world: EmbeddedWorld, reward: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Exact value of showing a given item in each state.

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      item: int, dense ids, of a shape that broadcasts to [T, Z, L]: `Optimum.item`, or one id
        for each taste, [Z, 1].

    Returns:
      float [T + 1, Z, L], expected reward to come.

    Raises:
      ValueError: if an item is not a candidate.
    """
    _allowed(world, item)
    horizon, click = world.spec.max_steps, world._click
    plan = np.broadcast_to(item, (horizon, *click.shape[:2]))[..., None] - 1  # [T, Z, L, 1]
    action_values = _action_values(world, reward, true_model(world))
    value = np.zeros((horizon + 1, *click.shape[:2]))
    for step in reversed(range(horizon)):
        q = action_values(value[step + 1])  # [Z, L, N]
        value[step] = np.take_along_axis(q, plan[step], axis=-1)[..., 0]
    return value


def random_value(
    world: EmbeddedWorld, reward: np.ndarray, items: np.ndarray | None = None
) -> np.ndarray:
    """Exact value of showing a random item at every step, each with the same probability.

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      items: int [K], dense ids of the items to draw from; all candidates by default.

    Returns:
      float [T + 1, Z, L], expected reward to come.

    Raises:
      ValueError: if an item is not a candidate, or there is none.
    """
    drawn = _allowed(world, items) - 1
    action_values = _action_values(world, reward, true_model(world))
    value = np.zeros((world.spec.max_steps + 1, *world._click.shape[:2]))
    for step in reversed(range(world.spec.max_steps)):
        value[step] = action_values(value[step + 1])[..., drawn].mean(axis=-1)
    return value


def session_values(world: EmbeddedWorld, value: np.ndarray) -> np.ndarray:
    """Expected reward of a session of each user.

    Args:
      world: the true world.
      value: float [T + 1, Z, L], as `solve`, `plan_value` and `random_value` give it.

    Returns:
      float [U], in the order of the dense user ids.
    """
    return value[0, world.truth.taste, 0]


def _allowed(world: EmbeddedWorld, items: np.ndarray | None) -> np.ndarray:
    """Dense ids of the items that may be shown; raises ValueError if one is no candidate."""
    candidates = world.spec.num_candidates
    allowed = np.arange(1, candidates + 1) if items is None else np.asarray(items)
    if not allowed.size or allowed.min() < 1 or allowed.max() > candidates:
        raise ValueError(f"items are {allowed}; expected at least one, each 1 to {candidates}")
    return allowed


def _action_values(
    world: EmbeddedWorld, reward: np.ndarray, model: ItemModel
) -> Callable[[np.ndarray], np.ndarray]:
    """Expected reward from a step on, for each item shown in it.

    Returns:
      A function of the values after the step, [Z, L], that returns float [Z, L, N].
    """
    levels, kinds = np.arange(world.config.max_fatigue + 1), np.arange(model.kind.shape[1])
    after = synthetic.next_fatigue(world.config, levels[:, None], kinds)  # [L, 3]
    stays = 1.0 - world._exit.numpy().astype(np.float64)[after]  # [L, 3]
    now = reward[0] * model.click + reward[1] * model.seconds  # [Z, L, N]

    def action_values(value: np.ndarray) -> np.ndarray:
        to_come = stays * value[:, after]  # [Z, L, 3]
        return now + to_come @ model.kind.T

    return action_values


def optimal_policy(optimum: Optimum) -> contract.Policy:
    """The optimal policy, which reads the true state.

    It requires a `users.UserEnvironment` of the solved world.
    """
    table = tf.constant(optimum.item, tf.int32)  # [T, Z, L]

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        state = timestep.state.world
        # A loop may step sessions that are over; items shown in them have no meaning.
        step = tf.minimum(state.step, table.shape[0] - 1)
        item = tf.gather_nd(table, tf.stack([step, state.taste, state.fatigue], axis=1))
        return contract.action_of(item)

    return policy


def _numbers(raw: np.ndarray) -> np.ndarray:
    """Ground-truth indices of raw ids such as `i17` or `u3`."""
    return np.array([int(str(name)[1:]) - 1 for name in raw])
