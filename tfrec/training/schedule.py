"""How do updates follow each other? The rate of each round, and many of them in one graph."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf


class Schedule(Protocol):
    """What a method's configuration says of its rounds."""

    @property
    def learning_rate(self) -> float:
        """In the first round on the log."""

    @property
    def play_learning_rate(self) -> float:
        """In the first round of play, as a share of the above."""

    @property
    def log_rounds(self) -> int:
        """Rounds on the log alone."""

    @property
    def play_rounds(self) -> int:
        """Rounds of play and learning that follow."""


def learning_rate(config: Schedule, unit: int) -> float:
    """Falls along a cosine over the rounds on the log, and again over those of play.

    Args:
      config: the schedule.
      unit: rounds that are over.
    """
    if unit < config.log_rounds:
        top, share = config.learning_rate, unit / config.log_rounds
    else:
        top = config.learning_rate * config.play_learning_rate
        share = (unit - config.log_rounds) / max(1, config.play_rounds)
    return top * (0.05 + 0.95 * 0.5 * (1.0 + float(np.cos(np.pi * share))))


def annealed(first: float, final: float, progress: tf.Tensor) -> tf.Tensor:
    """A rate that falls along half a cosine. Graph code.

    Args:
      first: at the beginning.
      final: at the end, as a share of the first.
      progress: float scalar, share of the run that is over.
    """
    left = 0.5 * (1.0 + tf.cos(np.pi * tf.clip_by_value(progress, 0.0, 1.0)))
    return first * (final + (1.0 - final) * left)


def repeat(update: Callable[[], tuple[Any, ...]], times: tf.Tensor) -> tuple[Any, ...]:
    """Updates one after the other until one goes bad. Graph code.

    Args:
      update: a tf.function that gives scalars by name, int32 which tensor was not finite
        (or -1), and anything else.
      times: int32 scalar, at least 1.

    Returns:
      The means of the scalars, what went bad, and the rest of the last update.
    """
    sums, bad, *rest = update()
    done = tf.constant(1)
    while tf.logical_and(done < times, bad < 0):
        step, bad, *rest = update()
        sums = {name: sums[name] + step[name] for name in sums}
        done += 1
    return (
        {name: value / tf.cast(done, value.dtype) for name, value in sums.items()},
        bad,
        *rest,
    )
