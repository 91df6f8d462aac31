"""Sessions of thousands of simulated users, stepped at once inside one graph.

A world is anything that answers a recommendation: the embedded ground truth,
a user model fitted on a log, a public simulator. This file holds the contract
that each of them meets and the one loop that runs them all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tfrec import types

WorldState = Any  # a nest of tensors, each [B, ...]; only the world looks inside


class Responses(NamedTuple):
    """Expected answers to candidates, known to a world and to no honest policy.

    Attributes:
      feedback: float32 [B, A, F], expected feedback in raw units; for a binary
        column its probability.
      exit: float32 [B, A], probability that the user leaves after this item.
    """

    feedback: tf.Tensor
    exit: tf.Tensor


class World(Protocol):
    """The contract of a simulated user population. All methods are graph code."""

    spec: types.DataSpec
    # Whether an item may be shown twice in a session. Logs of films have no
    # repeats, so a user model fitted on one knows nothing about them.
    repeats: bool

    def reset(self, starts: types.Starts) -> WorldState:
        """Hidden state of each user at the start of a session."""

    def responses(self, state: WorldState, candidates: tf.Tensor) -> Responses:
        """Expected answers of every user to shared candidates, int32 [A]."""

    def step(
        self, state: WorldState, item: tf.Tensor, seed: tf.Tensor
    ) -> tuple[WorldState, tf.Tensor, tf.Tensor]:
        """Shows item, int32 [B]; returns next state, feedback [B, F], exit bool [B]."""


class Turn(NamedTuple):
    """Everything a policy may be asked to answer at one step.

    Attributes:
      observation: what an honest policy sees.
      blocked: bool [B, A], True at column i if candidate i + 1 was already shown in
        this session; None in worlds that allow repeats.
      world: the hidden state, for controls that are allowed to look.
      seed: int32 [2], for stochastic policies.
    """

    observation: types.Observation
    blocked: tf.Tensor | None
    world: WorldState
    seed: tf.Tensor


Policy = Callable[[Turn], tf.Tensor]  # -> item, int32 [B]


def best(scores: tf.Tensor, blocked: tf.Tensor | None) -> tf.Tensor:
    """The item with the highest score among those not blocked.

    Args:
      scores: float [B, A], column i for item i + 1.
      blocked: bool [B, A] or None.

    Returns:
      int32 [B], dense item ids.
    """
    if blocked is not None:
        scores = tf.where(blocked, scores.dtype.min, scores)
    return tf.argmax(scores, axis=-1, output_type=tf.int32) + 1


def rollout(
    world: World, policy: Policy, starts: types.Starts, seed: tf.Tensor
) -> types.Episodes:
    """Plays one session for each start, until everyone left or the cap is reached.

    Call it inside a tf.function; every user advances by one step per loop pass.

    Args:
      world: who answers.
      policy: who recommends.
      starts: B session starts.
      seed: int32 [2]; the same seed gives the same sessions.

    Returns:
      B episodes. Steps after a user's exit are padding.
    """
    spec = world.spec
    batch = tf.shape(starts.user)[0]
    horizon = spec.history_length
    # One buffer holds history then session, so that the window a policy sees at
    # step t is the slice [t, t + H), the same in simulation as in replay.
    item = tf.pad(starts.history_item, [[0, 0], [0, spec.max_steps]])  # [B, H + T]
    feedback = tf.pad(starts.history_feedback, [[0, 0], [0, spec.max_steps], [0, 0]])
    positions = tf.range(horizon + spec.max_steps)  # [H + T]
    # With repeats allowed the mask stays one column wide and is never read.
    blocked = tf.zeros([batch, 1 if world.repeats else spec.num_candidates], tf.bool)

    def running(t, alive, *_):
        return tf.logical_and(t < spec.max_steps, tf.reduce_any(alive))

    def advance(t, alive, length, item, feedback, blocked, state):
        columns = len(spec.feedback)
        observation = types.Observation(
            history_item=tf.ensure_shape(item[:, t : t + horizon], [None, horizon]),
            history_feedback=tf.ensure_shape(
                feedback[:, t : t + horizon], [None, horizon, columns]
            ),
            step=tf.fill([batch], t),
        )
        step_seed = tf.random.experimental.stateless_fold_in(seed, t)
        seeds = tf.random.experimental.stateless_split(step_seed, 2)
        action = policy(Turn(observation, None if world.repeats else blocked, state, seeds[0]))
        if not world.repeats:
            blocked = tf.logical_or(
                blocked, tf.one_hot(action - 1, spec.num_candidates, True, False)
            )
        state, response, left = world.step(state, action, seeds[1])
        here = tf.cast(positions == t + horizon, tf.int32)[None, :]  # [1, H + T]
        shown = tf.where(alive, action, types.PAD)
        item = item + here * shown[:, None]
        kept = tf.where(alive[:, None], response, 0.0)  # [B, F]
        feedback = feedback + tf.cast(here, tf.float32)[:, :, None] * kept[:, None, :]
        length = length + tf.cast(alive, tf.int32)
        alive = tf.logical_and(alive, tf.logical_not(left))
        return t + 1, alive, length, item, feedback, blocked, state

    initial = (
        tf.constant(0),
        tf.ones([batch], tf.bool),
        tf.zeros([batch], tf.int32),
        item,
        feedback,
        blocked,
        world.reset(starts),
    )
    _, alive, length, item, feedback, _, _ = tf.while_loop(running, advance, initial)
    return types.Episodes(
        user=starts.user,
        history_item=starts.history_item,
        history_feedback=starts.history_feedback,
        item=item[:, horizon:],
        feedback=feedback[:, horizon:],
        length=length,
        exited=tf.logical_not(alive),
    )


def starts_of(episodes: types.Episodes) -> types.Starts:
    """The starts of logged sessions, for replaying their users in a simulator."""
    return types.Starts(episodes.user, episodes.history_item, episodes.history_feedback)


def observed(world: World, episodes: types.Episodes) -> types.Episodes:
    """What a learner in this world is told of sessions that were played in it.

    A world with `observed` of its own reports feedback late (see `variants`); what it
    reports is what a learner may learn from. Histories and metrics keep the true answers.
    """
    return world.observed(episodes) if hasattr(world, "observed") else episodes
