"""Hindsight relabelling of batches: the goals that stored steps are trained under.

A session that reached measurement m_0 is experience of pursuing the goal
g' = m_0 / |m_0| (GoalRec, "Hindsight Experience Replay"). However, g' is a function of
the target: a network may read the outcome from the goal and ignore the action. Therefore
only a share of each batch is relabelled. The other steps of logs, which have no goals, get
random goals.
"""

from typing import NamedTuple

import tensorflow as tf

from tfgoalrec import goals
from tfrec import types


class Transition(NamedTuple):
    """One step of experience <s_t, a_t, g, m_t>.

    Attributes:
      observation: s_t, [B, ...].
      item: a_t, int32 [B].
      measurement: m_t, standardised, float [B, M].
      outcome: m_0 of the step's session, standardised, float [B, M].
      goal: g, unit length, float [B, M].
    """

    observation: types.Observation
    item: tf.Tensor
    measurement: tf.Tensor
    outcome: tf.Tensor
    goal: tf.Tensor


def hindsight_goal(outcome: tf.Tensor) -> tf.Tensor:
    """Returns the goal g' = m_0 / |m_0|, float [B, M]."""
    return goals.normalise(outcome)


def relabel(transition: Transition, share: float, seed: tf.Tensor) -> Transition:
    """Replaces the goals of a random share of a batch by hindsight goals.

    Args:
      transition: B steps.
      share: probability that a row is relabelled, 0..1.
      seed: int32 [2].

    Returns:
      The same rows; the goals of rows with an (almost) zero outcome do not change.
    """
    batch = tf.shape(transition.item)[0]
    coin = tf.random.stateless_uniform([batch], seed) < share
    reached = tf.norm(transition.outcome, axis=-1) > 1e-6
    relabelled = tf.logical_and(coin, reached)[:, None]  # [B, 1]
    goal = tf.where(relabelled, hindsight_goal(transition.outcome), transition.goal)
    return transition._replace(goal=goal)
