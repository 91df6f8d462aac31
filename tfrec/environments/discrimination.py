"""Variance of a world's responses over users, states and items.

Every response of a world has a logit that depends on the user, on the state of the session and
on the item. If nearly all of the variance is due to the item alone, counting clicks of each
item is as good as any model, and the world cannot discriminate between recommenders.

Axes: U users, S states of each, I items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import user_models
from tfrec.metrics import variance_components
from tfrec.ops import nests

_BATCH = 1024  # sessions whose responses to the items are computed together
_SMALLEST = 1e-6  # probabilities are at least this far from 0 and 1


class Logits(NamedTuple):
    """Logits of a world's responses, each float32 [U, S, I].

    Attributes:
      click: logit of the click.
      exit: logit of leaving after the item.
    """

    click: np.ndarray
    exit: np.ndarray


def logits(
    world: user_models.UserModel,
    starts: types.Starts,
    steps: np.ndarray,
    items: np.ndarray,
    seed: int,
) -> Logits:
    """Logits of the responses to items, in states under random recommendations.

    Random items are shown for a number of steps to reach a state. Exits are ignored, so that
    late states are not only those of patient users.

    Args:
      world: the simulated users.
      starts: U starts, numpy arrays.
      steps: int [U, S], number of steps before each state.
      items: int [I], dense item ids.
      seed: seed of the shown items and of the responses to them.
    """
    users, states = steps.shape
    rows = types.rows(starts, np.repeat(np.arange(users), states))
    compute = tf.function(
        lambda some, some_steps, pair: _responses(world, some, some_steps, items, pair),
        reduce_retracing=True,
        autograph=False,
    )
    clicks, exits = [], []
    for first in range(0, users * states, _BATCH):
        part = slice(first, first + _BATCH)
        click, leave = compute(
            types.constants(types.rows(rows, part)),
            tf.constant(steps.reshape(-1)[part], tf.int32),
            types.seed_pair(seed, first),
        )
        clicks.append(click.numpy())
        exits.append(leave.numpy())
    shape = (users, states, len(items))
    return Logits(
        _logit(np.concatenate(clicks)).reshape(shape),
        _logit(np.concatenate(exits)).reshape(shape),
    )


def sampled(
    world: user_models.UserModel,
    starts: types.Starts,
    lengths: np.ndarray,
    states: int,
    items: int,
    seed: int,
) -> Logits:
    """Logits of responses to random items, at random steps of sessions of logged lengths.

    Args:
      world: the simulated users.
      starts: U starts, numpy arrays.
      lengths: int, lengths of logged sessions, from which those of the states are sampled.
      states: S, states of each user.
      items: I, different items, at most the number of candidates.
      seed: seed of all random numbers.
    """
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, rng.choice(lengths, [len(starts.user), states]))  # [U, S]
    item_ids = 1 + rng.choice(world.spec.num_candidates, items, replace=False)
    return logits(world, starts, steps, item_ids, seed)


def components(logits: Logits) -> dict[str, variance_components.Components]:
    """Variance components of the click's and of the exit's logit, by name."""
    return {
        name: variance_components.components(values)
        for name, values in logits._asdict().items()
    }


def _responses(
    world: user_models.UserModel,
    starts: types.Starts,
    steps: tf.Tensor,
    items: np.ndarray,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Probabilities of click and exit after some steps, float32 [B, I] each. Graph code."""
    count = world.spec.num_candidates
    batch = tf.shape(steps)[0]

    def advance(
        t: tf.Tensor, state: user_models.ModelState, reached: user_models.ModelState
    ) -> tuple[tf.Tensor, user_models.ModelState, user_models.ModelState]:
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(seed, t), 2
        )
        item = tf.random.stateless_uniform([batch], seeds[0], 1, count + 1, tf.int32)
        after, _, _ = world.step(state, item, seeds[1])
        reached = nests.where(steps == t + 1, after, reached)
        return t + 1, nests.shaped(after, state), nests.shaped(reached, state)

    start = world.reset(starts)
    _, _, state = tf.while_loop(
        lambda t, *_: t < tf.reduce_max(steps), advance, (tf.constant(0), start, start)
    )
    expected = world.responses(state, tf.constant(items, tf.int32))
    return expected.feedback[..., 0], expected.exit


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.log(clipped) - np.log1p(-clipped)
