"""Training GoalRec with 20 feature columns of the items, beside training it with ids alone.

    python -m benchmarks.features

ids          a whole update as in training, of ids alone
features     the same with 20 columns: 10 categories, 5 multi-valued ones of 4 values, 5 numbers

Items, batches and widths are equal. Printed: the median of each over alternating repetitions in
examples/s, by the clock and by processor time, and the ratios. At serving nothing is added: an
export computes the vectors of the items once, and the history of a request is embedded by the
same look-ups as in training.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from benchmarks import random_log, timing
from tfgoalrec.agent import GoalRecAgent
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.learner import GoalRecLearner
from tfgoalrec.measurements import Measurements
from tfrec import types
from tfrec.nn import item_embedding


def measure(
    config: GoalRecConfig,
    num_items: int,
    history_length: int = 20,
    max_steps: int = 30,
    sessions: int = 2048,
    updates: int = 20,
    repeats: int = 7,
) -> dict[str, timing.Timing]:
    """Times `updates` updates with and without features.

    Args:
      config: GoalRec's.
      num_items: N.
      history_length: H.
      max_steps: T.
      sessions: sessions in the replay.
      updates: updates in a repetition.
      repeats: counted repetitions of each.

    Returns:
      The median repetition of `ids` and `features`.
    """
    spec = types.DataSpec(random_log.FEEDBACK, num_items, sessions, history_length, max_steps)
    log = random_log.episodes(spec, sessions, seed=0)
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 0.1, [num_items + 1, config.embedding])
    measurements = Measurements(
        config.measurements, spec, vectors[:, : config.frozen_embedding]
    )
    measurements.fit(log)
    with_features = dataclasses.replace(spec, item_features=random_log.FEATURES)
    learners = {
        name: GoalRecLearner(GoalRecAgent(config, its_spec, measurements, vectors, seed=0), log)
        for name, its_spec in (("ids", spec), ("features", with_features))
    }
    item_embedding.set_features(learners["features"], random_log.features(num_items, seed=2))
    count = tf.constant(updates)
    return timing.alternate(
        {
            "ids": lambda: learners["ids"]._learn(count)[1].numpy(),
            "features": lambda: learners["features"]._learn(count)[1].numpy(),
        },
        repeats,
    )


def main(
    catalogues: Sequence[int] = (1_000, 100_000),
    config: GoalRecConfig | None = None,
    updates: int = 20,
    **sizes: int,
) -> None:
    """Times both.

    Args:
      catalogues: N of each table.
      config: None for the defaults.
      updates: updates in a repetition.
      **sizes: see `measure`.
    """
    config = config or GoalRecConfig()
    for num_items in catalogues:
        took = measure(config, num_items, updates=updates, **sizes)
        slots = random_log.FEATURES.slots
        print(f"\n{num_items:,} items, batch {config.batch}, {slots} values an item, medians")
        timing.show(took, "features", "examples", dict.fromkeys(took, config.batch * updates))


if __name__ == "__main__":
    timing.one_thread()
    main()
