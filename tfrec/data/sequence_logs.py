"""Logs as item sequences with their raw ids, from files and from prepared data."""

from __future__ import annotations

import pathlib
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from tfrec import types
from tfrec.data import identity, item_categories, sequences
from tfrec.data import schema as schema_lib
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.data.sources import sequence, table

Format = Literal["rows", "lines", "table", "prepared"]


class SequenceLog(NamedTuple):
    """A log as sequences, with its raw ids.

    Attributes:
      sequences: row u is user `vocabulary.users[u]`.
      vocabulary: items most frequent first, users ascending.
      source: path and fingerprint of the content.
      categories: categories of the items, if the log has such a column; else None.
      features: encoded features of the items, if models are to read them; else None.
    """

    sequences: sequences.Sequences
    vocabulary: vocabulary_lib.Vocabulary
    source: identity.Source
    categories: item_categories.Categories | None = None
    features: types.Features | None = None


def open_log(
    path: str | pathlib.Path, form: Format, columns: table.TableConfig | None = None
) -> SequenceLog:
    """Reads a log.

    Args:
      path: the file, or the folder of prepared data.
      form: `rows` and `lines` as in `tfrec.data.sources.sequence`; `table`, a CSV, TSV or
        Parquet log with times; `prepared`, all sessions of a folder of prepared data.
      columns: column names of a table; by default those of `TableConfig`.

    Raises:
      UserError: with file, row and value, if the log has another form.
    """
    if form == "prepared":
        from tfrec.data import storage  # imports TensorFlow, which text files need not

        data = storage.PreparedData.open(path)
        log_sequences = sequences.of_prepared(data)
        return SequenceLog(
            log_sequences,
            data.vocabulary,
            data.source,
            item_categories.of_prepared(data),
            data.item_features(),
        )
    bad_rows = schema_lib.BadRows(skippable=False)
    if form == "table":
        return of_table(*table.read(path, columns, bad_rows), str(path))
    config = sequence.SequenceConfig(sequence_form=form)
    return of_table(*sequence.read(path, config, bad_rows), str(path))


def of_table(frame: pl.DataFrame, schema: schema_lib.Schema, path: str) -> SequenceLog:
    """Converts an interaction table. Every row is an event, regardless of its feedback.

    Args:
      frame: a validated table: `user`, `item` and `time_ms`, ordered by user and time.
      schema: schema of the table. Sequences have times only if the log has them.
      path: path of the log.
    """
    counts = frame["item"].value_counts(name="count")
    # Ties go to the smaller id, so that the order does not depend on that of the rows.
    ordered = counts.sort("count", "item", descending=[True, False])["item"]
    vocabulary = vocabulary_lib.Vocabulary(
        vocabulary_lib.Ids(vocabulary_lib.as_array(ordered)),
        vocabulary_lib.ids_of(frame["user"]),
    )
    times = frame["time_ms"].to_numpy() / 1000.0 if schema.order == "time" else None
    log_sequences = sequences.of_events(
        vocabulary.user_ids.encode(frame["user"]).astype(np.int64) - 1,
        vocabulary.encode(frame["item"]),
        len(vocabulary.users),
        len(vocabulary.items),
        times,
    )
    content = {
        "items": log_sequences.items,
        "offsets": log_sequences.offsets,
        "times": log_sequences.times,
    }
    ids = {"raw_items": vocabulary.items, "raw_users": vocabulary.users}
    source = identity.Source(path, identity.fingerprint(content | ids))
    categories = None
    if schema.category:
        dense = vocabulary_lib.ids_of(frame["category"]).encode(frame["category"])
        items = vocabulary.encode(frame["item"])
        categories = item_categories.of_events(items, dense, len(vocabulary.items))
    return SequenceLog(log_sequences, vocabulary, source, categories)
