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
      feature_columns: the columns of the feature tables that models read.
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
    for owner, columns in feature_columns._asdict().items():
        if columns and owner not in files:
            raise UserError(
                f"feature_columns declares {columns[0].name!r} of {owner}s, but there is no "
                f"table of the {owner}s; expected {owner}_features"
            )
    bad_rows = schema.BadRows(skip=skip_bad_rows)
    frame, log_schema = read(bad_rows)
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
    for owner, columns in feature_columns._asdict().items():
        if columns:
            prepared = _with_features(prepared, owner, columns, tables[owner], files[owner])
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
