"""Privileged policies that may use only a part of what there is to know.

Each reads a user model's expected responses, as `policies.greedy` does, but ignores something:

    fixed list      one list for all users: neither the user nor the session
    constant item   one item for all users and all steps
    memory-less     the user as at the start of the session, not what happens in it

What such a policy earns beside one that knows everything says how much of an environment's
reward depends on users and sessions at all.

Axes: U users, A candidate items, T steps of a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, player, user_models
from tfrec.environments import users as users_lib
from tfrec.ops import nests, selection

_SCREENED_USERS = 32  # that every item is shown to, in the search for the best constant item
_FINALISTS = 32  # items of that search that are then shown to all users


class FixedList(NamedTuple):
    """One list for all users.

    Attributes:
      items: int32 [T], the dense item id of each step.
      value: expected reward of a session, on the users that the list was built on.
    """

    items: np.ndarray
    value: float


def fixed_list(
    world: user_models.UserModel,
    starts: types.Starts,
    reward: np.ndarray,
    exit_costs: Sequence[float],
    seed: int,
) -> FixedList:
    """Builds a list by greedy forward construction: the best of one list for each exit cost.

    The item of a step maximises expected reward - cost x exit probability, averaged over the
    users who are expected to be left. Clicks are sampled to reach the next state; rewards and
    exits count by their expectation. The result is a lower bound on the best fixed list.

    Args:
      world: the user model, which is read.
      starts: U session starts, numpy arrays; evaluate the list on other users.
      reward: float [F], weight of one unit of each feedback column.
      exit_costs: costs to try, in units of the reward.
      seed: of the sampled clicks.
    """
    weights = tf.constant(reward, tf.float32)
    users = types.constants(starts)
    cost = tf.Variable(0.0)  # one graph for all costs

    @tf.function(autograph=False)
    def construct() -> tuple[tf.Tensor, tf.Tensor]:
        return _construct(world, users, weights, cost, types.seed_pair(seed, 0))

    best = FixedList(np.zeros(0, np.int32), -np.inf)
    for value in exit_costs:
        cost.assign(value)
        items, total = construct()
        if float(total) > best.value:
            best = FixedList(items.numpy(), float(total))
    return best


def _construct(
    world: user_models.UserModel,
    starts: types.Starts,
    weights: tf.Tensor,
    cost: tf.Variable,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One list, int32 [T], and the expected reward of a session under it. Graph code."""
    spec = world.spec
    users, steps, count = len(starts.user), spec.max_steps, spec.num_candidates
    candidates = tf.range(1, count + 1)

    def add_item(
        t: tf.Tensor,
        state: user_models.ModelState,
        staying: tf.Tensor,
        shown: tf.Tensor,
        items: tf.Tensor,
        total: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        expected = world.responses(state, candidates)
        earned = tf.linalg.matvec(expected.feedback, weights)  # [U, A]
        score = tf.linalg.matvec(earned - cost * expected.exit, staying, transpose_a=True)
        blocked = None if world.repeats else shown[None]  # [1, A]
        item = selection.best_item(score[None], blocked)[0]
        total += tf.reduce_mean(staying * earned[:, item - 1])
        here = tf.range(steps) == t
        after, _, _ = world.step(
            state,
            tf.fill([users], item),
            tf.random.experimental.stateless_fold_in(seed, t),
        )
        return (
            t + 1,
            nests.shaped(after, state),
            staying * (1.0 - expected.exit[:, item - 1]),
            shown | (candidates == item),
            tf.where(here, item, items),
            total,
        )

    begin = (
        tf.constant(0),
        world.reset(starts),
        tf.ones([users]),
        tf.zeros([count], tf.bool),
        tf.zeros([steps], tf.int32),
        tf.constant(0.0),
    )
    *_, items, total = tf.while_loop(lambda t, *_: t < steps, add_item, begin)
    return items, total


def play_list(items: np.ndarray) -> contract.Policy:
    """Shows the item of each step to every user.

    Args:
      items: int [T], dense item ids; without repeats where the environment permits none.
    """
    table = tf.constant(items, tf.int32)

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        # A loop may step sessions that are over; what is shown in them has no meaning.
        step = tf.minimum(contract.history_of(timestep).step, len(items) - 1)
        return contract.action_of(tf.gather(table, step))

    return policy


def best_constant_item(
    environment: users_lib.UserEnvironment, starts: types.Starts, seed: int
) -> int:
    """The dense id of the item that earns most if it is shown at every step.

    Every item is shown to the first users, and the best of these to all of them.

    Args:
      environment: users to whom an item may be shown again.
      starts: U session starts, numpy arrays; evaluate the item on other users.
      seed: of the played sessions.

    Raises:
      ValueError: if items may not repeat.
    """
    if not environment.world.repeats:
        raise ValueError("an item may be shown once in a session; expected repeats")
    every = np.arange(1, environment.spec.num_candidates + 1, dtype=np.int32)
    screened = types.rows(starts, slice(_SCREENED_USERS))
    order = np.argsort(-_constant_rewards(environment, screened, every, seed), kind="stable")
    finalists = every[order[:_FINALISTS]]
    rewards = _constant_rewards(environment, starts, finalists, seed + 1)
    return int(finalists[rewards.argmax()])


def _constant_rewards(
    environment: users_lib.UserEnvironment, starts: types.Starts, items: np.ndarray, seed: int
) -> np.ndarray:
    """Mean clicks of a session that shows one item throughout, float [len(items)]."""
    users = len(starts.user)
    together = max(1, player.AT_ONCE // users)  # items whose sessions are played together
    number = tf.Variable(tf.zeros([together * users], tf.int32))  # the item of each session
    runner = player.Player(
        environment,
        lambda timestep: contract.action_of(timestep.per_session(number)),
    )
    rows = types.rows(starts, np.tile(np.arange(users), together))
    rewards = []
    for first in range(0, len(items), together):
        part = np.resize(items[first : first + together], together)
        number.assign(np.repeat(part, users))
        clicks = runner.play(rows, seed + first).feedback[..., 0].sum(axis=1)
        rewards.append(clicks.reshape(together, users).mean(axis=1))
    return np.concatenate(rewards)[: len(items)]


class AtStart(tf.Module):
    """A user model whose expected responses are those of the start of the session.

    Users respond and move on as in the given model, but `responses` does not see what happens
    in the session. A policy that reads them is memory-less.

    Args:
      world: the user model.
    """

    def __init__(self, world: user_models.UserModel):
        super().__init__(name="at_start")
        self._world = world
        self.spec = world.spec
        self.repeats = world.repeats

    @property
    def fingerprint(self) -> str:
        """That of the given model: users respond alike."""
        return self._world.fingerprint

    def reset(self, starts: types.Starts) -> tuple:
        state = self._world.reset(starts)
        return state, state

    def responses(self, state: tuple, candidates: tf.Tensor) -> user_models.Responses:
        return self._world.responses(state[0], candidates)

    def step(
        self,
        state: tuple,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[tuple, tf.Tensor, tf.Tensor]:
        after, feedback, left = self._world.step(state[1], item, seed, distort)
        return (state[0], after), feedback, left
