"""Batches of transitions from sessions, for logs larger than the replay.

Measurement, standardisation, windows and hindsight goals are one batched map: each is
computed for all steps of a batch of sessions at once. Nothing runs once per step.

With an accelerator, copy sessions instead of transitions: the windows of a session's steps
repeat each event H times. Prefetch the sessions to the device and call `of_sessions` inside
the training step's graph, after the copy:

    sessions = data.dataset("train", ...).apply(
        tf.data.experimental.prefetch_to_device("/gpu:0"))
    for number, batch in enumerate(sessions):
        train(batch, number)  # a tf.function that begins with of_sessions(batch, ...)

The replay does the same from its variables, which lie on the device.
"""

import tensorflow as tf

from tfgoalrec import goals, relabel
from tfgoalrec.measurements import Measurements
from tfrec import types


def of_sessions(
    episodes: types.Episodes,
    measurements: Measurements,
    hindsight_share: float,
    seed: tf.Tensor,
) -> relabel.Transition:
    """Returns all steps of a batch of sessions as transitions, in random order.

    Args:
      episodes: B sessions; padding yields no rows.
      measurements: computes and standardises m_t.
      hindsight_share: probability that a row gets the goal m_0 / |m_0| (GoalRec,
        Algorithm 1); the others have a random goal, drawn once for each session.
      seed: int32 [2].

    Returns:
      S rows, S the sum of the lengths.
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)  # [3, 2]
    label = measurements.standardised(episodes)  # [B, T, M]
    live = tf.where(tf.sequence_mask(episodes.length, tf.shape(episodes.item)[1]))
    live = tf.random.experimental.stateless_shuffle(tf.cast(live, tf.int32), seeds[0])
    row, step = live[:, 0], live[:, 1]  # [S] each
    item = tf.concat([episodes.history_item, episodes.item], axis=1)  # [B, H + T]
    feedback = tf.concat([episodes.history_feedback, episodes.feedback], axis=1)
    # Windows are gathered by one position in the flat events, not by a pair.
    width, window = tf.shape(item)[1], tf.range(tf.shape(episodes.history_item)[1])
    position = (row * width + step)[:, None] + window  # [S, H]
    shown = row * width + step + tf.size(window)  # [S]
    first = row * tf.shape(episodes.item)[1]
    goal = goals.random(measurements, tf.shape(episodes.length)[0], seeds[1])  # [B, M]
    item, feedback, label = (_flat(x) for x in (item, feedback, label))
    transition = relabel.Transition(
        observation=types.Observation(
            history_item=tf.gather(item, position),
            history_feedback=tf.gather(feedback, position),
            step=step,
            context_values=tf.nest.map_structure(
                lambda values: tf.gather(values, row), episodes.context_values
            ),
        ),
        item=tf.gather(item, shown),
        measurement=tf.gather(label, first + step),
        outcome=tf.gather(label, first),
        goal=tf.gather(goal, row),
    )
    return relabel.relabel(transition, hindsight_share, seeds[2])


def transitions(
    sessions: tf.data.Dataset,
    measurements: Measurements,
    hindsight_share: float,
    seed: int,
    batch_size: int,
) -> tf.data.Dataset:
    """Returns batches of transitions from batches of sessions.

    Steps are shuffled among the sessions of one batch. Shuffle the sessions too, and use
    batches of some hundred sessions. The same seed and sessions give the same batches;
    another pass over repeated sessions draws other goals.

    Args:
      sessions: batches of `types.Episodes` from `tfrec.data.pipeline.batches`.
      measurements: computes and standardises m_t.
      hindsight_share: share of rows with a hindsight goal, 0..1.
      seed: seed of the order and the goals.
      batch_size: rows in a batch; the last may have fewer.

    Returns:
      A dataset of `relabel.Transition`.
    """

    def of_batch(number: tf.Tensor, episodes: types.Episodes) -> relabel.Transition:
        batch_seed = tf.stack([seed, tf.cast(number, tf.int32)])
        return of_sessions(episodes, measurements, hindsight_share, batch_seed)

    return sessions.enumerate().map(of_batch).rebatch(batch_size).prefetch(2)


def _flat(x: tf.Tensor) -> tf.Tensor:
    """Merges the first two axes."""
    return tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0))
