"""Schedules: the learning rate of each iteration, and many updates in one graph."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf


class Schedule(Protocol):
    """Configuration of a method's iterations on the log and of its iterations with play."""

    @property
    def learning_rate(self) -> float:
        """Initial learning rate of the iterations on the log."""

    @property
    def play_learning_rate(self) -> float:
        """Initial learning rate of play, as a share of `learning_rate`."""

    @property
    def log_rounds(self) -> int:
        """Iterations on the log."""

    @property
    def play_rounds(self) -> int:
        """Iterations of play and learning after them."""


def learning_rate(config: Schedule, iteration: int) -> float:
    """Learning rate with a cosine decay over the log, and another one over play.

    Args:
      config: the schedule.
      iteration: number of finished iterations.
    """
    if iteration < config.log_rounds:
        top, share = config.learning_rate, iteration / config.log_rounds
    else:
        top = config.learning_rate * config.play_learning_rate
        share = (iteration - config.log_rounds) / max(1, config.play_rounds)
    return top * (0.05 + 0.95 * 0.5 * (1.0 + float(np.cos(np.pi * share))))


def annealed(first: float, final: float, progress: tf.Tensor) -> tf.Tensor:
    """A rate with a cosine decay. Graph code.

    Args:
      first: initial rate.
      final: final rate, as a share of the first.
      progress: float scalar, finished share of the run.
    """
    remaining = 0.5 * (1.0 + tf.cos(np.pi * tf.clip_by_value(progress, 0.0, 1.0)))
    return first * (final + (1.0 - final) * remaining)


def linear(first: float, last: float, share: float, progress: tf.Tensor) -> tf.Tensor:
    """A value that changes linearly over a share of the run and is then constant. Graph code.

    Args:
      first: initial value.
      last: value after `share` of the run.
      share: 0..1; with 0 the value is always `last`.
      progress: float scalar, finished share of the run.
    """
    done = tf.minimum(progress / share, 1.0) if share else tf.ones_like(progress)
    return first + done * (last - first)


def repeat(
    update: Callable[..., tuple[dict[str, tf.Tensor], tf.Tensor, Any]],
    times: tf.Tensor,
    *arguments: tf.Tensor,
) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
    """Repeats an update until one is not finite. Graph code.

    Args:
      update: a tf.function, called as `update(number, *arguments)` with the int32 number of
        the update. It returns float scalars by name, the int32 index of the first tensor
        that was not finite (or -1), and its batch: a nest of tensors.
      times: int32 scalar, number of updates, at least 0.
      *arguments: further arguments of every update, tensors.

    Returns:
      The means of the scalars, the index of the last update, and its batch. Without updates,
      the means are 0, the index is -1 and the batch is empty.
    """
    if tf.config.functions_run_eagerly() and int(times) > 0:
        return _repeat_eagerly(update, int(times), arguments)
    specs = (tf.TensorSpec(x.shape, x.dtype) for x in arguments)
    with _in_graphs():
        traced = update.get_concrete_function(tf.TensorSpec([], tf.int32), *specs)  # type: ignore[attr-defined]
    shapes = tf.nest.flatten(traced.structured_outputs)
    present = [i for i, shape in enumerate(shapes) if shape is not None]

    def tensors(outputs: Any) -> list[tf.Tensor]:
        flat = tf.nest.flatten(outputs)
        return [flat[i] for i in present]

    def nest(outputs: list[tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        flat = [None] * len(shapes)
        for i, tensor in zip(present, outputs, strict=True):
            flat[i] = tensor
        return tf.nest.pack_sequence_as(traced.structured_outputs, flat)

    empty = [_empty(shapes[i]) for i in present]
    sums, _, batch = nest(empty)

    def is_running(done: tf.Tensor, _: Any, bad: tf.Tensor, *rest: Any) -> tf.Tensor:
        return (done < times) & (bad < 0)

    def body(done: tf.Tensor, sums: Any, _: tf.Tensor, *rest: Any) -> tuple[Any, ...]:
        step, bad, batch = nest(tensors(traced(done, *arguments)))
        sums = {name: sums[name] + step[name] for name in sums}
        return done + 1, sums, bad, *tensors((step, bad, batch))

    start = (tf.constant(0), sums, tf.constant(-1), *empty)
    invariants = tf.nest.map_structure(lambda x: x.shape, start[:3])
    done, sums, bad, *last = tf.while_loop(
        is_running, body, start, (*invariants, *(shapes[i].shape for i in present))
    )
    batch = nest(list(last))[2]
    means = {
        name: tf.math.divide_no_nan(value, tf.cast(done, value.dtype))
        for name, value in sums.items()
    }
    return means, bad, batch


def _repeat_eagerly(
    update: Callable[..., tuple[dict[str, tf.Tensor], tf.Tensor, Any]],
    times: int,
    arguments: tuple[tf.Tensor, ...],
) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
    """Repeats updates in Python, so that a debugger can step through them."""
    reports = []
    for number in range(times):
        report, bad, batch = update(tf.constant(number), *arguments)
        reports.append(report)
        if int(bad) >= 0:
            break
    means = {
        name: tf.add_n([report[name] for report in reports]) / len(reports) for name in report
    }
    return means, bad, batch


@contextlib.contextmanager
def _in_graphs() -> Iterator[None]:
    """Traces functions, also under `tf.config.run_functions_eagerly`."""
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eagerly)


def _empty(spec: tf.TensorSpec) -> tf.Tensor:
    """Zeros of a shape; axes of unknown size have length 0."""
    return tf.zeros([size or 0 for size in spec.shape], spec.dtype)
