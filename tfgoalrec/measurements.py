"""Measurements m of the user's future, which GoalRec predicts (the paper's "Measurement").

A measurement is a statistic of the session from a step on. It is declared by name:

    click@0        the feedback `click` at this step
    click@1..3     its sum over the next three steps
    click@4..      its sum from the fourth step on
    click@0..      its sum from this step on, this step included
    step@1..       steps still to come (how long the user stays)
    exit@0         1 if the user leaves after this step
    mean(click)    its mean from this step on (a ratio, such as CTR)
    embedding(click)  the mean embedding of the items clicked from this step on

`click` can be any feedback column of the log. Goals are best built from amounts over
disjoint windows, with one weight for now and one for later.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrec import types

_SUM = re.compile(r"^(?P<column>\w+)@(?P<first>\d+)(?P<range>\.\.(?P<last>\d+)?)?$")
_CALL = re.compile(r"^(?P<kind>mean|embedding)\((?P<column>\w+)\)$")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One declared measurement.

    Attributes:
      name: the declaration, e.g. `click@1..3`.
      kind: `sum`, `mean` or `embedding`.
      column: a feedback column, or `step` or `exit`.
      first: first step of a sum, counted from this one.
      last: last step of a sum; None for the end of the session.
      size: number of its columns in the measurement vector.
    """

    name: str
    kind: str
    column: str
    first: int
    last: int | None
    size: int


def parse(name: str, feedback: Sequence[str], embedding_size: int) -> Measurement:
    """Reads one declaration.

    Args:
      name: the declaration.
      feedback: names of the feedback columns.
      embedding_size: columns of an `embedding` measurement.

    Raises:
      ValueError: if it has none of the forms above, or names a feedback column that
        the log does not have.
    """
    call, window = _CALL.match(name), _SUM.match(name)
    match = window or call
    if not match:
        raise ValueError(
            f"measurement {name!r}; expected e.g. click@0, click@1..3, click@4.., step@1.., "
            "exit@0, mean(click) or embedding(click)"
        )
    session_columns = ("step", "exit") if window else ()
    column = _checked_column(match["column"], name, (*feedback, *session_columns))
    if call:
        size = embedding_size if call["kind"] == "embedding" else 1
        return Measurement(name, call["kind"], column, 0, None, size)
    assert window
    first = int(window["first"])
    last = first if not window["range"] else int(window["last"]) if window["last"] else None
    if last is not None and last < first:
        raise ValueError(f"measurement {name!r}: the window ends before it starts")
    return Measurement(name, "sum", column, first, last, 1)


def _checked_column(column: str, name: str, columns: tuple[str, ...]) -> str:
    if column not in columns:
        raise ValueError(
            f"measurement {name!r}: no column {column!r}; there are {', '.join(columns)}"
        )
    return column


def default_names(spec: types.DataSpec) -> tuple[str, ...]:
    """Returns sums over `_WINDOWS` of each feedback column, exit, steps, CTR and taste."""
    names = [f"{column}@{window}" for column in spec.feedback_names for window in _WINDOWS]
    click = spec.feedback_names[0]
    return (*names, "exit@0", "step@1..", f"mean({click})", f"embedding({click})")


_WINDOWS = ("0", "1..3", "4..")


class MeasurementVector(tf.Module):
    """The columns of the measurement vector and their standardisation.

    Args:
      names: declarations, all different.
      feedback: names of the feedback columns.
      embedding_size: columns of an `embedding` measurement.

    Attributes:
      parts: the measurements.
      size: int [J], columns of each.
      mean: float32 [M].
      std: float32 [M].

    Raises:
      ValueError: if a declaration cannot be read or is given twice.
    """

    def __init__(self, names: Sequence[str], feedback: Sequence[str], embedding_size: int):
        super().__init__(name="measurements")
        self.names = tuple(names)
        repeated = [name for name in self.names if self.names.count(name) > 1]
        if repeated:
            raise ValueError(f"measurement {repeated[0]!r} is given twice")
        self.parts = tuple(parse(name, feedback, embedding_size) for name in self.names)
        self.size = np.array([part.size for part in self.parts])  # [J]
        total = int(self.size.sum())
        self.mean = tf.Variable(tf.zeros([total]), trainable=False, name="mean")
        self.std = tf.Variable(tf.ones([total]), trainable=False, name="std")

    @property
    def dim(self) -> int:
        """M, columns of the measurement vector."""
        return int(self.size.sum())

    @property
    def columns(self) -> tuple[str, ...]:
        """The name of each of the M columns."""
        return tuple(
            part.name if part.size == 1 else f"{part.name}[{i}]"
            for part in self.parts
            for i in range(part.size)
        )

    def standardise(self, raw: tf.Tensor) -> tf.Tensor:
        """(m - mean) / std, float [..., M]."""
        return (raw - self.mean) / self.std


class Measurements(MeasurementVector):
    """The measurements of a log's sessions.

    Args:
      names: declarations, all different; empty for `default_names`.
      spec: the log's spec.
      item_embedding: float [N + 1, D], frozen, row 0 zeros; needed by `embedding`
        measurements. It must stay frozen, or the targets would change with the model.
    """

    def __init__(
        self, names: tuple[str, ...], spec: types.DataSpec, item_embedding: np.ndarray
    ):
        super().__init__(
            tuple(names) or default_names(spec), spec.feedback_names, item_embedding.shape[1]
        )
        self.spec = spec
        self.item_embedding = tf.Variable(
            item_embedding, dtype=tf.float32, trainable=False, name="frozen_item_embedding"
        )

    @property
    def item_tables(self) -> list[tf.Variable]:
        """The variables with a row for each item."""
        return [self.item_embedding]

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each measurement [J]."""
        return tuple(self._unit(part) for part in self.parts)

    def _unit(self, part: Measurement) -> str:
        if part.kind == "embedding":
            return "embedding"
        unit = {"step": "steps", "exit": "exits"}.get(part.column)
        if unit is None:
            unit = self.spec.feedback[self.spec.feedback_index(part.column)].unit
        return f"{unit} per step" if part.kind == "mean" else unit

    def raw(self, episodes: types.Episodes) -> tf.Tensor:
        """m_t = f(tau_{t:T}) in raw units, float [B, T, M]; zeros past the session."""
        parts = [_measure(part, episodes, self) for part in self.parts]
        live = _live(episodes)  # [B, T]
        return tf.concat(parts, axis=-1) * live[..., None]

    def standardised(self, episodes: types.Episodes) -> tf.Tensor:
        """(m_t - mean) / std, float [B, T, M]."""
        return self.standardise(self.raw(episodes))

    def fit(self, episodes: types.Episodes, block: int = 4096) -> None:
        """Sets mean and standard deviation to those of all steps of training sessions."""
        total = int(self.dim)
        count, first, second = 0.0, np.zeros(total), np.zeros(total)
        measure = tf.function(self.raw, autograph=False)
        for start in range(0, len(episodes.length), block):
            part = types.constants(types.rows(episodes, slice(start, start + block)))
            raw = measure(part).numpy().astype(np.float64)
            live = _live(part).numpy().astype(bool)
            rows = raw[live]  # [steps, M]
            count, first = count + len(rows), first + rows.sum(axis=0)
            second = second + (rows**2).sum(axis=0)
        for variable, value in zip(
            (self.mean, self.std), mean_and_std(count, first, second), strict=True
        ):
            variable.assign(tf.cast(value, tf.float32))


def mean_and_std(
    count: float | tf.Tensor, first: np.ndarray | tf.Tensor, second: np.ndarray | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean and standard deviation of each column, float64 [M] each.

    A constant column is divided by its root mean square, or by 1 if it is zero. The test for
    constant columns is relative, so that the unit of a column does not matter.

    Args:
      count: number of rows, at least 1.
      first: sums of the rows, float64 [M].
      second: sums of their squares, float64 [M].
    """
    mean = first / count
    square = second / count
    std = tf.sqrt(tf.maximum(square - mean**2, 0.0))
    size = tf.sqrt(square)
    return mean, tf.where(std > 1e-6 * size, std, tf.where(size > 0, size, 1.0))


def _live(episodes: types.Episodes) -> tf.Tensor:
    """1 at steps inside the session, float [B, T]."""
    return tf.sequence_mask(episodes.length, tf.shape(episodes.item)[1], tf.float32)


def _measure(
    part: Measurement, episodes: types.Episodes, measurements: Measurements
) -> tf.Tensor:
    """One measurement at every step, float [B, T, size]."""
    live = _live(episodes)
    if part.column == "step":
        value = live
    elif part.column == "exit":
        last = tf.one_hot(episodes.length - 1, tf.shape(live)[1])
        value = last * tf.cast(episodes.exited, tf.float32)[:, None]
    else:
        value = episodes.feedback[..., measurements.spec.feedback_index(part.column)] * live
    if part.kind == "sum":
        # A window past the longest session is empty however far away it lies.
        max_steps = measurements.spec.max_steps
        last = None if part.last is None else min(part.last, max_steps)
        return window_sum(value, min(part.first, max_steps), last)[..., None]
    to_come = window_sum(value, 0, None)  # [B, T]
    if part.kind == "mean":
        return (to_come / tf.maximum(window_sum(live, 0, None), 1.0))[..., None]
    item = tf.gather(measurements.item_embedding, episodes.item)  # [B, T, D]
    liked = tf.cast(value > 0, tf.float32)
    total = tf.cumsum(item * liked[..., None], axis=1, reverse=True)  # [B, T, D]
    return total / tf.maximum(window_sum(liked, 0, None), 1.0)[..., None]


def window_sum(value: tf.Tensor, first: int, last: int | None) -> tf.Tensor:
    """Returns the sum over steps t + first .. t + last of each row.

    Args:
      value: float [B, T], zero past the end of each session.
      first: first step, 0 for this one.
      last: last step, inclusive; None for the end.

    Returns:
      float [B, T].
    """
    to_come = tf.cumsum(value, axis=1, reverse=True)  # sum from t on
    start = _shift(to_come, first)
    return start if last is None else start - _shift(to_come, last + 1)


def _shift(value: tf.Tensor, steps: int) -> tf.Tensor:
    """The value at t + steps, zero where that is past the end; [B, T]."""
    length = tf.shape(value)[1]
    return tf.pad(value, [[0, 0], [0, steps]])[:, steps : steps + length]
