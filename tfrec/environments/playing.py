"""Plays a policy in a batched public simulator, each session from its beginning to its end."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.environments import contract

_WAITING = 8  # where an eighth of the places wait, new sessions begin in them


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
        action = policy(contract.timestep_of(simulator, state, seeds[0]))
        outcome = simulator.step(state, action, seeds[1])
        # Places between two sessions, and those with no session left, go on for nobody.
        step = Played(outcome.reward, outcome.clicks, outcome.shown, tf.ones_like(age))
        totals = tf.nest.map_structure(
            lambda total, now: (
                total + tf.math.unsorted_segment_sum(now, session, sessions + 1)[:sessions]
            ),
            totals,
            step,
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
        following = tf.nest.map_structure(
            lambda new, old: tf.ensure_shape(new, old.shape), following, state
        )
        begun += tf.reduce_sum(tf.cast(start, tf.int32))
        session = tf.where(start, number, session)
        return t + 1, session, begun, tf.where(start, 0, age), following, totals

    state = simulator.reset(places, first)
    loop = (tf.constant(0), tf.range(places), tf.constant(places), tf.zeros([places], tf.int32))
    return tf.while_loop(going, advance, (*loop, state, totals))[-1]


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
