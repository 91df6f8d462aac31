"""Names and features of items for people, which an export holds beside the model.

    export/1/assets.extra/items.parquet

Row d - 1 belongs to dense id d. The first column has the raw ids; the others are the column of
names, if there is one, and the declared features, as `declared_values` writes them. No
signature reads the file.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from tfrec.data import declared_values, features, parquet, schema, storage, vocabulary
from tfrec.data.feature_encoding import FeatureEncoder
from tfrec.errors import UserError
from tfrec.serving.requests import RawId

FILE = "assets.extra/items.parquet"
MOST_COLUMNS = 50  # besides the ids
MOST_CHARACTERS = 1_000  # of a value, of a list in all its texts
MOST_MIB = 1024  # of the table in memory

_CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]+"  # line breaks and control characters


@dataclasses.dataclass(frozen=True)
class Description:
    """What people know of an item.

    Attributes:
      item: raw id, as it was asked for.
      name: its name; None if it has none.
      features: column -> text, number or list of texts; a missing value has no entry.
    """

    item: RawId
    name: str | None = None
    features: Mapping[str, str | float | list[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Descriptions:
    """Descriptions of the N items of a model.

    Attributes:
      table: [N] rows in the order of dense ids; the first column has the raw ids.
      name: the column of names; empty for none.
    """

    table: pl.DataFrame
    name: str = ""

    @property
    def columns(self) -> list[str]:
        """The columns of features."""
        return [column for column in self.table.columns[1:] if column != self.name]

    def of(self, items: Iterable[RawId]) -> list[Description]:
        """The description of each item, in their order; an unknown one has no values."""
        items, key = list(items), self.table.columns[0]
        asked = pl.Series(key, list(map(str, items)), pl.String).unique()
        ids = asked.cast(self.table.schema[key], strict=False)
        rows = self.table.filter(pl.col(key).is_in(ids.implode()))
        row_of = {str(row[key]): row for row in rows.iter_rows(named=True)}
        return [self._description(item, row_of.get(str(item), {})) for item in items]

    def _description(self, item: RawId, row: Mapping[str, Any]) -> Description:
        present = {
            column: row[column] for column in self.columns if row.get(column) is not None
        }
        return Description(item, row.get(self.name) if self.name else None, present)

    def like(self, typed: str, most: int, at_start: bool) -> list[str]:
        """Ids, as text, of the first items whose names contain a text in any case.

        Args:
          typed: the text.
          most: the largest number of ids.
          at_start: only names that begin with the text.
        """
        if not self.name or not typed:
            return []
        name = pl.col(self.name).str.to_lowercase()
        text = typed.lower()
        contains = name.str.contains(text, literal=True)
        matches = name.str.starts_with(text) if at_start else contains
        rows = self.table.lazy().filter(matches).head(most).collect()
        return rows.to_series(0).cast(pl.String).to_list()

    def entry(self) -> dict[str, Any]:
        """The entry `item_descriptions` of the manifest."""
        return {"file": FILE, "name": self.name, "columns": self.columns}

    def write(self, version: pathlib.Path) -> None:
        """Writes the file into the folder of a version."""
        path = version / FILE
        path.parent.mkdir(exist_ok=True)
        parquet.write(self.table, path)


def load(version: pathlib.Path, manifest: Mapping[str, Any]) -> Descriptions | None:
    """Reads the descriptions of an exported version; None if it has none.

    Raises:
      UserError: if the file is absent or damaged.
    """
    entry = manifest.get("item_descriptions")
    if entry is None:
        return None
    path = version / entry["file"]
    try:
        table = parquet.read(path)
        return Descriptions(table.select(table.columns[0], *_shown(entry)), entry["name"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: not the items of an export: {error}") from error


def _shown(entry: Mapping[str, Any]) -> list[str]:
    return [*filter(None, [entry["name"]]), *entry["columns"]]


def of_agent(
    ids: vocabulary.Vocabulary,
    items: str | pathlib.Path = "",
    name: str = "",
    data: storage.PreparedData | None = None,
) -> Descriptions | None:
    """Descriptions for the export of an agent.

    Args:
      ids: the agent's ids and encoders.
      items: table of the items, as for `read`; by default that of the data.
      name: the column of names; empty for none.
      data: prepared data of the agent.

    Returns:
      None if neither a table nor a column of names is given.

    Raises:
      UserError: as `read`; or if a column of names is given and there is no table.
    """
    if not items and not name:
        return None
    if not items and data is None:
        raise UserError(
            f"item_name {name!r}: a column of which table? Expected items, or data that was "
            "prepared with features of items"
        )
    if not items and data is not None:
        items = data.directory / "item_features.parquet"
        if data.features("item") is None:
            raise UserError(
                f"item_name {name!r}: {items} is absent; expected data that was prepared with "
                "item_features, or a table of the items"
            )
    return read(items, ids.item_ids, ids.item_features, name)


def read(
    path: str | pathlib.Path,
    ids: vocabulary.Ids,
    encoder: FeatureEncoder | None,
    name: str = "",
    former: Descriptions | None = None,
) -> Descriptions:
    """Reads the names and the declared features of a table of items.

    Args:
      path: text or Parquet file with one row for each item; the first column holds the ids.
      ids: items of the model.
      encoder: encoder of the features that the model reads; None if it reads none.
      name: the column of names; empty for none.
      former: descriptions of the items that the table lacks.

    Raises:
      UserError: naming the file, the item, the column and the value; or if there is nothing to
        show or too much.
    """
    declared = [code.column for code in encoder.codes] if encoder else []
    shown = [column for column in declared if column.kind != "vector" and column.name != name]
    if not shown and not name:
        raise UserError(
            f"{path}: nothing to show of the items: the model reads no features of items that "
            "can be shown; expected the column of their names, item_name"
        )
    if len(shown) + bool(name) > MOST_COLUMNS:
        raise UserError(
            f"{path}: {len(shown) + bool(name)} columns to show; expected at most "
            f"{MOST_COLUMNS}"
        )
    whole = _table(path, name)
    if encoder:
        codes = tuple(code for code in encoder.codes if code.column in shown)
        FeatureEncoder(codes).encode(whole, path)  # checks every value
    names = [_names(whole[name])] if name else []
    table = pl.DataFrame(
        [
            whole.to_series(0),
            *names,
            *(declared_values.as_declared(column, whole[column.name]) for column in shown),
        ]
    )
    if former is not None:
        table = _with_former(table, former)
    _check_sizes(table, path)
    return Descriptions(features.aligned(table, ids, path), name)


def _table(path: str | pathlib.Path, name: str) -> pl.DataFrame:
    """Reads a table of items, which has the column of names."""
    table = features.read_table(path, schema.BadRows(skippable=False))
    if name and name not in table.columns[1:]:
        raise UserError(
            f"{path}: no column {name!r} of names; it has "
            f"{', '.join(map(repr, table.columns[1:]))}"
        )
    if name and table.schema[name].is_nested():
        raise UserError(
            f"{path}: column {name!r} holds {table.schema[name]}; expected names, one text for "
            "each item"
        )
    return table


def _names(series: pl.Series) -> pl.Series:
    """Names on one line each; null for an empty one."""
    return declared_values.as_text(series.cast(pl.String).str.replace_all(_CONTROL, " "))


def _with_former(table: pl.DataFrame, former: Descriptions) -> pl.DataFrame:
    """Adds the rows of items that a table lacks, with the columns that both have."""
    key = table.columns[0]
    rows = former.table.rename({former.table.columns[0]: key}).with_columns(
        pl.col(key).cast(pl.String)
    )
    rows = rows.join(table, on=key, how="anti", maintain_order="left")
    both = [name for name, dtype in rows.schema.items() if table.schema.get(name) == dtype]
    return pl.concat([table, rows.select(both)], how="diagonal")


def _check_sizes(table: pl.DataFrame, path: str | pathlib.Path) -> None:
    """Checks the length of every value, and the size of the table.

    Raises:
      UserError: naming the file, the item and the column.
    """
    ids = table.to_series(0)
    for series in table.iter_columns():
        if series.dtype == pl.String:
            lengths = series.str.len_chars()
        elif series.dtype == pl.List(pl.String):
            lengths = series.list.eval(pl.element().str.len_chars()).list.sum()
        else:
            continue
        longest = lengths.arg_max()
        if longest is not None and lengths[longest] > MOST_CHARACTERS:
            raise UserError(
                f"{path}: item {ids[longest]!r}, column {series.name!r}: a value of "
                f"{lengths[longest]:,} characters; expected at most {MOST_CHARACTERS:,}"
            )
    mib = table.estimated_size("mb")
    if mib > MOST_MIB:
        raise UserError(
            f"{path}: the columns {', '.join(map(repr, table.columns[1:]))} take {mib:,.0f} "
            f"MiB; expected at most {MOST_MIB:,}"
        )
