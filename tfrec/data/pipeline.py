"""Stored records -> shuffled, batched, prefetched sessions."""

from collections.abc import Sequence

import tensorflow as tf

from tfrec import types
from tfrec.data import blocks

SHUFFLE_SESSIONS = 16_384


def records(files: Sequence[str]) -> tf.data.Dataset:
    """The records of the files, in order."""
    return tf.data.TFRecordDataset(list(files))


def batches(
    files: Sequence[str],
    spec: types.DataSpec,
    *,
    batch_size: int,
    seed: int | None = None,
    repeat: bool = False,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Batches of sessions.

    The order depends only on the seed and differs from pass to pass. An iterator can be
    saved in a tf.train.Checkpoint and resumes at its position.

    Args:
      files: the shards of one or several splits.
      spec: shapes of the sessions.
      batch_size: B, sessions.
      seed: None keeps the order of storage; a number shuffles.
      repeat: whether to repeat the sessions without end.
      drop_remainder: whether to drop a last batch of fewer than B.

    Returns:
      A dataset of `types.Episodes`, whose `context_values` are those of the context alone.
    """
    dataset = tf.data.Dataset.from_tensor_slices(list(files))
    if seed is not None:
        dataset = dataset.shuffle(max(1, len(files)), seed=seed)
    dataset = dataset.interleave(
        tf.data.TFRecordDataset,
        cycle_length=1 if seed is None else min(4, max(1, len(files))),
        num_parallel_calls=1,
        deterministic=True,
    )
    dataset = dataset.map(lambda record: blocks.parse(record, spec).episodes)
    dataset = dataset.unbatch()
    if seed is not None:
        dataset = dataset.shuffle(SHUFFLE_SESSIONS, seed=seed + 1)
    if repeat:
        dataset = dataset.repeat()
    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options).prefetch(2)
