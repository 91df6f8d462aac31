"""Hindsight relabelling as one batched tf.data map, beside a map for each element.

    python -m benchmarks.relabel

Both convert the same sessions to the same kind of batches: standardised measurements m_t, the
history window of each step, and hindsight or random goals.

batched      `tfgoalrec.pipeline`: all steps of a batch of sessions in one map
per_element  computes measurements and goal of one session at a time; then its steps are
             the elements, and a map cuts out the window of each and relabels it

Printed: the median transitions/s of each over alternating repetitions, by the clock and by
processor time, and the ratios. The per-element side has fewer sessions, so that its
repetitions are short; speeds are per transition.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from benchmarks import random_log, timing
from tfgoalrec import goals, pipeline, relabel
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.measurements import Measurements
from tfrec import types


def per_element(
    sessions: tf.data.Dataset,
    measurements: Measurements,
    hindsight_share: float,
    seed: int,
    batch_size: int,
) -> tf.data.Dataset:
    """Computes the transitions of `pipeline.transitions` element by element.

    Args:
      sessions: dataset of single `types.Episodes`, without a batch axis.
      measurements: computes and standardises m_t.
      hindsight_share: share of rows with a hindsight goal.
      seed: seed of the goals.
      batch_size: rows in a batch.
    """

    def steps(number: tf.Tensor, episode: types.Episodes) -> tf.data.Dataset:
        session_seed = tf.stack([seed, tf.cast(number, tf.int32)])
        one = tf.nest.map_structure(lambda x: x[None], episode)
        label = measurements.standardised(one)[0]
        goal = goals.random(measurements, 1, session_seed)[0]
        item = tf.concat([episode.history_item, episode.item], axis=0)  # [H + T]
        feedback = tf.concat([episode.history_feedback, episode.feedback], axis=0)
        length = tf.cast(tf.shape(episode.history_item)[0], tf.int64)

        def step(t: tf.Tensor) -> relabel.Transition:
            row = relabel.Transition(
                observation=types.Observation(
                    item[t : t + length], feedback[t : t + length], tf.cast(t, tf.int32)
                ),
                item=episode.item[t],
                measurement=label[t],
                outcome=label[0],
                goal=goal,
            )
            row = tf.nest.map_structure(lambda x: x[None], row)
            row = relabel.relabel(row, hindsight_share, session_seed + tf.cast(t, tf.int32))
            return tf.nest.map_structure(lambda x: x[0], row)

        return tf.data.Dataset.range(tf.cast(episode.length, tf.int64)).map(step)

    return sessions.enumerate().flat_map(steps).batch(batch_size).prefetch(2)


def both(
    history_length: int,
    max_steps: int,
    sessions: int = 8192,
    sessions_per_element: int = 128,
    num_items: int = 1000,
    batch_size: int = 256,
) -> tuple[dict[str, tf.data.Dataset], dict[str, int]]:
    """Both datasets over the same random sessions.

    Args:
      history_length: H.
      max_steps: T.
      sessions: sessions in a repetition of the batched side.
      sessions_per_element: the first of them, in a repetition of the per-element side.
      num_items: N.
      batch_size: transitions in a batch.

    Returns:
      The datasets `batched` and `per_element`; the number of transitions of each.
    """
    config = GoalRecConfig()
    spec = types.DataSpec(random_log.FEEDBACK, num_items, sessions, history_length, max_steps)
    log = random_log.episodes(spec, sessions, seed=0)
    vectors = np.random.default_rng(1).normal(0, 0.1, [num_items + 1, config.frozen_embedding])
    measurements = Measurements((), spec, vectors)
    measurements.fit(log)
    first_sessions = types.rows(log, slice(sessions_per_element))
    all_sessions, single_sessions = (
        tf.data.Dataset.from_tensor_slices(part) for part in (log, first_sessions)
    )
    settings = (measurements, config.hindsight_share, 0, batch_size)
    ways = {
        "batched": pipeline.transitions(all_sessions.batch(256), *settings),
        "per_element": per_element(single_sessions, *settings),
    }
    counts = {"batched": int(log.length.sum()), "per_element": int(first_sessions.length.sum())}
    return ways, counts


@tf.function
def _drain(batches: tf.data.Dataset) -> tf.Tensor:
    """Reads all batches inside a graph, as a training loop does; returns the number of rows."""
    return batches.reduce(0, lambda rows, batch: rows + tf.shape(batch.item)[0])


def main(
    shapes: Sequence[tuple[int, int]] = ((20, 30), (50, 100)), repeats: int = 5, **sizes: int
) -> None:
    """Times both.

    Args:
      shapes: (H, T) of each table; those of the demo and the defaults of prepared data.
      repeats: counted repetitions of each.
      **sizes: see `both`.
    """
    for history_length, max_steps in shapes:
        ways, counts = both(history_length, max_steps, **sizes)
        took = timing.alternate(
            {name: functools.partial(_drain, rows) for name, rows in ways.items()}, repeats
        )
        print(f"\nhistory {history_length}, sessions of up to {max_steps} steps, medians")
        timing.show(took, "batched", "transitions", counts)


if __name__ == "__main__":
    timing.one_thread()
    main()
