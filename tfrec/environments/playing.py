"""Plays a policy in an environment, each session from its beginning to its end.

Two functions share `step`. `play` gives totals, in any environment. `rollout` records the
sessions of users of a catalogue, one for each start. They are two functions because they treat
a row whose session has ended differently:

- `play` begins another session in it. The number of rows is constant, the steps of the rows
  differ, and the totals are added up by session.
- `rollout` drops it. All rows are at the same step, so a step writes one column of the record.
  The rows get fewer, so long sessions do not keep ended ones in the computation.

One function would write each event to a row and a column of its own, or step ended sessions.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, users
from tfrec.ops import nests

_WAITING = 8  # where an eighth of the places wait, new sessions begin in them

# Sessions of up to so many steps are recorded in one segment; longer ones in several, between
# which those of users who have left are dropped. Dropping costs less than a step.
_WHOLE = 32
_SEGMENT = 16


def step(
    simulator: contract.Simulator,
    policy: contract.Policy,
    state: contract.State,
    seeds: tf.Tensor,
    user: tf.Tensor | None = None,
) -> contract.Outcome:
    """One step of B sessions under a policy.

    Args:
      simulator: the environment.
      policy: who recommends.
      state: of the sessions.
      seeds: int32 [2 or more, 2], of the policy and of the environment.
      user: int32 [B], the number of each session; None where they are not numbered.
    """
    timestep = contract.timestep_of(simulator, state, seeds[0], user)
    return simulator.step(state, policy(timestep), seeds[1])


class Played(NamedTuple):
    """Totals of whole sessions, each [B].

    Attributes:
      reward: float32, the simulator's own reward.
      clicks: float32.
      shown: float32; the CTR of many sessions is the sum of clicks over the sum of shown.
      steps: int32.
    """

    reward: tf.Tensor
    clicks: tf.Tensor
    shown: tf.Tensor
    steps: tf.Tensor


def play(
    simulator: contract.Simulator,
    policy: contract.Policy,
    sessions: int,
    seed: tf.Tensor,
    max_steps: int = 10_000,
    at_once: int | None = None,
) -> Played:
    """Totals of so many sessions; call it inside a tf.function.

    Every session is played to its end: stopping when the first are done would favour the
    short ones.

    Args:
      simulator: the environment.
      policy: who recommends.
      sessions: B.
      seed: int32 [2]; the same seed gives the same sessions.
      max_steps: a session is cut there, for simulators whose sessions never end.
      at_once: sessions side by side; where some have ended others begin, so that not all
        wait for the longest. All by default; other numbers give other sessions.
    """
    places = min(at_once or sessions, sessions)
    first = tf.random.experimental.stateless_fold_in(seed, 0)
    zeros = tf.zeros([sessions])
    totals = Played(zeros, zeros, zeros, tf.zeros([sessions], tf.int32))
    nobody = sessions

    def going(t: tf.Tensor, session: tf.Tensor, *_: object) -> tf.Tensor:
        return tf.reduce_any(session < nobody)

    def advance(t, session, begun, age, state, totals):
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(seed, t + 1), 3 if places < sessions else 2
        )
        outcome = step(simulator, policy, state, seeds)
        # Places between two sessions, and those with no session left, go on for nobody.
        now = Played(outcome.reward, outcome.clicks, outcome.shown, tf.ones_like(age))
        totals = tf.nest.map_structure(
            lambda total, value: (
                total + tf.math.unsorted_segment_sum(value, session, sessions + 1)[:sessions]
            ),
            totals,
            now,
        )
        age += 1
        session = tf.where(outcome.done | (age >= max_steps), nobody, session)
        if places == sessions:
            return t + 1, session, begun, age, outcome.state, totals
        # A reset makes a session for every place, so places wait for each other.
        waiting = tf.cast(session == nobody, tf.int32)
        many = tf.reduce_sum(waiting)
        number = begun + tf.cumsum(waiting) - 1  # of the session that a place would begin
        enough = (_WAITING * many >= places) | (many == places)
        start = enough & (waiting > 0) & (number < sessions)
        following = tf.cond(
            tf.reduce_any(start),
            lambda: contract.restarted(simulator, outcome.state, start, seeds[2]),
            lambda: outcome.state,
        )
        following = nests.shaped(following, state)
        begun += tf.reduce_sum(tf.cast(start, tf.int32))
        session = tf.where(start, number, session)
        return t + 1, session, begun, tf.where(start, 0, age), following, totals

    state = simulator.reset(places, first)
    loop = (tf.constant(0), tf.range(places), tf.constant(places), tf.zeros([places], tf.int32))
    return tf.while_loop(going, advance, (*loop, state, totals))[-1]


class _Live(NamedTuple):
    """Sessions that are still played.

    Attributes:
      number: int32 [b], the position of each session's start.
      state: users.State, of b sessions.
      item: int32 [b, C], items of this segment, 0 for steps that were not taken.
      feedback: float32 [b, C, F].
    """

    number: tf.Tensor
    state: users.State
    item: tf.Tensor
    feedback: tf.Tensor


class _Recorded(NamedTuple):
    """What has been played, segment by segment.

    Attributes:
      item: int32 [segments, B, C].
      feedback: float32 [segments, B, C, F].
      exited: bool [B].
    """

    item: tf.Tensor
    feedback: tf.Tensor
    exited: tf.Tensor


def rollout(
    environment: users.UserEnvironment,
    policy: contract.Policy,
    starts: types.Starts,
    seed: tf.Tensor,
) -> types.Episodes:
    """Records one session for each start, until everyone left or the cap is reached.

    Call it inside a tf.function; every user advances by one step per loop pass. A few
    sessions are much longer than the rest, so long ones are played in segments, and users
    who have left are dropped between two of them. An environment and a policy draw for the
    users that they are given: what is drawn for one then depends on how many are left, yet not
    on what becomes of them.

    Args:
      environment: the simulated users.
      policy: who recommends. It is given the position of each session's start as its number.
      starts: B session starts.
      seed: int32 [2]; the same seed gives the same sessions.

    Returns:
      B episodes. Steps after a user's exit are padding.
    """
    spec = environment.spec
    columns = len(spec.feedback)
    # Rows get fewer on the way. Where their number is known beforehand, TensorFlow's graph
    # optimiser takes it for the number at every step: hide it.
    starts = types.Starts(
        *(tf.compat.v1.placeholder_with_default(x, [None, *x.shape[1:]]) for x in starts)
    )
    batch = tf.shape(starts.user)[0]
    segment = spec.max_steps if spec.max_steps <= _WHOLE else _SEGMENT  # C
    segments = -(-spec.max_steps // segment)

    def advance(begin: tf.Tensor, t: tf.Tensor, live: _Live) -> tuple[tf.Tensor, _Live]:
        """One step of all that are live; it is step t - begin of the segment."""
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(seed, t), 2
        )
        state = step(environment, policy, live.state, seeds, live.number).state
        latest = environment.history(state)
        here = (tf.range(segment) == t - begin)[None, :]  # [1, C]
        return t + 1, _Live(
            live.number,
            state,
            tf.where(here, latest.history_item[:, -1:], live.item),
            tf.where(here[..., None], latest.history_feedback[:, -1:], live.feedback),
        )

    def play_segment(
        number: tf.Tensor, live: _Live, recorded: _Recorded
    ) -> tuple[tf.Tensor, _Live, _Recorded]:
        """C steps, or fewer; then drops the sessions of users who have left."""
        begin = number * segment
        end = tf.minimum(begin + segment, spec.max_steps)
        _, live = tf.while_loop(
            lambda t, live: (t < end) & ~tf.reduce_all(live.state.exited),
            lambda t, live: advance(begin, t, live),
            (begin, live),
            shape_invariants=(begin.shape, _any_rows(live)),
        )
        row = live.number[:, None]  # [b, 1]
        cell = tf.concat([tf.fill(tf.shape(row), number), row], axis=1)  # [b, 2]
        recorded = _Recorded(
            tf.tensor_scatter_nd_update(recorded.item, cell, live.item),
            tf.tensor_scatter_nd_update(recorded.feedback, cell, live.feedback),
            tf.tensor_scatter_nd_update(recorded.exited, row, live.state.exited),
        )
        stay = tf.where(~live.state.exited)[:, 0]
        left = tf.nest.map_structure(lambda x: tf.gather(x, stay), (live.number, live.state))
        return number + 1, begun(*left), recorded

    def begun(number: tf.Tensor, state: users.State) -> _Live:
        """Sessions at the beginning of a segment."""
        rows = tf.size(number)
        return _Live(
            number,
            state,
            tf.zeros([rows, segment], tf.int32),
            tf.zeros([rows, segment, columns]),
        )

    everyone = begun(tf.range(batch), environment.begin(starts))
    nothing = _Recorded(
        tf.zeros([segments, batch, segment], tf.int32),
        tf.zeros([segments, batch, segment, columns]),
        tf.zeros([batch], tf.bool),
    )
    _, _, recorded = tf.while_loop(
        lambda number, live, _: (number < segments) & (tf.size(live.number) > 0),
        play_segment,
        (tf.constant(0), everyone, nothing),
        shape_invariants=(
            tf.TensorShape([]),
            _any_rows(everyone),
            tf.nest.map_structure(lambda x: x.shape, nothing),
        ),
    )
    # From segments of steps back to sessions: [segments, B, C, ...] -> [B, T, ...]
    item = tf.reshape(tf.transpose(recorded.item, [1, 0, 2]), [batch, segments * segment])
    feedback = tf.reshape(
        tf.transpose(recorded.feedback, [1, 0, 2, 3]), [batch, segments * segment, columns]
    )
    return types.Episodes(
        *starts,
        item=item[:, : spec.max_steps],
        feedback=feedback[:, : spec.max_steps],
        length=tf.math.count_nonzero(item, axis=1, dtype=tf.int32),
        exited=recorded.exited,
    )


def _any_rows(live: _Live) -> _Live:
    """The shapes of a nest whose number of rows changes."""
    return tf.nest.map_structure(lambda x: tf.TensorShape([None, *x.shape[1:]]), live)


class Rate(NamedTuple):
    """A mean over sessions, or a ratio of two sums over them.

    Attributes:
      value: the mean or ratio.
      error: its standard error; the sessions are what is independent, not their steps.
    """

    value: float
    error: float


def mean(values: tf.Tensor) -> Rate:
    """Mean of a total over sessions, [B]."""
    array = np.asarray(values, np.float64)
    return Rate(float(array.mean()), float(array.std(ddof=1) / len(array) ** 0.5))


def click_rate(played: Played) -> Rate:
    """Clicks over what was shown, pooled; the error is that of a ratio (delta method)."""
    clicks, shown = (np.asarray(x, np.float64) for x in (played.clicks, played.shown))
    rate = clicks.sum() / shown.sum()
    spread = (clicks - rate * shown).std(ddof=1)
    return Rate(float(rate), float(spread / shown.mean() / len(shown) ** 0.5))


def rates(played: Played) -> dict[str, float]:
    """CTR, reward and length of sessions, with standard errors: ctr, ctr_error, ..."""
    found = {
        "ctr": click_rate(played),
        "reward": mean(played.reward),
        "steps": mean(tf.cast(played.steps, tf.float32)),
    }
    numbers = {name: rate.value for name, rate in found.items()}
    return numbers | {f"{name}_error": rate.error for name, rate in found.items()}
