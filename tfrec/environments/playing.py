"""Plays complete sessions of a policy in an environment.

`play` returns totals of sessions in any environment. `rollout` records the sessions of users of
a catalogue, one for each start. Both use `step` and differ in the rows of ended sessions:

- `play` starts another session in such a row. The number of rows is constant, rows are at
  different steps, and totals are summed by session.
- `rollout` drops such rows. All rows are at the same step, so a step writes one column of the
  record, and few rows remain for long sessions.

A single function would have to write each event to its own row and column, or step ended
sessions.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, users
from tfrec.ops import nests

_RESET_FRACTION = 8  # new sessions start when one row in so many is idle

# Sessions of up to _WHOLE steps are recorded in one segment, longer ones in segments of
# _SEGMENT steps. Ended sessions are dropped between segments, which costs less than a step.
_WHOLE = 32
_SEGMENT = 16


def step(
    simulator: contract.Simulator,
    policy: contract.Policy,
    state: contract.State,
    seeds: tf.Tensor,
    user: tf.Tensor | None = None,
) -> contract.Outcome:
    """Takes one step of B sessions under a policy.

    Args:
      simulator: the environment.
      policy: the policy.
      state: state of the sessions.
      seeds: int32 [2 or more, 2], seeds of the policy and of the environment.
      user: int32 [B], the number of each session; None where they are not numbered.
    """
    timestep = contract.timestep_of(simulator, state, seeds[0], user)
    return simulator.step(state, policy(timestep), seeds[1])


class Played(NamedTuple):
    """Totals of complete sessions, each [B].

    Attributes:
      reward: float32, the simulator's reward.
      clicks: float32, number of clicks.
      shown: float32, number of shown items; the CTR of many sessions is the sum of clicks over
        the sum of shown items.
      steps: int32, number of steps.
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
    """Plays complete sessions and returns their totals; call it inside a tf.function.

    Every session is played to its end, because stopping after a number of ended sessions would
    be biased to short ones.

    Args:
      simulator: the environment.
      policy: the policy.
      sessions: B, number of sessions.
      seed: int32 [2]; equal seeds give equal sessions.
      max_steps: steps after which a session is cut, for simulators with endless sessions.
      at_once: number of rows, each of which plays one session after the other, so that the
        longest session does not delay the rest; B by default. The sessions depend on it.
    """
    rows = min(at_once or sessions, sessions)
    first = tf.random.experimental.stateless_fold_in(seed, 0)
    zeros = tf.zeros([sessions])
    totals = Played(zeros, zeros, zeros, tf.zeros([sessions], tf.int32))
    idle = sessions  # session number of a row without a session

    def is_active(t: tf.Tensor, session: tf.Tensor, *_: object) -> tf.Tensor:
        return tf.reduce_any(session < idle)

    def advance(t, session, started, age, state, totals):
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(seed, t + 1), 3 if rows < sessions else 2
        )
        outcome = step(simulator, policy, state, seeds)
        # Idle rows are stepped too; their values are summed in a bin that is cut off.
        step_totals = Played(outcome.reward, outcome.clicks, outcome.shown, tf.ones_like(age))
        totals = tf.nest.map_structure(
            lambda total, value: (
                total + tf.math.unsorted_segment_sum(value, session, sessions + 1)[:sessions]
            ),
            totals,
            step_totals,
        )
        age += 1
        session = tf.where(outcome.done | (age >= max_steps), idle, session)
        if rows == sessions:
            return t + 1, session, started, age, outcome.state, totals
        starts, number = _new_sessions(session == idle, started, sessions)
        next_state = tf.cond(
            tf.reduce_any(starts),
            lambda: contract.restarted(simulator, outcome.state, starts, seeds[2]),
            lambda: outcome.state,
        )
        next_state = nests.shaped(next_state, state)
        started += tf.reduce_sum(tf.cast(starts, tf.int32))
        session = tf.where(starts, number, session)
        return t + 1, session, started, tf.where(starts, 0, age), next_state, totals

    state = simulator.reset(rows, first)
    loop = (tf.constant(0), tf.range(rows), tf.constant(rows), tf.zeros([rows], tf.int32))
    return tf.while_loop(is_active, advance, (*loop, state, totals))[-1]


def _new_sessions(
    idle: tf.Tensor, started: tf.Tensor, sessions: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Selects the rows in which new sessions start, and numbers these sessions.

    A reset computes a session for every row, so rows stay idle until several are.

    Args:
      idle: bool [rows].
      started: int32 scalar, number of sessions started so far.
      sessions: number of sessions to play.

    Returns:
      Rows that start a session, bool [rows], and the number of their session, int32 [rows].
    """
    is_idle = tf.cast(idle, tf.int32)
    number = started + tf.cumsum(is_idle) - 1
    enough = _RESET_FRACTION * tf.reduce_sum(is_idle) >= tf.size(idle)
    return enough & idle & (number < sessions), number


class _Live(NamedTuple):
    """The b sessions that have not ended.

    Attributes:
      number: int32 [b], the position of each session's start.
      state: users.State of the sessions.
      item: int32 [b, C], items of this segment, 0 for steps that were not taken.
      feedback: float32 [b, C, F].
    """

    number: tf.Tensor
    state: users.State
    item: tf.Tensor
    feedback: tf.Tensor


class _Recorded(NamedTuple):
    """The recorded steps by segment.

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
    """Records one session for each start, until all users have left or the cap is reached.

    Call it inside a tf.function; all users advance by one step per loop iteration. A few
    sessions are much longer than the rest, so long ones are played in segments, and users
    who have left are dropped between segments. Environment and policy draw random numbers for
    a batch of users, so the numbers of a user depend on the number of users in the batch.

    Args:
      environment: the simulated users.
      policy: the policy. Sessions are numbered by the position of their start.
      starts: B session starts.
      seed: int32 [2]; equal seeds give equal sessions.

    Returns:
      B episodes. Steps after a user's exit are padding.
    """
    # The number of rows falls during the loop. TensorFlow's graph optimiser would assume a
    # static number for every step, so the static shape is hidden.
    starts = tf.nest.map_structure(
        lambda x: tf.compat.v1.placeholder_with_default(x, [None, *x.shape[1:]]), starts
    )
    batch = tf.shape(starts.user)[0]
    recorder = _Recorder(environment, policy, seed)
    live = recorder.at_segment_start(tf.range(batch), environment.begin(starts))
    recorded = recorder.nothing(batch)
    _, _, recorded = tf.while_loop(
        lambda number, live, _: (number < recorder.segments) & (tf.size(live.number) > 0),
        recorder.play_segment,
        (tf.constant(0), live, recorded),
        shape_invariants=(
            tf.TensorShape([]),
            _any_rows(live),
            tf.nest.map_structure(lambda x: x.shape, recorded),
        ),
    )
    return recorder.episodes(starts, batch, recorded)


class _Recorder:
    """The parts of `rollout`: steps of a segment, segments of a session, and their record.

    Args:
      environment: the simulated users.
      policy: the policy.
      seed: int32 [2].

    Attributes:
      segment: C, steps of a segment.
      segments: number of segments of the longest session.
    """

    def __init__(
        self, environment: users.UserEnvironment, policy: contract.Policy, seed: tf.Tensor
    ):
        self._environment, self._policy, self._seed = environment, policy, seed
        self._max_steps = environment.spec.max_steps
        self._columns = len(environment.spec.feedback)
        self.segment = self._max_steps if self._max_steps <= _WHOLE else _SEGMENT
        self.segments = -(-self._max_steps // self.segment)

    def at_segment_start(self, number: tf.Tensor, state: users.State) -> _Live:
        """Sessions at the beginning of a segment."""
        rows = tf.size(number)
        return _Live(
            number,
            state,
            tf.zeros([rows, self.segment], tf.int32),
            tf.zeros([rows, self.segment, self._columns]),
        )

    def nothing(self, batch: tf.Tensor) -> _Recorded:
        """The record of B sessions before their first step."""
        return _Recorded(
            tf.zeros([self.segments, batch, self.segment], tf.int32),
            tf.zeros([self.segments, batch, self.segment, self._columns]),
            tf.zeros([batch], tf.bool),
        )

    def play_segment(
        self, number: tf.Tensor, live: _Live, recorded: _Recorded
    ) -> tuple[tf.Tensor, _Live, _Recorded]:
        """Takes up to C steps, then drops the sessions of users who have left."""
        begin = number * self.segment
        end = tf.minimum(begin + self.segment, self._max_steps)
        _, live = tf.while_loop(
            lambda t, live: (t < end) & ~tf.reduce_all(live.state.exited),
            lambda t, live: self._advance(begin, t, live),
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
        remaining = tf.where(~live.state.exited)[:, 0]  # [b']
        number_and_state = tf.nest.map_structure(
            lambda x: tf.gather(x, remaining), (live.number, live.state)
        )
        return number + 1, self.at_segment_start(*number_and_state), recorded

    def _advance(self, begin: tf.Tensor, t: tf.Tensor, live: _Live) -> tuple[tf.Tensor, _Live]:
        """Takes one step of the live sessions, step t - begin of the segment."""
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(self._seed, t), 2
        )
        outcome = step(self._environment, self._policy, live.state, seeds, live.number)
        latest = self._environment.history(outcome.state)
        column = (tf.range(self.segment) == t - begin)[None, :]  # [1, C]
        return t + 1, _Live(
            live.number,
            outcome.state,
            tf.where(column, latest.history_item[:, -1:], live.item),
            tf.where(column[..., None], latest.history_feedback[:, -1:], live.feedback),
        )

    def episodes(
        self, starts: types.Starts, batch: tf.Tensor, recorded: _Recorded
    ) -> types.Episodes:
        """Joins the segments of each session: [segments, B, C, ...] -> [B, T, ...]."""
        steps = self.segments * self.segment
        item = tf.reshape(tf.transpose(recorded.item, [1, 0, 2]), [batch, steps])
        feedback = tf.reshape(
            tf.transpose(recorded.feedback, [1, 0, 2, 3]), [batch, steps, self._columns]
        )
        return types.Episodes(
            **starts._asdict(),
            item=item[:, : self._max_steps],
            feedback=feedback[:, : self._max_steps],
            length=tf.math.count_nonzero(item, axis=1, dtype=tf.int32),
            exited=recorded.exited,
        )


def _any_rows(live: _Live) -> _Live:
    """Shapes with a variable number of rows."""
    return tf.nest.map_structure(lambda x: tf.TensorShape([None, *x.shape[1:]]), live)


class Rate(NamedTuple):
    """A mean over sessions, or a ratio of two sums over them.

    Attributes:
      value: the mean or ratio.
      error: its standard error over independent sessions; steps of a session are dependent.
    """

    value: float
    error: float


def mean(values: tf.Tensor) -> Rate:
    """Mean of values of sessions, [B]."""
    array = np.asarray(values, np.float64)
    return Rate(float(array.mean()), float(array.std(ddof=1) / len(array) ** 0.5))


def click_rate(played: Played) -> Rate:
    """Ratio of clicks to shown items over all sessions, with the delta method's error."""
    clicks, shown = (np.asarray(x, np.float64) for x in (played.clicks, played.shown))
    rate = clicks.sum() / shown.sum()
    spread = (clicks - rate * shown).std(ddof=1)
    return Rate(float(rate), float(spread / shown.mean() / len(shown) ** 0.5))


def rates(played: Played) -> dict[str, float]:
    """CTR, reward and length of sessions, with standard errors: ctr, ctr_error, ..."""
    by_name = {
        "ctr": click_rate(played),
        "reward": mean(played.reward),
        "steps": mean(tf.cast(played.steps, tf.float32)),
    }
    values = {name: rate.value for name, rate in by_name.items()}
    return values | {f"{name}_error": rate.error for name, rate in by_name.items()}
