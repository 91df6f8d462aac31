"""Measurements of the next H steps of sessions that are played side by side.

Columns are declared as in `measurements`, of `click` (clicks), `reward` (the simulator's own),
`step` and `exit`, e.g. `click@0`, `reward@1..`. A window without an end ends with the
horizon, and what lies beyond the end of the session counts 0.

A step can be measured once its next H - 1 steps are known. `MeasuredReplay` holds steps back
until then, and stores them with their measurement.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfgoalrec.measurements import Measurement, MeasurementVector, mean_and_std
from tfrec.baselines.online import base
from tfrec.replay.ring import Ring

FEEDBACK = ("click", "reward")
_COLUMNS = (*FEEDBACK, "step", "exit")


def window_sums(
    value: tf.Tensor,
    session: tf.Tensor,
    steps: tf.Tensor,
    weights: tf.Tensor,
) -> tf.Tensor:
    """Weighted sums over the steps that follow in the same session.

    Args:
      value: float [W, B, J], of W steps of B columns, in order.
      session: int [W, B], the number of each step's session.
      steps: int scalar, E: sums are of the first E steps.
      weights: float [H, J], of the step itself, the next one, ...; W >= E + H - 1.

    Returns:
      float [E, B, J].
    """
    window = tf.shape(value)[0]
    ahead = tf.range(window)[None] - tf.range(steps)[:, None]  # [E, W]
    horizon = tf.shape(weights)[0]
    inside = (ahead >= 0) & (ahead < horizon)
    weight = tf.gather(weights, tf.clip_by_value(ahead, 0, horizon - 1))  # [E, W, J]
    weight *= tf.cast(inside, weight.dtype)[..., None]
    same = tf.cast(session[None] == session[:steps, None], value.dtype)  # [E, W, B]
    return tf.einsum("ewb,ewj,wbj->ebj", same, weight, value)


def first_of_session(value: tf.Tensor, session: tf.Tensor) -> tf.Tensor:
    """The value at the first step of each step's session, as far as it is given.

    Args:
      value: float [E, B, M].
      session: int [E, B].

    Returns:
      float [E, B, M].
    """
    steps = tf.shape(session)[0]
    same = session[:, None] == session[None]  # [E, E, B]
    first = tf.reduce_min(tf.where(same, tf.range(steps)[:, None], steps), axis=1)  # [E, B]
    columns = tf.broadcast_to(tf.range(tf.shape(session)[1]), tf.shape(session))  # [E, B]
    return tf.gather_nd(value, tf.stack([first, columns], axis=-1))  # [E, B, M]


def check(measurements: MeasurementVector, horizon: int) -> None:
    """Checks that measurements can be taken within a horizon.

    Raises:
      ValueError: naming the measurement.
    """
    for part in measurements.parts:
        if part.kind != "sum":
            raise ValueError(
                f"measurement {part.name!r}: a live simulator gives sums, e.g. click@0 or "
                "reward@1.., alone"
            )
        if max(part.first, part.last or 0) >= horizon:
            raise ValueError(
                f"measurement {part.name!r} reaches beyond the horizon of {horizon} steps, "
                "this one included"
            )


class MeasuredReplay(tf.Module):
    """Stores the latest steps whose next H - 1 steps are known, with what was measured.

    Args:
      capacity: steps that it keeps.
      horizon: H.
      discount: worth of each further step inside a window.
      measurements: their mean and standard deviation are set to those of all steps that were
        stored so far, the earliest ones included.
      columns: name -> shape and dtype of what is stored of a step as it is.

    Attributes:
      ring: the rows: `columns`, and `measurement` and `outcome`, float32 [M] in raw units;
        the outcome is the measurement of the first step of the session.
      held: the steps that are held back, [<= H - 1, B, ...].
    """

    def __init__(
        self,
        capacity: int,
        horizon: int,
        discount: float,
        measurements: MeasurementVector,
        columns: Mapping[str, tf.TensorSpec],
    ):
        super().__init__(name="measured_replay")
        check(measurements, horizon)
        self.horizon = horizon
        self._measurements = lambda: measurements  # saved by its owner
        self._weights = window_weights(measurements.parts, horizon, discount)
        self._column_of = [_COLUMNS.index(part.column) for part in measurements.parts]
        measured = tf.TensorSpec([measurements.dim], tf.float32)
        self._stored = tuple(columns)
        self.ring = Ring(capacity, {**columns, "measurement": measured, "outcome": measured})
        held = {
            **columns,
            "event": tf.TensorSpec([len(_COLUMNS)], tf.float32),
            "session": tf.TensorSpec([], tf.int32),
        }
        self.held = {name: _growing(spec, name) for name, spec in held.items()}
        # The last stored step of each column.
        self.last = {
            "outcome": _growing(measured, "last_outcome"),
            "session": _growing(held["session"], "last_session"),
        }
        zeros = tf.zeros([measurements.dim], tf.float64)
        self.count = tf.Variable(tf.zeros([], tf.float64), trainable=False, name="count")
        self.first = tf.Variable(zeros, trainable=False, name="first_moment")
        self.second = tf.Variable(zeros, trainable=False, name="second_moment")

    @property
    def columns(self) -> Mapping[str, tf.Variable]:
        """The columns of the ring."""
        return self.ring.columns

    def add(
        self,
        columns: Mapping[str, tf.Tensor],
        clicks: tf.Tensor,
        reward: tf.Tensor,
        done: tf.Tensor,
        session: tf.Tensor,
    ) -> None:
        """Takes T steps of B columns in, and stores those that can be measured now.

        Args:
          columns: [T, B, ...] of each column.
          clicks: float32 [T, B].
          reward: float32 [T, B].
          done: bool [T, B], whether the session ended with the step.
          session: int32 [T, B], the number of the session.
        """
        event = tf.stack(
            [clicks, reward, tf.ones_like(reward), tf.cast(done, tf.float32)], axis=-1
        )
        new = {**columns, "event": event, "session": session}
        rows = {name: _after(self.held[name], value) for name, value in new.items()}
        known = tf.shape(rows["session"])[0]
        complete = tf.maximum(known - self.horizon + 1, 0)  # E
        value = tf.gather(rows["event"], self._column_of, axis=-1)  # [W, B, J]
        measured = window_sums(value, rows["session"], complete, self._weights)
        owner = _after(self.last["session"], rows["session"][:complete])  # [1 + E, B]
        outcome = first_of_session(_after(self.last["outcome"], measured), owner)
        self.last["session"].assign(owner[-1:])
        self.last["outcome"].assign(outcome[-1:])
        stored = {name: rows[name][:complete] for name in self._stored}
        stored |= {
            "measurement": measured,
            "outcome": outcome[tf.shape(outcome)[0] - complete :],
        }
        self.ring.add({name: base.flat(value) for name, value in stored.items()})
        self._standardise(base.flat(measured))
        for name, variable in self.held.items():
            variable.assign(rows[name][complete:])

    def _standardise(self, measured: tf.Tensor) -> None:
        """Counts measurements, float [R, M], in the mean and the standard deviation."""
        exact = tf.cast(measured, tf.float64)
        self.count.assign_add(tf.cast(tf.shape(measured)[0], tf.float64))
        self.first.assign_add(tf.reduce_sum(exact, axis=0))
        self.second.assign_add(tf.reduce_sum(tf.square(exact), axis=0))
        measurements, some = self._measurements(), self.count > 0
        found = mean_and_std(tf.maximum(self.count, 1.0), self.first, self.second)
        for variable, value in zip((measurements.mean, measurements.std), found, strict=True):
            variable.assign(tf.where(some, tf.cast(value, tf.float32), variable))


def window_weights(parts: Sequence[Measurement], horizon: int, discount: float) -> np.ndarray:
    """What each step ahead counts in each measurement, float32 [H, J]."""
    ahead = np.arange(horizon)[:, None]  # [H, 1]
    first = np.array([part.first for part in parts])  # [J]
    last = np.array([horizon - 1 if part.last is None else part.last for part in parts])
    inside = (ahead >= first) & (ahead <= last)  # [H, J]
    return np.where(inside, float(discount) ** ahead, 0.0).astype(np.float32)


def _growing(spec: tf.TensorSpec, name: str) -> tf.Variable:
    """Steps of columns, at first none, [0, 0, ...]."""
    shape = [None, None, *spec.shape]
    none = tf.zeros([0, 0, *spec.shape], spec.dtype)
    return tf.Variable(none, trainable=False, name=name, shape=shape)


def _after(held: tf.Variable, new: tf.Tensor) -> tf.Tensor:
    """Held steps, [<= H - 1, B, ...] or none, and new ones behind them."""
    shape = tf.concat([[-1], tf.shape(new)[1:]], axis=0)
    return tf.concat([tf.reshape(held.read_value(), shape), new], axis=0)
