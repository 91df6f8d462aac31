"""Measurements of the next H steps of sessions that are played side by side.

Columns are declared as in `measurements`, of `click` (clicks), `reward` (the simulator's
reward), `step` and `exit`, e.g. `click@0`, `reward@1..`. A window without an end ends with the
horizon, and steps after the end of the session count 0.

A step is measured once its next H - 1 steps were played. `MeasuredReplay` holds steps back
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
    """Returns weighted sums over the next steps of the same session.

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
    """Returns the value at the first given step of each step's session.

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
    """Checks that measurements are sums over windows within a horizon.

    Raises:
      ValueError: naming the measurement.
    """
    for part in measurements.parts:
        if part.kind != "sum":
            raise ValueError(
                f"measurement {part.name!r}: a live simulator gives sums alone, e.g. click@0 "
                "or reward@1.."
            )
        if max(part.first, part.last or 0) >= horizon:
            raise ValueError(
                f"measurement {part.name!r} reaches beyond the horizon of {horizon} steps, "
                "this one included"
            )


class MeasuredReplay(tf.Module):
    """Stores the latest steps whose next H - 1 steps were played, with their measurement.

    Args:
      capacity: number of steps stored.
      horizon: H.
      discount: weight of each further step inside a window.
      measurements: their mean and standard deviation are set to those of all steps stored
        so far, including steps that the ring has overwritten.
      columns: name -> shape and dtype of each column that is stored unchanged.

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
        self._measurements = lambda: (
            measurements
        )  # hidden from checkpoints, which include it elsewhere
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
        """Adds T steps of B columns, and stores the steps that are now measured.

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
        num_steps = tf.shape(rows["session"])[0]
        complete = tf.maximum(num_steps - self.horizon + 1, 0)  # E
        value = tf.gather(rows["event"], self._column_of, axis=-1)  # [W, B, J]
        measured = window_sums(value, rows["session"], complete, self._weights)
        sessions = _after(self.last["session"], rows["session"][:complete])  # [1 + E, B]
        outcome = first_of_session(_after(self.last["outcome"], measured), sessions)
        self.last["session"].assign(sessions[-1:])
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
        """Updates the mean and the standard deviation with measurements, float [R, M]."""
        exact = tf.cast(measured, tf.float64)
        self.count.assign_add(tf.cast(tf.shape(measured)[0], tf.float64))
        self.first.assign_add(tf.reduce_sum(exact, axis=0))
        self.second.assign_add(tf.reduce_sum(tf.square(exact), axis=0))
        measurements, not_empty = self._measurements(), self.count > 0
        mean_and_deviation = mean_and_std(tf.maximum(self.count, 1.0), self.first, self.second)
        for variable, value in zip(
            (measurements.mean, measurements.std), mean_and_deviation, strict=True
        ):
            variable.assign(tf.where(not_empty, tf.cast(value, tf.float32), variable))


def window_weights(parts: Sequence[Measurement], horizon: int, discount: float) -> np.ndarray:
    """Returns the weight of each step ahead in each measurement, float32 [H, J]."""
    ahead = np.arange(horizon)[:, None]  # [H, 1]
    first = np.array([part.first for part in parts])  # [J]
    last = np.array([horizon - 1 if part.last is None else part.last for part in parts])
    inside = (ahead >= first) & (ahead <= last)  # [H, J]
    return np.where(inside, float(discount) ** ahead, 0.0).astype(np.float32)


def _growing(spec: tf.TensorSpec, name: str) -> tf.Variable:
    """A variable of steps of columns, [0, 0, ...] at first."""
    shape = [None, None, *spec.shape]
    empty = tf.zeros([0, 0, *spec.shape], spec.dtype)
    return tf.Variable(empty, trainable=False, name=name, shape=shape)


def _after(held: tf.Variable, new: tf.Tensor) -> tf.Tensor:
    """Appends new steps to held ones, [<= H - 1, B, ...] or none."""
    shape = tf.concat([[-1], tf.shape(new)[1:]], axis=0)
    return tf.concat([tf.reshape(held.read_value(), shape), new], axis=0)
