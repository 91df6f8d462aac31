"""The contract of a user model over a catalogue, and the loop that plays whole sessions of it.

A world is a user model: the embedded ground truth, or one fitted on a log, with its variants.
It starts from a user's history and gives feedback and exits. `users.UserEnvironment` makes an
environment (`contract.Simulator`) of it, which is stepped; `rollout` here plays sessions from
start to end in one graph and drops users who have left, for methods that learn in rounds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.ops import selection

WorldState = Any  # a nest of tensors, each [B, ...]; only the world looks inside

# Sessions of up to so many steps are played in one go; longer ones in segments, between
# which those who have left are dropped. Clearing costs less than a step.
_WHOLE = 32
_SEGMENT = 16
_TRIES = 16  # draws among which an item that may be shown is looked for


class Responses(NamedTuple):
    """Expected answers to candidates, known to a world and to no honest policy.

    Attributes:
      feedback: float32 [B, A, F], expected feedback in raw units; for a binary
        column its probability.
      exit: float32 [B, A], probability that the user leaves after this item.
    """

    feedback: tf.Tensor
    exit: tf.Tensor


Distortion = Callable[[tf.Tensor], tf.Tensor]  # click logit [B] -> probability [B]


class World(Protocol):
    """The contract of a user model. All methods are graph code."""

    spec: types.DataSpec
    # Whether an item may be shown twice in a session. Logs of films have no
    # repeats, so a user model fitted on one knows nothing about them.
    repeats: bool

    @property
    def fingerprint(self) -> str:
        """Hash of what the answers depend on: parameters, configuration and ids."""

    def reset(self, starts: types.Starts) -> WorldState:
        """Hidden state of each user at the start of a session."""

    def responses(self, state: WorldState, candidates: tf.Tensor) -> Responses:
        """Expected answers of every user to shared candidates, int32 [A]."""

    def step(
        self,
        state: WorldState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: Distortion | None = None,
    ) -> tuple[WorldState, tf.Tensor, tf.Tensor]:
        """Shows item, int32 [B]; returns next state, feedback [B, F], exit bool [B].

        `distort` stands in for the sigmoid that turns the click's logit into its
        probability; answers that depend on the click follow what was clicked.
        """


class SessionTimestep(NamedTuple):
    """Everything a policy may be asked to answer at one step.

    Attributes:
      observation: what an honest policy sees.
      blocked: bool [B, A], True at column i if candidate i + 1 was already shown in
        this session; None in worlds that allow repeats.
      world: the hidden state, for controls that are allowed to look.
      seed: int32 [2], for stochastic policies.
      row: int32 [B], the position among the starts of each session that is still played:
        what a policy knows of each session (its goal) is looked up by it. None outside
        of a rollout, where all are there.
    """

    observation: types.Observation
    blocked: tf.Tensor | None
    world: WorldState
    seed: tf.Tensor
    row: tf.Tensor | None = None

    def own(self, value: tf.Tensor) -> tf.Tensor:
        """What belongs to the sessions that are still played.

        Args:
          value: [B, ...], one entry for each start.
        """
        return value if self.row is None else tf.gather(value, self.row)


Policy = Callable[[SessionTimestep], tf.Tensor]  # -> item, int32 [B]


def drawn(
    rows: int | tf.Tensor, items: int, blocked: tf.Tensor | None, seed: tf.Tensor
) -> tf.Tensor:
    """One of the items that are not blocked, each as likely; int32 [B], dense item ids.

    A number for every item would be dear where they are many: few are drawn, and the first that
    may be shown is taken.

    Args:
      rows: B.
      items: A.
      blocked: bool [B, A] or None.
      seed: int32 [2].
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    tries = tf.random.stateless_uniform([rows, _TRIES], seeds[0], 0, items, tf.int32)
    if blocked is None:
        return tries[:, 0] + 1
    free = tf.logical_not(tf.gather(blocked, tries, batch_dims=1))  # [B, tries]
    chosen = tf.gather(tries, tf.argmax(free, axis=1), batch_dims=1) + 1
    none = tf.where(tf.logical_not(tf.reduce_any(free, axis=1)))  # [b, 1]
    noise = tf.random.stateless_uniform([tf.shape(none)[0], items], seeds[1])
    others = selection.best_item(noise, tf.gather_nd(blocked, none))
    return tf.tensor_scatter_nd_update(chosen, none, others)


class _Live(NamedTuple):
    """Sessions that are still played.

    Attributes:
      row: int32 [b], whose session it is: a position among the starts.
      alive: bool [b], False for a user who has left since the last clearing.
      taken: int32 [b], steps of this segment that were taken.
      item: int32 [b, H + C], the history before this segment, then its steps.
      feedback: float32 [b, H + C, F].
      blocked: bool [b, A], or [b, 1] and never read where repeats are allowed.
      state: the world's.
    """

    row: tf.Tensor
    alive: tf.Tensor
    taken: tf.Tensor
    item: tf.Tensor
    feedback: tf.Tensor
    blocked: tf.Tensor
    state: WorldState


class _Played(NamedTuple):
    """What has been played, segment by segment.

    Attributes:
      item: int32 [segments, B, C].
      feedback: float32 [segments, B, C, F].
      length: int32 [B].
      alive: bool [B].
    """

    item: tf.Tensor
    feedback: tf.Tensor
    length: tf.Tensor
    alive: tf.Tensor


def rollout(
    world: World, policy: Policy, starts: types.Starts, seed: tf.Tensor
) -> types.Episodes:
    """Plays one session for each start, until everyone left or the cap is reached.

    Call it inside a tf.function; every user advances by one step per loop pass. A few
    sessions are much longer than the rest, so long ones are played in segments, and users
    who have left are dropped between two of them. A world and a policy draw for the users
    that they are given: what is drawn for one then depends on how many are left, yet not
    on what becomes of them.

    Args:
      world: the simulated users.
      policy: who recommends.
      starts: B session starts.
      seed: int32 [2]; the same seed gives the same sessions.

    Returns:
      B episodes. Steps after a user's exit are padding.
    """
    spec = world.spec
    horizon, columns = spec.history_length, len(spec.feedback)
    # Rows get fewer on the way. Where their number is known beforehand, TensorFlow's graph
    # optimiser takes it for the number at every step: hide it.
    starts = types.Starts(
        *(tf.compat.v1.placeholder_with_default(x, [None, *x.shape[1:]]) for x in starts)
    )
    batch = tf.shape(starts.user)[0]
    segment = spec.max_steps if spec.max_steps <= _WHOLE else _SEGMENT  # C
    segments = -(-spec.max_steps // segment)
    positions = tf.range(horizon + segment)  # [H + C]

    def advance(begin: tf.Tensor, t: tf.Tensor, live: _Live) -> tuple[tf.Tensor, _Live]:
        """One step of all that are live; it is step t - begin of the segment."""
        first = t - begin
        observation = types.Observation(
            history_item=tf.ensure_shape(
                live.item[:, first : first + horizon], [None, horizon]
            ),
            history_feedback=tf.ensure_shape(
                live.feedback[:, first : first + horizon], [None, horizon, columns]
            ),
            step=tf.fill([tf.shape(live.row)[0]], t),
        )
        step_seed = tf.random.experimental.stateless_fold_in(seed, t)
        seeds = tf.random.experimental.stateless_split(step_seed, 2)
        blocked = live.blocked
        timestep = SessionTimestep(
            observation, None if world.repeats else blocked, live.state, seeds[0], live.row
        )
        action = policy(timestep)
        if not world.repeats:
            blocked = tf.logical_or(
                blocked, tf.one_hot(action - 1, spec.num_candidates, True, False)
            )
        state, response, left = world.step(live.state, action, seeds[1])
        here = tf.cast(positions == first + horizon, tf.int32)[None, :]  # [1, H + C]
        shown = tf.where(live.alive, action, types.PAD)
        kept = tf.where(live.alive[:, None], response, 0.0)  # [b, F]
        return t + 1, _Live(
            row=live.row,
            alive=tf.logical_and(live.alive, tf.logical_not(left)),
            taken=live.taken + tf.cast(live.alive, tf.int32),
            item=live.item + here * shown[:, None],
            feedback=live.feedback + tf.cast(here, tf.float32)[:, :, None] * kept[:, None, :],
            blocked=blocked,
            state=state,
        )

    def play_stretch(
        number: tf.Tensor, live: _Live, played: _Played
    ) -> tuple[tf.Tensor, _Live, _Played]:
        """C steps, or fewer; then drops who has left."""
        begin = number * segment
        end = tf.minimum(begin + segment, spec.max_steps)
        _, live = tf.while_loop(
            lambda t, live: tf.logical_and(t < end, tf.reduce_any(live.alive)),
            lambda t, live: advance(begin, t, live),
            (begin, live),
            shape_invariants=(begin.shape, _any_rows(live)),
        )
        shown = live.item[:, horizon:]  # [b, C]
        row = live.row[:, None]  # [b, 1]
        cell = tf.concat([tf.fill(tf.shape(row), number), row], axis=1)  # [b, 2]
        played = _Played(
            item=tf.tensor_scatter_nd_update(played.item, cell, shown),
            feedback=tf.tensor_scatter_nd_update(
                played.feedback, cell, live.feedback[:, horizon:]
            ),
            length=tf.tensor_scatter_nd_add(played.length, row, live.taken),
            alive=tf.tensor_scatter_nd_update(played.alive, row, live.alive),
        )
        stay = tf.where(live.alive)[:, 0]
        live = tf.nest.map_structure(lambda x: tf.gather(x, stay), live)
        return number + 1, _next_stretch(live, horizon, segment), played

    everyone = _Live(
        row=tf.range(batch),
        alive=tf.ones([batch], tf.bool),
        taken=tf.zeros([batch], tf.int32),
        # One buffer holds history then session, so that the window a policy sees is a
        # slice of it, the same in simulation as in replay.
        item=tf.pad(starts.history_item, [[0, 0], [0, segment]]),
        feedback=tf.pad(starts.history_feedback, [[0, 0], [0, segment], [0, 0]]),
        blocked=tf.zeros([batch, 1 if world.repeats else spec.num_candidates], tf.bool),
        state=world.reset(starts),
    )
    nothing = _Played(
        item=tf.zeros([segments, batch, segment], tf.int32),
        feedback=tf.zeros([segments, batch, segment, columns]),
        length=tf.zeros([batch], tf.int32),
        alive=tf.ones([batch], tf.bool),
    )
    _, _, played = tf.while_loop(
        lambda number, live, _: tf.logical_and(number < segments, tf.size(live.row) > 0),
        play_stretch,
        (tf.constant(0), everyone, nothing),
        shape_invariants=(
            tf.TensorShape([]),
            _any_rows(everyone),
            tf.nest.map_structure(lambda x: x.shape, nothing),
        ),
    )
    # From segments of steps back to sessions: [segments, B, C, ...] -> [B, T, ...]
    item = tf.reshape(tf.transpose(played.item, [1, 0, 2]), [batch, segments * segment])
    feedback = tf.reshape(
        tf.transpose(played.feedback, [1, 0, 2, 3]), [batch, segments * segment, columns]
    )
    return types.Episodes(
        user=starts.user,
        history_item=starts.history_item,
        history_feedback=starts.history_feedback,
        item=item[:, : spec.max_steps],
        feedback=feedback[:, : spec.max_steps],
        length=played.length,
        exited=tf.logical_not(played.alive),
    )


def _any_rows(live: _Live) -> _Live:
    """The shapes of a nest whose number of rows changes."""
    return tf.nest.map_structure(lambda x: tf.TensorShape([None, *x.shape[1:]]), live)


def _next_stretch(live: _Live, horizon: int, segment: int) -> _Live:
    """The last H events become the history before the next C steps."""
    return live._replace(
        taken=tf.zeros_like(live.taken),
        item=tf.pad(live.item[:, -horizon:], [[0, 0], [0, segment]]),
        feedback=tf.pad(live.feedback[:, -horizon:], [[0, 0], [0, segment], [0, 0]]),
    )


def starts_of(episodes: types.Episodes) -> types.Starts:
    """The starts of logged sessions, for replaying their users in a simulator."""
    return types.Starts(episodes.user, episodes.history_item, episodes.history_feedback)


def observed(world: World | None, episodes: types.Episodes) -> types.Episodes:
    """Sessions with the feedback that is reported to a learner in this world.

    A world with `observed` of its own reports feedback late (see `variants`). Every session
    that a learner stores passes through here, whether it was logged or played. Histories
    and metrics keep the true answers.

    Args:
      world: the world in which the learner plays; None reports everything at once.
      episodes: sessions as they happened.
    """
    report = getattr(world, "observed", None)
    return report(episodes) if report else episodes


def repeats(world: World | None, log: types.Episodes) -> bool:
    """Whether an item may be shown twice in a session: the world decides, else the log.

    Args:
      world: the world that is played in, or None.
      log: training sessions, numpy arrays.
    """
    return world.repeats if world is not None else has_repeats(log)


def has_repeats(episodes: types.Episodes) -> bool:
    """Whether logged sessions show an item again, in more than one step of a hundred.

    Args:
      episodes: numpy arrays.
    """
    item = np.sort(np.asarray(episodes.item), axis=1)
    again = (item[:, 1:] == item[:, :-1]) & (item[:, 1:] != types.PAD)
    return bool(again.sum() > 0.01 * np.asarray(episodes.length).sum())
