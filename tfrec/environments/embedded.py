"""The embedded ground truth as a world, and its optimum by value iteration.

Only this world can say how far from the best possible a policy is: its true state
(taste, fatigue, step) is small enough to solve exactly.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import identity, synthetic
from tfrec.data.vocabulary import Vocabulary
from tfrec.environments import contract, user_models


class HiddenState(NamedTuple):
    """What the true user knows of themself: int32 [B] each."""

    taste: tf.Tensor
    fatigue: tf.Tensor
    step: tf.Tensor


class EmbeddedWorld(tf.Module):
    """`tfrec.data.synthetic`'s user, stepped thousands at a time.

    Args:
      config: the ground truth that wrote the log.
      spec: the prepared log's spec.
      vocabulary: the prepared log's ids: dense ids are not the truth's own. Items that the
        log never shows may be among them.
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
        """Hash of the ground truth, of the ids that it answers for and of the candidates."""
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


class Optimum(NamedTuple):
    """The best that can be done for a reward, knowing the true state.

    Attributes:
      value: float [T + 1, Z, L], expected reward to come.
      item: int [T, Z, L], the dense item id to show.
    """

    value: np.ndarray
    item: np.ndarray


def solve(world: EmbeddedWorld, reward: np.ndarray) -> Optimum:
    """Exact finite-horizon value iteration over (step, taste, fatigue).

    Args:
      world: the true world.
      reward: float [F], what one unit of each feedback column is worth.
    """
    allowed = world.spec.num_candidates  # A
    click = world._click.numpy().astype(np.float64)[..., :allowed]  # [Z, L, A]
    seconds = click * world._seconds.numpy()[:allowed]
    after = world._after.numpy()[:, :allowed]  # [L, A]
    stays = 1.0 - world._exit.numpy().astype(np.float64)[after]  # [L, A]
    now = reward[0] * click + reward[1] * seconds  # [Z, L, A]
    horizon = world.spec.max_steps
    value = np.zeros((horizon + 1, *click.shape[:2]))
    item = np.zeros((horizon, *click.shape[:2]), np.int64)
    for step in reversed(range(horizon)):
        q = now + stays[None] * value[step + 1][:, after]  # [Z, L, A]
        item[step], value[step] = q.argmax(axis=-1) + 1, q.max(axis=-1)
    return Optimum(value, item)


def optimal_policy(optimum: Optimum) -> contract.Policy:
    """The policy that follows the optimum, looking at the true state.

    It plays in a `users.UserEnvironment` of the world that was solved.
    """
    table = tf.constant(optimum.item, tf.int32)  # [T, Z, L]

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        state = timestep.state.world
        # A loop may step sessions that are over; what is shown in them has no meaning.
        step = tf.minimum(state.step, table.shape[0] - 1)
        item = tf.gather_nd(table, tf.stack([step, state.taste, state.fatigue], axis=1))
        return contract.action_of(item)

    return policy


def _numbers(raw: np.ndarray) -> np.ndarray:
    """The truth's indices behind raw ids such as `i17` or `u3`."""
    return np.array([int(str(name)[1:]) - 1 for name in raw])
