"""True values of items in held-out states, as the reference of rankings.

Axes: B states, A candidates, N items.
"""

from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfgoalrec import leak
from tfrec import types
from tfrec.environments import embedded, exact_values, user_models
from tfrec.environments.fitted import recurrent_model

_SESSIONS_AT_ONCE = 4096


def candidates(
    episodes: types.Episodes,
    held: leak.HeldOut,
    num_items: int,
    count: int,
    repeats: bool,
    seed: int,
) -> np.ndarray:
    """Returns the items to rank in each state: all, or `count` items drawn at random.

    Args:
      episodes: the sessions that `held` was drawn from.
      held: B states.
      num_items: N.
      count: largest A.
      repeats: whether an item may be shown twice in a session; if not, items that the
        session has shown are left out.
      seed: seed of the draw.

    Returns:
      int32 [B, A].
    """
    order = np.random.default_rng(seed).random((len(held.item), num_items + 1))
    order[:, types.PAD] = np.inf
    if not repeats:
        shown = episodes.item[held.session]  # [B, T]
        row, step = np.nonzero(np.arange(shown.shape[1]) < held.observation.step[:, None])
        order[row, shown[row, step]] = np.inf
    allowed = int(np.isfinite(order).sum(axis=1).min())
    return order.argsort(axis=1)[:, : min(count, allowed)].astype(np.int32)


class Truth(NamedTuple):
    """True values of the candidates in a world.

    Attributes:
      click: p(click) at this step, float [B, A].
      optimal: Q*(s, a), expected clicks of the rest of the session under optimal play,
        float [B, A]; None where the world has no known optimum.
    """

    click: np.ndarray
    optimal: np.ndarray | None


def of(
    world: user_models.UserModel,
    episodes: types.Episodes,
    held: leak.HeldOut,
    candidates: np.ndarray,
) -> Truth:
    """Returns the true values of candidates; arguments as in the two functions below."""
    if isinstance(world, embedded.EmbeddedWorld):
        return embedded_truth(world, episodes, held, candidates)
    return fitted_truth(cast(recurrent_model.RecurrentModel, world), episodes, held, candidates)


def embedded_truth(
    world: embedded.EmbeddedWorld,
    episodes: types.Episodes,
    held: leak.HeldOut,
    candidates: np.ndarray,
) -> Truth:
    """Returns true values in the embedded world, from the hidden state after the shown items.

    The log must hold every step of its sessions, as the embedded log does.

    Q*(s, a) = p(click) + (1 - p(exit)) V*(s'), with V* of `exact_values.solve`.

    Args:
      world: the embedded world.
      episodes: the sessions that `held` was drawn from.
      held: B states.
      candidates: int32 [B, A].
    """
    before = _hidden_states(world, episodes)
    position = held.session, held.observation.step
    state = embedded.HiddenState(*(tf.constant(part[position]) for part in before))
    catalogue = tf.range(1, world.spec.num_items + 1)
    responses = world.responses(state, catalogue)
    click = responses.feedback[..., 0].numpy().astype(np.float64)  # [B, N]
    stays = 1.0 - responses.exit.numpy().astype(np.float64)
    reward = np.eye(len(world.spec.feedback))[0]
    fatigue, segment = state.fatigue.numpy()[:, None], state.segment.numpy()[:, None]
    after = world.after[segment, fatigue, world.item_cell[None, :]]  # [B, N]
    value = exact_values.solve(world, reward).value
    future = value[state.step.numpy()[:, None] + 1, segment, after]
    column = candidates - 1
    return Truth(
        click=np.take_along_axis(click, column, axis=1),
        optimal=np.take_along_axis(click + stays * future, column, axis=1),
    )


def _hidden_states(
    world: embedded.EmbeddedWorld, episodes: types.Episodes
) -> embedded.HiddenState:
    """The true user before each logged step, int [sessions, T] each.

    Fatigue is a function of the user and of the shown items, so it is that of the logged
    session whatever feedback the world draws here.
    """
    start = world.reset(types.constants(user_models.starts_of(episodes)))
    shown = tf.transpose(tf.maximum(tf.constant(episodes.item), 1))  # [T, sessions]
    seed = tf.zeros([2], tf.int32)
    after = tf.scan(lambda state, item: world.step(state, item, seed)[0], shown, start)
    return embedded.HiddenState(
        *(
            np.concatenate([first.numpy()[:, None], later.numpy().T[:, :-1]], axis=1)
            for first, later in zip(start, after, strict=True)
        )
    )


def fitted_truth(
    world: recurrent_model.RecurrentModel,
    episodes: types.Episodes,
    held: leak.HeldOut,
    candidates: np.ndarray,
) -> Truth:
    """Returns p(click) in a fitted world, with each candidate at the step of its state.

    Args:
      world: the fitted users.
      episodes: the sessions that `held` was drawn from.
      held: B states.
      candidates: int32 [B, A].
    """
    expect = tf.function(world.expect, reduce_retracing=True, autograph=False)
    states, count = candidates.shape
    click = []
    for block in leak.blocks(states, max(1, _SESSIONS_AT_ONCE // count)):
        session = np.repeat(held.session[block], count)
        step = np.repeat(held.observation.step[block], count)
        part = types.rows(episodes, session)
        part.item[np.arange(len(step)), step] = candidates[block].ravel()
        part = part._replace(length=(step + 1).astype(np.int32))
        expected = expect(types.constants(part)).numpy()  # [steps, F + 1]
        last = np.cumsum(part.length) - 1
        click.append(expected[last, 0].reshape(-1, count))
    return Truth(np.concatenate(click), None)
