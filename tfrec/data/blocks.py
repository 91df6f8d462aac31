"""One stored record: the events of some users, each once, and the place of their sessions.

A session's history and steps are windows of its user's events, so a record keeps the
events flat and cuts the padded windows out when it is read. Numbers are raw
little-endian bytes inside a tf.train.Example: one record is a few thousand sessions,
written and parsed without a loop over them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec import types
from tfrec.data import episodes as episodes_lib

EVENTS_PER_BLOCK = 65_536
SESSIONS_PER_BLOCK = 2_048

_SESSION_FIELDS = {
    "user": np.int32,
    "first": np.int32,
    "start": np.int32,
    "length": np.int32,
    "exited": np.uint8,
    "start_ms": np.int64,
    "end_ms": np.int64,
}


class Block(NamedTuple):
    """A parsed record.

    Attributes:
      episodes: the padded sessions; their `context_values` are those of the context alone.
      start_ms: int64 [B], unix milliseconds of each session's first step.
      end_ms: int64 [B], unix milliseconds of its last logged step.
      columns: the optional columns of the log at each step, [B, T], 0 where padded:
        `category` (int32, dense) and `propensity` (float32).
    """

    episodes: types.Episodes
    start_ms: tf.Tensor
    end_ms: tf.Tensor
    columns: dict[str, tf.Tensor]


def split_users(
    sessions: episodes_lib.Sessions, history_length: int
) -> Iterator[episodes_lib.Sessions]:
    """Cuts the sessions of one split into blocks of whole users."""
    if not len(sessions.user):
        return
    new_user = np.flatnonzero(np.diff(sessions.user, prepend=0))
    low, high = _event_range(sessions, history_length)
    # Running totals before each user: sessions and events.
    events = np.cumsum(np.maximum.reduceat(high, new_user) - np.minimum.reduceat(low, new_user))
    total_sessions = np.append(new_user, len(sessions.user))[1:]
    block = np.maximum(
        (events - 1) // EVENTS_PER_BLOCK, (total_sessions - 1) // SESSIONS_PER_BLOCK
    )
    # Either total growing past a multiple ends a block; the larger one never falls back.
    ends = np.flatnonzero(np.diff(block, append=block[-1] + 1)) + 1
    begin = 0
    for end in ends:
        yield sessions.take(np.arange(begin, total_sessions[end - 1]))
        begin = total_sessions[end - 1]


def serialise(
    events: pl.DataFrame,
    sessions: episodes_lib.Sessions,
    spec: types.DataSpec,
) -> bytes:
    """Serialises one block as a record.

    Args:
      events: the whole event table.
      sessions: sessions of some whole users, ordered by user and time.
      spec: feedback columns, H and T.
    """
    low, high = _event_range(sessions, spec.history_length)
    new_user = np.flatnonzero(np.diff(sessions.user, prepend=0))
    low = np.minimum.reduceat(low, new_user)  # per user, from here
    size = np.maximum.reduceat(high, new_user) - low
    place = np.cumsum(size) - size  # where the user's events begin in the block
    rows = np.repeat(low - place, size) + np.arange(size.sum())
    counts = np.diff(new_user, append=len(sessions.user))  # sessions of each user
    shift = np.repeat(low - place, counts)
    shifted = sessions._replace(
        first=np.maximum(sessions.first - shift, np.repeat(place, counts)),
        start=sessions.start - shift,
    )
    block_events = events[rows]
    feedback = np.stack(
        [block_events[name].to_numpy() for name in spec.feedback_names], axis=-1
    )
    parts = {
        "item": block_events["item"].to_numpy().astype("<i4"),
        "feedback": feedback.astype("<f4"),
    }
    for name, dtype in _optional_columns(events.columns).items():
        parts[name] = block_events[name].to_numpy().astype(dtype.as_numpy_dtype)
    for name, kind in _SESSION_FIELDS.items():
        parts[name] = getattr(shifted, name).astype(np.dtype(kind).newbyteorder("<"))
    if spec.context_features is not None:
        parts["context"] = sessions.context.astype("<i4")
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[array.tobytes()]))
        for name, array in parts.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(
        deterministic=True  # else the order of the fields differs from process to process
    )


def parse(record: tf.Tensor, spec: types.DataSpec, columns: tuple[str, ...] = ()) -> Block:
    """Cuts the padded sessions out of one record; graph code.

    Args:
      record: scalar string.
      spec: as given to `serialise`.
      columns: optional columns the log has, of `category` and `propensity`.
    """
    dtypes = {"item": tf.int32, "feedback": tf.float32} | _optional_columns(columns)
    dtypes |= {name: tf.as_dtype(kind) for name, kind in _SESSION_FIELDS.items()}
    context = spec.context_features
    if context is not None:
        dtypes["context"] = tf.int32
    raw = tf.io.parse_single_example(
        record, {name: tf.io.FixedLenFeature([], tf.string) for name in dtypes}
    )
    flat = {name: tf.io.decode_raw(raw[name], dtype) for name, dtype in dtypes.items()}
    feedback = tf.reshape(flat["feedback"], [-1, len(spec.feedback)])  # [N, F]
    start, length = flat["start"][:, None], flat["length"][:, None]  # [B, 1]
    history_rows = start + tf.range(-spec.history_length, 0)  # [B, H]
    in_history = history_rows >= flat["first"][:, None]  # [B, H]
    step_rows = start + tf.range(spec.max_steps)  # [B, T]
    in_session = tf.range(spec.max_steps) < length  # [B, T]
    return Block(
        episodes=types.Episodes(
            user=flat["user"],
            history_item=_window(flat["item"], history_rows, in_history),
            history_feedback=_window(feedback, history_rows, in_history),
            item=_window(flat["item"], step_rows, in_session),
            feedback=_window(feedback, step_rows, in_session),
            length=flat["length"],
            exited=tf.cast(flat["exited"], tf.bool),
            context_values=(
                ()
                if context is None
                else tf.reshape(flat["context"], [-1, context.slots])  # [B, K]
            ),
        ),
        start_ms=flat["start_ms"],
        end_ms=flat["end_ms"],
        columns={
            name: _window(flat[name], step_rows, in_session)
            for name in _optional_columns(columns)
        },
    )


def _window(flat: tf.Tensor, place: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """flat[place] where valid, 0 elsewhere: [N, ...], [B, W] -> [B, W, ...]."""
    taken = tf.gather(flat, tf.where(valid, place, 0))  # [B, W, ...]
    valid = tf.reshape(valid, tf.concat([tf.shape(valid), [1] * (flat.shape.rank - 1)], 0))
    return tf.where(valid, taken, tf.zeros([], flat.dtype))


def _event_range(
    sessions: episodes_lib.Sessions, history_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """The range of events that each session with its history spans, [S] and [S]."""
    low = np.maximum(sessions.first, sessions.start - history_length)
    return low, sessions.start + sessions.length


def _optional_columns(columns: tuple[str, ...] | list[str]) -> dict[str, tf.DType]:
    """The optional columns among these, with their stored types."""
    dtypes = {"category": tf.int32, "propensity": tf.float32}
    return {name: dtype for name, dtype in dtypes.items() if name in columns}
