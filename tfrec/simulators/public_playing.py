"""Plays a policy in a batched public simulator, each session from its beginning to its end."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.simulators import batched


class Turn(NamedTuple):
    """Everything a policy may be asked to answer at one step.

    Attributes:
      observation: float32 [B, O], what an honest policy sees of the user.
      candidates: float32 [B, m, D], features of the items to choose from; None where the
        action is continuous.
      state: the simulator's hidden state, for controls that are allowed to look.
      seed: int32 [2], for stochastic policies.
    """

    observation: tf.Tensor
    candidates: tf.Tensor | None
    state: batched.State
    seed: tf.Tensor


# -> what `step` of the simulator takes: int32 [B, k] or float32 [B, D]
Policy = Callable[[Turn], tf.Tensor]


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


def turn_of(simulator: batched.Simulator, state: batched.State, seed: tf.Tensor) -> Turn:
    """What a policy is asked in a state."""
    return Turn(simulator.observation(state), simulator.candidates(state), state, seed)


def play(
    simulator: batched.Simulator,
    policy: Policy,
    sessions: int,
    seed: tf.Tensor,
    max_steps: int = 10_000,
) -> Played:
    """Totals of so many sessions; call it inside a tf.function.

    Every session is played to its end: stopping when the first are done would favour the
    short ones.

    Args:
      simulator: who answers.
      policy: who recommends.
      sessions: B.
      seed: int32 [2]; the same seed gives the same sessions.
      max_steps: cut there, for simulators whose sessions never end.
    """
    first = tf.random.experimental.stateless_fold_in(seed, 0)
    zeros = tf.zeros([sessions])
    totals = Played(zeros, zeros, zeros, tf.zeros([sessions], tf.int32))

    def going(t: tf.Tensor, alive: tf.Tensor, *_: object) -> tf.Tensor:
        return (t < max_steps) & tf.reduce_any(alive)

    def advance(t, alive, state, totals):
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(seed, t + 1), 2
        )
        action = policy(turn_of(simulator, state, seeds[0]))
        outcome = simulator.step(state, action, seeds[1])
        live = tf.cast(alive, tf.float32)
        totals = Played(
            totals.reward + live * outcome.reward,
            totals.clicks + live * outcome.clicks,
            totals.shown + live * outcome.shown,
            totals.steps + tf.cast(alive, tf.int32),
        )
        return t + 1, alive & ~outcome.done, outcome.state, totals

    state = simulator.reset(sessions, first)
    loop = (tf.constant(0), tf.ones([sessions], tf.bool), state, totals)
    return tf.while_loop(going, advance, loop)[-1]


def random(simulator: batched.Simulator) -> Policy:
    """A uniform choice: k different candidates, or any action in [-1, 1]."""

    def policy(turn: Turn) -> tf.Tensor:
        batch = tf.shape(turn.observation)[0]
        if turn.candidates is None:
            shape = [batch, simulator.action_size]
            return tf.random.stateless_uniform(shape, turn.seed, -1.0, 1.0)
        noise = tf.random.stateless_uniform([batch, turn.candidates.shape[1]], turn.seed)
        return best(noise, simulator.slate_size)

    return policy


def best(scores: tf.Tensor, slate: int) -> tf.Tensor:
    """Positions of the highest scores, float [B, m] -> int32 [B, k], best first."""
    return tf.math.top_k(scores, slate).indices


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
