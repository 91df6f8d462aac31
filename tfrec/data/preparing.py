"""Preparation of a log: validated rows become stored sessions."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrec import outputs
from tfrec.data import (
    episodes,
    feature_encoding,
    feature_schema,
    features,
    filters,
    schema,
    state_encoding,
    storage,
)
from tfrec.data.sources import text_rows
from tfrec.errors import UserError

Read = Callable[[schema.BadRows], tuple[pl.DataFrame, schema.Schema]]
_NO_FEATURES = feature_schema.Declaration()


class Preparation(NamedTuple):
    """Result of a preparation.

    Attributes:
      data: the prepared sessions.
      rows: number of rows that were read.
      warnings: implausible properties of the log, one sentence each.
    """

    data: storage.PreparedData
    rows: int
    warnings: list[str]


def prepare(
    read: Read,
    out: str | pathlib.Path,
    config: episodes.PrepareConfig,
    *,
    source: str,
    skip_bad_rows: bool = False,
    overwrite: bool = False,
    features_of: Mapping[str, str] | None = None,
    feature_columns: feature_schema.Declaration = _NO_FEATURES,
    text_format: text_rows.TextFormat | None = None,
    generator: dict[str, Any] | None = None,
    filter_config: filters.FilterConfig | None = None,
) -> Preparation:
    """Reads a log, cuts it into sessions, splits the users, and stores both with the ids.

    Args:
      read: returns the validated interaction table and its schema.
      out: folder to write.
      config: how the log is cut and split.
      source: description of the log, for the manifest.
      skip_bad_rows: drop bad and duplicate rows and list them in rejected.csv, instead of
        stopping at the first.
      overwrite: replace prepared data that is there already.
      features_of: `user` or `item` -> path of its feature table; empty for none.
      feature_columns: the columns of the feature tables and of the context that models read.
        Those of the context that the log has must be among the columns of the schema.
      text_format: format of the feature tables.
      generator: parameters of the simulated users that generated a synthetic log.
      filter_config: filters of the log's events; none by default.

    Raises:
      UserError: naming file, row, column and value; or if `out` is in use. Nothing is written.
    """
    out = pathlib.Path(out)
    storage.check_target(out, overwrite)  # before any work
    outputs.check_folder(out)
    files = {owner: file for owner, file in (features_of or {}).items() if file}
    tables_of = {"item": feature_columns.item, "user": feature_columns.user}
    for owner, declared in tables_of.items():
        if declared and owner not in files:
            raise UserError(
                f"feature_columns declares {declared[0].name!r} of {owner}s, but there is no "
                f"table of the {owner}s; expected {owner}_features"
            )
    bad_rows = schema.BadRows(skip=skip_bad_rows)
    frame, log_schema = read(bad_rows)
    _check_times(feature_columns, log_schema)
    rows = frame.height
    columns = {series.name: series for series in frame}
    del frame  # so that each column can be freed after its use
    filter_config = filter_config or filters.FilterConfig()
    filters.apply(columns, log_schema, filter_config, bad_rows)
    warnings = [*bad_rows.warnings, *schema.warnings(pl.DataFrame(columns), log_schema)]
    prepared = episodes.prepare(columns, log_schema, config)
    ids = {"user": prepared.vocabulary.user_ids, "item": prepared.vocabulary.item_ids}
    tables = {
        kind: features.read(file, ids[kind], bad_rows, text_format or text_rows.TextFormat())
        for kind, file in files.items()
    }
    for owner, declared in tables_of.items():
        if declared:
            prepared = _with_features(prepared, owner, declared, tables[owner], files[owner])
    if feature_columns.context:
        prepared = _with_context(prepared, feature_columns.context, source)
    data = storage.write(
        out,
        prepared,
        log_schema,
        config,
        source=source,
        bad_rows=bad_rows,
        overwrite=overwrite,
        features=tables,
        generator=generator,
        warnings=warnings,
        filters=dataclasses.asdict(filter_config),
    )
    return Preparation(data, rows, warnings)


def _with_features(
    prepared: episodes.Prepared,
    owner: str,
    columns: Sequence[feature_schema.FeatureColumn],
    table: pl.DataFrame,
    path: str | pathlib.Path,
) -> episodes.Prepared:
    """Prepared sessions of which models read features of the items or the users."""
    if owner == "user":
        # Values of other users are those that training never met.
        in_training = np.unique(prepared.sessions.user[prepared.sessions.split == 0]) - 1
        encoder = feature_encoding.fit(columns, table[in_training], path, owner)
        encoder.encode(table, path)  # checks the values of the other users
        vocabulary = dataclasses.replace(prepared.vocabulary, user_features=encoder)
        spec = dataclasses.replace(prepared.spec, user_features=encoder.spec)
    else:
        encoder = feature_encoding.fit(columns, table, path, owner)
        vocabulary = dataclasses.replace(prepared.vocabulary, item_features=encoder)
        spec = dataclasses.replace(prepared.spec, item_features=encoder.spec)
    return prepared._replace(vocabulary=vocabulary, spec=spec)


def _with_context(
    prepared: episodes.Prepared, columns: Sequence[feature_schema.FeatureColumn], source: str
) -> episodes.Prepared:
    """Prepared sessions of which models read the context, fitted on training sessions."""
    sessions, vocabulary = prepared.sessions, prepared.vocabulary
    user = pl.Series("", vocabulary.users[sessions.user - 1])  # for messages
    log = pl.DataFrame([user, *(s.alias(name) for name, s in prepared.context.items())])
    table = state_encoding.context_table(columns, sessions.start_ms, log)
    in_training = table.filter(pl.Series(sessions.split == 0))
    encoder = feature_encoding.fit(columns, in_training, source, "context")
    values = encoder.encode(table, source).values[1:]
    vocabulary = dataclasses.replace(vocabulary, context_features=encoder)
    encoders = vocabulary.state_encoder
    first = 0 if encoders.user is None else encoders.user.spec.slots
    return prepared._replace(
        vocabulary=vocabulary,
        spec=dataclasses.replace(prepared.spec, context_features=encoder.spec),
        sessions=sessions._replace(context=encoders.joined(context=values)[:, first:]),
    )


def _check_times(declared: feature_schema.Declaration, log_schema: schema.Schema) -> None:
    """Raises UserError for a context that needs times which the log does not have."""
    for column in declared.context:
        if column.derived and log_schema.order != "time":
            raise UserError(
                f"feature_columns declares [context.{column.name}] of kind {column.kind}, but "
                f"the log has no times (its order is {log_schema.order}); expected a log with "
                "times, or no such column"
            )
