"""Training GoalRec with 20 feature columns of the items, beside training it with ids alone.

    python -m benchmarks.features

ids          a whole update as in training, of ids alone
features     the same with 20 columns: 10 categories, 5 multi-valued ones of 4 values, 5 numbers
crosses      the same with 3 of the columns crossed with the history, 64 numbers each

Items, batches and widths are equal. Printed: the median of each over alternating repetitions in
examples/s, by the clock and by processor time, and the ratios. Features add nothing at serving:
an export computes the vectors of the items once, and the history of a request is embedded by
the same look-ups as in training. Crosses make the vectors wider, see
`benchmarks.serving_latency`.
"""

import dataclasses
import functools
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
    """Times `updates` updates of ids alone, with features, and with crosses.

    Args:
      config: GoalRec's.
      num_items: N.
      history_length: H.
      max_steps: T.
      sessions: sessions in the replay.
      updates: updates in a repetition.
      repeats: counted repetitions of each.

    Returns:
      The median repetition of `ids`, `features` and `crosses`.
    """
    spec = types.DataSpec(random_log.FEEDBACK, num_items, sessions, history_length, max_steps)
    log = random_log.episodes(spec, sessions, seed=0)
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 0.1, [num_items + 1, config.embedding])
    measurements = Measurements(
        config.measurements, spec, vectors[:, : config.frozen_embedding]
    )
    measurements.fit(log)
    count, values = tf.constant(updates), random_log.features(num_items, seed=2)
    learners = {}
    for name, features in (
        ("ids", None), ("features", random_log.FEATURES), ("crosses", random_log.CROSSED),
    ):  # fmt: skip
        its_spec = dataclasses.replace(spec, item_features=features)
        agent = GoalRecAgent(config, its_spec, measurements, vectors, seed=0)
        learners[name] = GoalRecLearner(agent, log)
        item_embedding.set_features(learners[name], values)
    return timing.alternate(
        {
            name: functools.partial(lambda made: made._learn(count)[1].numpy(), learner)
            for name, learner in learners.items()
        },
        repeats,
    )


def main(
    catalogues: Sequence[int] = (1_000, 100_000),
    config: GoalRecConfig | None = None,
    updates: int = 20,
    **sizes: int,
) -> None:
    """Times all three.

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
