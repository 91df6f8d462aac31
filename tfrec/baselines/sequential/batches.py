"""Batches of packed sequences, without padding, for training and for scoring.

Axes: B rows (users) of a batch, T tokens of all its rows, one row after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.baselines.sequential.config import Crop
from tfrec.data import sequences
from tfrec.nn import attention

DRAWS = 1_000  # added to the second number of a step's seed, gives that of its negatives
GROUPS = 8  # padded groups of a batch: rows of similar length share one


class Inputs(NamedTuple):
    """What a model reads.

    Attributes:
      item: int32 [T], dense ids.
      place: int32 [T], position from 0 to length - 1; the position of each row's last token is
        length - 1.
      packing: the rows as padded groups.
      last: int32 [B], each row's last token.
    """

    item: tf.Tensor
    place: tf.Tensor
    packing: attention.Packing
    last: tf.Tensor


class Batch(NamedTuple):
    """One training batch.

    Attributes:
      inputs: all items of each row's window but the last.
      target: int32 [T], the item that follows each token.
      row: int32 [T], the token's row, 0 to B - 1.
      user: int32 [B], the row of the training log that each row is a window of.
      user_items: int32 [M, 2], pairs (row, item - 1) of all training items of each row's user.
    """

    inputs: Inputs
    target: tf.Tensor
    row: tf.Tensor
    user: tf.Tensor
    user_items: tf.Tensor


INPUTS_SPEC = Inputs(
    item=tf.TensorSpec([None], tf.int32),
    place=tf.TensorSpec([None], tf.int32),
    packing=attention.Packing(
        shapes=tf.TensorSpec([GROUPS, 2], tf.int32),
        token=tf.TensorSpec([None], tf.int32),
        cell=tf.TensorSpec([None], tf.int32),
    ),
    last=tf.TensorSpec([None], tf.int32),
)
BATCH_SPEC = Batch(
    inputs=INPUTS_SPEC,
    target=tf.TensorSpec([None], tf.int32),
    row=tf.TensorSpec([None], tf.int32),
    user=tf.TensorSpec([None], tf.int32),
    user_items=tf.TensorSpec([None, 2], tf.int32),
)


def epoch(
    train: sequences.Sequences, rows: int, length: int, crop: Crop, seed: int, number: int
) -> tf.data.Dataset:
    """Batches of one pass over the users with at least two events, in random order.

    Args:
      train: training events.
      rows: windows of a batch; the last one may have fewer.
      length: tokens of a window at most.
      crop: windows of a user with n events. last: one, of the last `length` + 1 events; random:
        one at random, anew in each epoch; prefixes: n - 1, which end at each event but the
        first.
      seed: of the run.
      number: of the epoch; order and windows depend on seed and number alone.
    """
    rng = np.random.default_rng([seed, number])
    users = np.flatnonzero(train.lengths >= 2)
    if crop == "prefixes":
        prefixes = train.lengths[users] - 1
        first = np.repeat(np.cumsum(prefixes) - prefixes, prefixes)
        users = np.repeat(users, prefixes)
        end = np.arange(len(users)) - first + 2
        order = rng.permutation(len(users))
        users, end = users[order], end[order]
        start = np.maximum(end - (length + 1), 0)
    else:
        users = rng.permutation(users)
        spare = np.maximum(train.lengths[users] - (length + 1), 0)
        start = spare if crop == "last" else rng.integers(0, spare + 1)
        end = np.minimum(start + length + 1, train.lengths[users])

    def batches() -> Iterator[Batch]:
        for first in range(0, len(users), rows):
            part = slice(first, first + rows)
            yield training_batch(train, users[part], start[part], end[part], length)

    dataset = tf.data.Dataset.from_generator(batches, output_signature=BATCH_SPEC)
    return dataset.prefetch(2)


def training_batch(
    train: sequences.Sequences,
    users: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    length: int,
) -> Batch:
    """One batch of windows.

    Args:
      train: training events.
      users: int [B], rows of `train`.
      start: int [B], first event of each window.
      end: int [B], the event behind its last one, at least start + 2 and at most start +
        `length` + 1.
      length: tokens of a window at most.
    """
    size = end - start - 1  # tokens of each window
    order = np.argsort(size, kind="stable")
    users, start, size = users[order], start[order], size[order]
    rows = train.select(users)
    tokens = rows.between(start, start + size)
    targets = rows.between(start + 1, start + 1 + size)
    user_items = np.stack([rows.rows, rows.items - 1], axis=1)
    return Batch(
        inputs=_inputs(tokens, length),
        target=targets.items,
        row=tokens.rows.astype(np.int32),
        user=users.astype(np.int32),
        user_items=user_items.astype(np.int32),
    )


def scoring_inputs(history: sequences.Sequences, length: int) -> tuple[Inputs, np.ndarray]:
    """The last events of each row, for predictions of the next event.

    Args:
      history: B rows, of at least one event each.
      length: tokens of a row at most.

    Returns:
      Inputs with rows ordered by length, and that order, int [B].
    """
    size = np.minimum(history.lengths, length)
    order = np.argsort(size, kind="stable")
    rows = history.select(order)
    return _inputs(rows.between(rows.lengths - size[order], rows.lengths), length), order


def observed_inputs(history_item: tf.Tensor, length: int) -> Inputs:
    """Inputs of the histories of observations. Graph code.

    Args:
      history_item: int32 [B, H], oldest first, left-padded with 0. A row without items reads as
        one of item 1.
      length: L, tokens of a row at most.
    """
    recent = history_item[:, -length:]  # [B, h]
    rows, columns = tf.shape(recent)[0], tf.shape(recent)[1]
    # Each row needs a last token.
    empty = tf.reduce_all(recent == 0, axis=1, keepdims=True)
    recent = tf.where(empty & (tf.range(columns) == columns - 1), 1, recent)
    is_event = recent > 0
    lengths = tf.reduce_sum(tf.cast(is_event, tf.int32), axis=1)  # [B]
    position = tf.cast(tf.where(is_event), tf.int32)  # [T, 2], ordered by row
    row, column = position[:, 0], position[:, 1]
    # Shifts the events to the left, because groups are padded on the right.
    cell = row * columns + column - (columns - tf.gather(lengths, row))
    tokens = tf.range(tf.size(cell))
    group = tf.stack([rows, columns])[None]
    return Inputs(
        item=tf.boolean_mask(recent, is_event),
        place=length - columns + column,
        packing=attention.Packing(
            shapes=tf.concat([group, tf.zeros([GROUPS - 1, 2], tf.int32)], axis=0),
            token=tf.scatter_nd(cell[:, None], tokens, [rows * columns]),
            cell=cell,
        ),
        last=tf.cumsum(lengths) - 1,
    )


def drawn_places(last: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """One token of each row, uniform, int32 [B].

    Args:
      last: int32 [B], each row's last token.
      seed: int32 [2].
    """
    first = tf.concat([[0], last[:-1] + 1], axis=0)
    share = tf.random.stateless_uniform(tf.shape(last), seed)
    length = last - first + 1
    offset = tf.cast(share * tf.cast(length, tf.float32), tf.int32)
    return first + tf.minimum(offset, length - 1)  # rounding may reach the length


def _inputs(tokens: sequences.Sequences, length: int) -> Inputs:
    """Inputs of windows that are ordered by length."""
    within = np.arange(len(tokens.items)) - tokens.offsets[tokens.rows]
    place = length - tokens.lengths[tokens.rows] + within
    return Inputs(
        item=tokens.items,
        place=place.astype(np.int32),
        packing=packed(tokens.lengths, GROUPS),
        last=(tokens.offsets[1:] - 1).astype(np.int32),
    )


def packed(lengths: np.ndarray, groups: int) -> attention.Packing:
    """Rows in padded groups of as many rows each; a group is as long as its longest row.

    Args:
      lengths: int [B], tokens of each row, best in ascending order.
      groups: G; some are empty where there are fewer rows.

    Returns:
      A packing of numpy arrays.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shapes, token, cell, before = [], [], [], 0
    for rows in np.array_split(np.arange(len(lengths)), groups):
        longest = int(lengths[rows].max(initial=0))
        step = np.arange(longest)
        real = step < lengths[rows][:, None]  # [b, L]
        token.append(np.where(real, offsets[rows][:, None] + step, 0).ravel())
        cell.append(before + np.flatnonzero(real))
        shapes.append((len(rows), longest))
        before += real.size
    return attention.Packing(
        np.array(shapes, np.int32),
        np.concatenate(token).astype(np.int32),
        np.concatenate(cell).astype(np.int32),
    )
