"""Does the model read the outcome from the goal? The controls of the label leak.

A hindsight goal g' = m_0 / |m_0| is a function of the very measurements that the model
is to predict (GoalRec, "Hindsight Experience Replay"). A model that reads them from the
goal needs no item to explain them, and ranks items badly under a goal that is no copy of
the outcome. Here is what shows it: how well V does when it sees such a goal, how well
the items of one state are ranked, and whether the advantages are centred.

Axes: L held-out steps, B states among them, A candidates, N items, M measurement
columns, J measurements.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
import tensorflow as tf

from tfgoalrec import goals, relabel
from tfgoalrec.measurements import Measurements
from tfgoalrec.world_model import WorldModel
from tfrec import types
from tfrec.data import synthetic
from tfrec.metrics import session as metrics
from tfrec.simulators import embedded, user_model

_PAIRS_AT_ONCE = 4_000_000  # bounds the memory of a block of comparisons
_STEPS_AT_ONCE = 2048
_SESSIONS_AT_ONCE = 4096


class HeldOut(NamedTuple):
    """Steps of sessions that the model was not trained on; numpy arrays.

    Attributes:
      session: int [L], which session.
      user: int [L].
      observation: s_t, [L, ...].
      item: a_t, int32 [L].
      measurement: m_t, standardised, float [L, M].
      outcome: m_0 of the step's session, standardised, float [L, M].
    """

    session: np.ndarray
    user: np.ndarray
    observation: types.Observation
    item: np.ndarray
    measurement: np.ndarray
    outcome: np.ndarray


def held_out(
    episodes: types.Episodes, measurements: Measurements, count: int, seed: int
) -> HeldOut:
    """Draws steps without replacement, each with the same probability.

    Args:
      episodes: sessions as numpy arrays.
      measurements: fitted on the training sessions.
      count: L, or all steps where there are fewer.
      seed: of the draw.
    """
    length = np.asarray(episodes.length)
    session = np.repeat(np.arange(len(length)), length)
    step = np.arange(len(session)) - np.repeat(np.cumsum(length) - length, length)
    drawn = np.random.default_rng(seed).permutation(len(session))[:count]
    session, step = session[drawn], step[drawn]
    # One buffer holds history then session: step t sees the slice [t, t + H).
    horizon = episodes.history_item.shape[1]
    window = step[:, None] + np.arange(horizon)  # [L, H]
    item = np.concatenate([episodes.history_item, episodes.item], axis=1)
    feedback = np.concatenate([episodes.history_feedback, episodes.feedback], axis=1)
    label = measurements.standardised(types.Episodes(*map(tf.constant, episodes))).numpy()
    return HeldOut(
        session=session,
        user=np.asarray(episodes.user)[session],
        observation=types.Observation(
            history_item=item[session[:, None], window],
            history_feedback=feedback[session[:, None], window],
            step=step.astype(np.int32),
        ),
        item=episodes.item[session, step],
        measurement=label[session, step],
        outcome=label[session, 0],
    )


class Predictions(NamedTuple):
    """V and A of the items shown, standardised units, float [L, M] each."""

    value: np.ndarray
    advantage: np.ndarray


def predict(model: WorldModel, held: HeldOut, goal: np.ndarray) -> Predictions:
    """What the model says of held-out steps.

    Args:
      model: the world model.
      held: L steps.
      goal: float [L, M], unit length.
    """

    @tf.function(reduce_retracing=True)
    def parts(observation, item, goal):
        code = model.encode(observation, goal)
        return model.value(code), model.advantage(code, item[:, None])[:, 0]

    found = [
        parts(
            _observation(held, block), tf.constant(held.item[block]), tf.constant(goal[block])
        )
        for block in _blocks(len(held.item), _STEPS_AT_ONCE)
    ]
    value, advantage = (
        np.concatenate([x.numpy() for x in y]) for y in zip(*found, strict=True)
    )
    return Predictions(value, advantage)


def mixed_goals(
    held: HeldOut, measurements: Measurements, hindsight_share: float, seed: int
) -> np.ndarray:
    """Goals as log training draws them: hindsight for a share, random for the rest, [L, M].

    A share of 1 gives hindsight goals alone, 0 random goals alone.
    """
    seeds = tf.random.experimental.stateless_split([seed, 0], 2)
    rows = relabel.Transition(
        observation=held.observation,
        item=tf.constant(held.item),
        measurement=tf.constant(held.measurement),
        outcome=tf.constant(held.outcome),
        goal=goals.random(measurements, len(held.item), seeds[0]),
    )
    return relabel.relabel(rows, hindsight_share, seeds[1]).goal.numpy()


def explained(
    prediction: np.ndarray, target: np.ndarray, measurement_of: np.ndarray
) -> np.ndarray:
    """Each step's part in the variance explained; the mean over steps is R^2.

    R^2_j = 1 - mean_l (m_lj - p_lj)^2 / var_j is a mean over steps of
    1 - (m_lj - p_lj)^2 / var_j, so that intervals over users can be had from its parts.

    Args:
      prediction: float [L, M].
      target: m, float [L, M].
      measurement_of: int [M], the measurement of each column. The columns of a vector
        measurement are averaged; one that is constant in `target` is left out (NaN
        where it is all there is).

    Returns:
      float [L, J].
    """
    variance = target.astype(np.float64).var(axis=0)  # [M]
    moves = variance > 1e-9
    part = 1.0 - (target - prediction) ** 2 / np.where(moves, variance, np.nan)  # [L, M]
    member = np.eye(measurement_of.max() + 1)[measurement_of] * moves[:, None]  # [M, J]
    with np.errstate(invalid="ignore"):
        return np.where(moves, part, 0.0) @ (member / member.sum(axis=0))


def advantage_bias(advantage: np.ndarray, target: np.ndarray) -> np.ndarray:
    """|mean A| / std(m) of each column, [M]: zero if V is the mean over the shown items.

    Args:
      advantage: A of the items shown, float [L, M].
      target: m, float [L, M]; a constant column gives 0.
    """
    spread = target.astype(np.float64).std(axis=0)
    bias = np.abs(advantage.astype(np.float64).mean(axis=0))
    return np.divide(bias, spread, out=np.zeros_like(bias), where=spread > 1e-6)


def concordance(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of pairs of items of one state that the scores order as the truth does.

    The AUC of a ranking against graded truth: 1 is perfect, 0.5 is chance. Pairs that
    are equal in truth do not count; pairs that are equal in score count one half.

    Args:
      scores: float [B, A].
      truth: float [B, A].

    Returns:
      float [B]; NaN where the truth orders no pair.
    """
    states, candidates = scores.shape
    first, second = np.triu_indices(candidates, 1)  # every pair once, [P]
    found = []
    for block in _blocks(states, max(1, _PAIRS_AT_ONCE // max(1, len(first)))):
        wanted = np.sign(truth[block][:, first] - truth[block][:, second])  # [b, P]
        got = np.sign(scores[block][:, first] - scores[block][:, second])
        counted = (wanted != 0).sum(axis=1)
        agreement = (wanted * got).sum(axis=1)  # agreeing less opposed pairs
        with np.errstate(invalid="ignore"):
            found.append(0.5 + 0.5 * agreement / np.where(counted, counted, np.nan))
    return np.concatenate(found)


def candidates(
    episodes: types.Episodes,
    held: HeldOut,
    num_items: int,
    count: int,
    repeats: bool,
    seed: int,
) -> np.ndarray:
    """Items to rank in each state: all where `count` allows, else a random draw.

    Args:
      episodes: the sessions that `held` was drawn from.
      held: B states.
      num_items: N.
      count: A at most.
      repeats: whether an item may be shown twice in a session; if not, those of the
        session so far are left out.
      seed: of the draw.

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


def scores_of(
    model: WorldModel, held: HeldOut, goal: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """Q(s, a, g) of candidates under one goal.

    Args:
      model: the world model.
      held: B states.
      goal: float [M], unit length.
      candidates: int32 [B, A].

    Returns:
      float [B, A].
    """

    @tf.function(reduce_retracing=True)
    def ranked(observation, chosen):
        wanted = tf.repeat(tf.constant(goal, tf.float32)[None], tf.shape(chosen)[0], axis=0)
        scores = model.scores(model.encode(observation, wanted), wanted)  # [B, N]
        return tf.gather(scores, chosen - 1, batch_dims=1)

    return np.concatenate(
        [
            ranked(_observation(held, block), tf.constant(candidates[block])).numpy()
            for block in _blocks(len(candidates), _STEPS_AT_ONCE)
        ]
    )


def first_states(held: HeldOut, count: int) -> HeldOut:
    """The first `count` of the drawn steps, which are in random order."""
    observation = types.Observation(*(part[:count] for part in held.observation))
    cut = {
        name: getattr(held, name)[:count] for name in HeldOut._fields if name != "observation"
    }
    return HeldOut(observation=observation, **cut)


class Truth(NamedTuple):
    """What the candidates are worth in a world.

    Attributes:
      click: p(click) now, float [B, A].
      optimal: Q*(s, a), clicks to come if the best items follow, float [B, A]; None
        where the world's optimum is not known.
    """

    click: np.ndarray
    optimal: np.ndarray | None


def embedded_truth(
    world: embedded.EmbeddedWorld,
    episodes: types.Episodes,
    held: HeldOut,
    candidates: np.ndarray,
) -> Truth:
    """Truth in the embedded world: the hidden state follows from the items shown.

    The log must hold every step of its sessions, as the embedded log does.

    Q*(s, a) = p(click) + (1 - p(exit)) V*(s'), with V* of `embedded.solve`.

    Args:
      world: the embedded world.
      episodes: the sessions that `held` was drawn from.
      held: B states.
      candidates: int32 [B, A].
    """
    before = _hidden_states(world, episodes)
    here = held.session, held.observation.step
    state = embedded.HiddenState(*(tf.constant(part[here]) for part in before))
    catalogue = tf.range(1, world.spec.num_items + 1)
    responses = world.responses(state, catalogue)
    click = responses.feedback[..., 0].numpy().astype(np.float64)  # [B, N]
    stays = 1.0 - responses.exit.numpy().astype(np.float64)
    reward = np.eye(len(world.spec.feedback))[0]
    fatigue, taste = state.fatigue.numpy()[:, None], state.taste.numpy()[:, None]
    after = synthetic.next_fatigue(world.config, fatigue, world.truth.kind[None, :])  # [B, N]
    to_come = embedded.solve(world, reward).value[state.step.numpy()[:, None] + 1, taste, after]
    column = candidates - 1
    return Truth(
        click=np.take_along_axis(click, column, axis=1),
        optimal=np.take_along_axis(click + stays * to_come, column, axis=1),
    )


def _hidden_states(
    world: embedded.EmbeddedWorld, episodes: types.Episodes
) -> embedded.HiddenState:
    """The true user before each logged step, int [sessions, T] each.

    Taste and fatigue depend on no coin: whatever feedback the world draws on the way,
    they are those of the logged session.
    """
    start = world.reset(types.Starts(*(tf.constant(x) for x in episodes[:3])))
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
    world: user_model.UserModel,
    episodes: types.Episodes,
    held: HeldOut,
    candidates: np.ndarray,
) -> Truth:
    """p(click) in a fitted world: the logged session, with a candidate at the held step.

    Args:
      world: the fitted users.
      episodes: the sessions that `held` was drawn from.
      held: B states.
      candidates: int32 [B, A].
    """
    expect = tf.function(world.expect, reduce_retracing=True)
    states, count = candidates.shape
    click = []
    for block in _blocks(states, max(1, _SESSIONS_AT_ONCE // count)):
        session = np.repeat(held.session[block], count)
        step = np.repeat(held.observation.step[block], count)
        part = types.Episodes(*(np.asarray(x)[session] for x in episodes))
        part.item[np.arange(len(step)), step] = candidates[block].ravel()
        part = part._replace(length=(step + 1).astype(np.int32))
        expected = expect(types.Episodes(*map(tf.constant, part))).numpy()  # [steps, F + 1]
        last = np.cumsum(part.length) - 1
        click.append(expected[last, 0].reshape(-1, count))
    return Truth(np.concatenate(click), None)


def intervals(
    user: np.ndarray, by_seed: Sequence[dict[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Means over rows, with 95% intervals over users and seeds.

    Args:
      user: int [B], whose row each is.
      by_seed: for each seed, the values of the same rows by name, float [B].

    Returns:
      For each name: mean, low and high.
    """
    ones = np.ones(len(user))
    rows = [{"user": user, "reward": ones, "depth": ones} | values for values in by_seed]
    summary = metrics.summarise(rows)
    return {name: summary[name] for name in by_seed[0]}


def seed_interval(by_seed: Sequence[float]) -> dict[str, float]:
    """Mean over seeds of a number that is never negative, and its Student-t interval."""
    values = np.asarray(by_seed, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": mean, "high": mean}
    quantile = scipy.stats.t.ppf(0.975, len(values) - 1)
    half = float(quantile * scipy.stats.sem(values))
    return {"mean": mean, "low": max(0.0, mean - half), "high": mean + half}


def _observation(held: HeldOut, block: slice) -> types.Observation:
    return types.Observation(*(tf.constant(part[block]) for part in held.observation))


def _blocks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, total, size))
