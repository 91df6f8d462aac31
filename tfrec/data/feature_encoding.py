"""Features of items, users or contexts as numbers: fitted on a training table, applied to any.

Each declared column owns a range of the numbers 1..V. In a range come, in order:

  missing   the cell is empty
  rare      a category of too few items, or one that the training table does not have
  values    one number for each category, bin or bucket

`rare` is absent from columns that are hashed, from numbers, hours and weekdays. A row has up to
K of these numbers, padded with 0. A `vector` column is kept as it is, beside them.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrec import options, types
from tfrec.data import feature_schema
from tfrec.data.feature_schema import FeatureColumn
from tfrec.errors import UserError

MOST_TEXT = 10_000  # characters of a value in a request
MOST_VALUES = 1_000  # of a list in a request


@dataclasses.dataclass(frozen=True)
class ColumnCode:
    """One column as it was fitted.

    Attributes:
      column: its declaration.
      first: the first number of its range, which stands for a missing value.
      categories: listed categories, most frequent first; empty for other kinds.
      edges: inner edges of the bins of a number, ascending; empty for other kinds.
      width: length of the vectors of a `vector` column; 0 for other kinds.
    """

    column: FeatureColumn
    first: int
    categories: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    width: int = 0

    @property
    def size(self) -> int:
        """Numbers of its range."""
        if self.column.kind == "vector":
            return 0
        if self.column.kind == "number":
            return 2 + len(self.edges)
        if self.column.derived:
            return 1 + self.column.derived
        return 1 + (self.column.hashed or 1 + len(self.categories))

    @property
    def fitted(self) -> range:
        """Numbers of its fitted values: categories, bins or buckets."""
        return range(self.first + 1 + self.column.listed, self.first + self.size)


@dataclasses.dataclass(frozen=True)
class FeatureEncoder:
    """The fitted columns of a feature table.

    Attributes:
      codes: the columns.
      owner: `item`, `user` or `context`, which has a row of the table.
    """

    codes: tuple[ColumnCode, ...]
    owner: str = "item"

    @property
    def spec(self) -> types.FeatureSpec:
        """The sizes that networks are built from."""
        return types.FeatureSpec(
            values=sum(code.size for code in self.codes),
            slots=sum(code.column.most_values for code in self.codes),
            width=sum(code.width for code in self.codes),
            missing=() if self.owner == "item" else self._missing,
            crosses=self._crosses,
        )

    def encode(self, table: pl.DataFrame, path: str | pathlib.Path) -> types.Features:
        """Encodes a table whose row d - 1 belongs to dense id d.

        Args:
          table: the first column holds the ids, for messages.
          path: its file, for messages.

        Raises:
          UserError: if a column is absent or a value is not of its kind; names the file, the
            id, the column and the value.
        """
        feature_schema.check_columns([code.column for code in self.codes], table.schema, path)
        ids = table.to_series(0)
        values, vectors = [], []
        for code in self.codes:
            column = table[code.column.name]
            if code.column.kind == "vector":
                vectors.append(_vectors(column, code.width, _Rows(self.owner, ids, path)))
            else:
                values.append(_numbers_of(code, column, _Rows(self.owner, ids, path)))
        height = table.height
        return types.Features(
            _with_padding(np.concatenate(values or [np.zeros((height, 0))], axis=1), np.int32),
            _with_padding(
                np.concatenate(vectors or [np.zeros((height, 0))], axis=1), np.float32
            ),
        )

    @property
    def _missing(self) -> tuple[int, ...]:
        """The K numbers of a row without any value."""
        numbers: list[int] = []
        for code in self.codes:
            numbers += [code.first, *[0] * code.column.most_values][: code.column.most_values]
        return tuple(numbers)

    @property
    def _crosses(self) -> tuple[types.CrossSpec, ...]:
        crosses, slot = [], 0
        for code in self.codes:
            column, fitted = code.column, code.fitted
            if column.cross:
                crosses.append(
                    types.CrossSpec(
                        slot, column.most_values, fitted.start, len(fitted), column.cross
                    )
                )
            slot += column.most_values
        return tuple(crosses)

    def encode_one(self, values: Mapping[str, Any]) -> np.ndarray:
        """Encodes the values of the user or the context of a request, int32 [K].

        Args:
          values: column -> text, number, list of categories, or None; absent columns are
            missing.

        Raises:
          UserError: naming the column, the value and what was expected.
        """
        columns = {code.column.name: code.column for code in self.codes}
        for name, value in values.items():
            if name not in columns:
                raise UserError(
                    f"{self.owner}: {name[:80]!r} is not a column; there are "
                    f"{', '.join(columns)}"
                )
            _check_value(self.owner, columns[name], value)
        table = pl.DataFrame(
            [
                pl.Series("request", [""]),
                *(_cell(column, values.get(name)) for name, column in columns.items()),
            ]
        )
        return self.encode(table, "request").values[1]

    def names(self, values: np.ndarray) -> list[str]:
        """Readable values such as `genres=Drama` of one row's numbers; 0 is left out."""
        return [self._name(int(number)) for number in values if number]

    def _name(self, number: int) -> str:
        for code in self.codes:
            place = number - code.first
            if not 0 <= place < code.size:
                continue
            column = code.column
            if place == 0:
                return f"{column.name} missing"
            if column.kind == "number":
                edges = ("", *(f"{edge:g}" for edge in code.edges), "")
                return f"{column.name}={edges[place - 1]}..{edges[place]}"
            if column.hashed:
                return f"{column.name}#{place}"
            if column.derived:
                return f"{column.name}={place - 1}"
            return f"{column.name}={(('rare',) + code.categories)[place - 1]}"
        raise ValueError(f"number {number}; expected 1 to {self.spec.values}")

    def described(self) -> list[dict[str, Any]]:
        """The encoder as JSON; `restored` reads it. A cross or an offset of 0 is left out."""
        described = [dataclasses.asdict(code) for code in self.codes]
        for code in described:
            for field in ("cross", "utc_offset"):
                if not code["column"][field]:
                    del code["column"][field]
        return described

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes {item,user,context}_feature_values.json into the directory."""
        text = json.dumps(self.described(), ensure_ascii=False, indent=1)
        path = pathlib.Path(directory) / file_of(self.owner)
        path.write_text(text + "\n", encoding="utf-8")


def file_of(owner: str) -> str:
    """Name of the file with the encoder of an owner's features."""
    return f"{owner}_feature_values.json"


def load(directory: str | pathlib.Path, owner: str) -> FeatureEncoder | None:
    """Reads what `FeatureEncoder.save` wrote; None if there is no such file.

    Args:
      directory: folder of the file.
      owner: `item`, `user` or `context`.

    Raises:
      UserError: if the file is damaged.
    """
    path = pathlib.Path(directory) / file_of(owner)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return restored(content, owner)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: no readable feature values ({error})") from error


def restored(content: Sequence[Mapping[str, Any]], owner: str) -> FeatureEncoder:
    """Rebuilds an encoder from `FeatureEncoder.described`, with lists for tuples as in JSON."""
    return FeatureEncoder(options.rebuilt(tuple[ColumnCode, ...], content), owner)


def fit(
    columns: Sequence[FeatureColumn],
    table: pl.DataFrame,
    path: str | pathlib.Path,
    owner: str = "item",
) -> FeatureEncoder:
    """Fits the categories, bins and lengths of the declared columns.

    Args:
      columns: the declaration.
      table: one row for each item (or user, or session) of the training log; the first column
        holds the ids.
      path: its file, for messages.
      owner: `item`, `user` or `context`, which has a row of the table.

    Raises:
      UserError: if a column is absent, is empty, or a value is not of its kind; names the
        file, the id, the column and the value.
    """
    feature_schema.check_columns(columns, table.schema, path)
    ids, codes, first = table.to_series(0), [], 1
    for column in columns:
        series = table[column.name]
        if series.null_count() == len(series):
            raise UserError(
                f"{path}: column {column.name!r} has no value for "
                f"{'session' if owner == 'context' else owner}s of the log"
            )
        code = ColumnCode(column, first)
        if column.kind == "number":
            edges = _edges(column, series, _Rows(owner, ids, path))
            code = dataclasses.replace(code, edges=edges)
        elif column.kind == "vector":
            code = dataclasses.replace(code, width=_width(series, path))
        elif column.listed:
            code = dataclasses.replace(code, categories=_categories(column, series, path))
        codes.append(code)
        first += code.size
    encoder = FeatureEncoder(tuple(codes), owner)
    encoder.encode(table, path)  # checks every value
    return encoder


class _Rows(NamedTuple):
    """The rows of a table, for messages: their owner, their ids and the file."""

    owner: str
    ids: pl.Series
    path: str | pathlib.Path

    def name(self, row: int) -> str:
        owner = "session of user" if self.owner == "context" else self.owner
        return f"{self.path}: {owner} {self.ids[row]!r}"


def _check_value(owner: str, column: FeatureColumn, value: Any) -> None:
    """Raises UserError for a value of a request that is not of the column's kind."""
    if value is None:
        return
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    is_list = column.kind == "categories" and isinstance(value, list | tuple)
    texts = value if is_list else [value]
    if column.kind == "number":
        valid, expected = is_number and np.isfinite(value), "a finite number"
    elif column.derived:
        is_whole = is_number and isinstance(value, int | np.integer)
        valid = is_whole and 0 <= value < column.derived
        most = f"{column.derived - 1}{' (0 is Monday)' if column.kind == 'weekday' else ''}"
        expected = f"a whole number from 0 to {most}"
    elif column.kind == "text":
        valid, expected = isinstance(value, str), "text"
    else:
        valid = all(
            isinstance(x, str | int | np.integer) and not isinstance(x, bool) for x in texts
        )
        more = " or a list of them" if column.kind == "categories" else ""
        expected = f"text or an integer{more}"
    if valid and len(texts) > MOST_VALUES:
        raise UserError(
            f"{owner}: {column.name} has {len(texts):,} values; expected at most "
            f"{MOST_VALUES:,}"
        )
    longest = max((len(x) for x in texts if isinstance(x, str)), default=0)
    if valid and longest > MOST_TEXT:
        raise UserError(
            f"{owner}: {column.name} has a text of {longest:,} characters; expected at most "
            f"{MOST_TEXT:,}"
        )
    if not valid:
        raise UserError(f"{owner}: {column.name} is {repr(value)[:80]}; expected {expected}")


def _cell(column: FeatureColumn, value: Any) -> pl.Series:
    """A checked value of a request as a column with one row."""
    if isinstance(value, list | tuple):
        return pl.Series(column.name, [list(map(str, value))], pl.List(pl.String))
    if column.kind == "number":
        return pl.Series(column.name, [value], pl.Float64)
    if column.derived:
        return pl.Series(column.name, [value], pl.Int64)
    return pl.Series(column.name, [None if value is None else str(value)], pl.String)


def grown(before: FeatureEncoder, now: FeatureEncoder) -> FeatureEncoder:
    """An encoder with the categories that another one of the same columns adds.

    Args:
      before: its categories stay, in their order, and so do its bins of numbers.
      now: its further categories follow those of `before`, column by column.

    Raises:
      ValueError: if the declarations or the lengths of vectors differ; names the column, and
        both values, that of `before` first.
    """
    codes, first = [], 1
    for old, new in _pairs(before, now):
        known = set(old.categories)
        added = tuple(name for name in new.categories if name not in known)
        code = dataclasses.replace(old, first=first, categories=old.categories + added)
        codes.append(code)
        first += code.size
    return FeatureEncoder(tuple(codes))


def former_values(before: FeatureEncoder, after: FeatureEncoder) -> np.ndarray:
    """The number that each value had before an encoder was grown.

    Args:
      before: the encoder.
      after: result of `grown`.

    Returns:
      int64 [V' + 1]. A category that was added has the number of `rare`, as which `before`
      encodes it.
    """
    numbers = [0]
    for old, new in zip(before.codes, after.codes, strict=True):
        rare = old.first + 1
        numbers += range(old.first, old.first + old.size)
        numbers += [rare] * (new.size - old.size)
    return np.array(numbers)


def nearest_values(before: FeatureEncoder, now: FeatureEncoder) -> np.ndarray:
    """The number in one encoder that stands for each value of another of the same columns.

    Returns:
      int64 [V' + 1], by numbers of `now`. A category that `before` lacks has the number of
      `rare`, and a bin that of the bin of `before` which holds its middle.

    Raises:
      ValueError: as `grown`.
    """
    numbers = np.zeros(now.spec.values + 1, np.int64)
    for old, new in _pairs(before, now):
        if new.column.kind == "number":
            edges = np.array(new.edges)
            middle = np.concatenate([edges[:1] - 1, (edges[1:] + edges[:-1]) / 2, edges[-1:]])
            if not edges.size:  # one bin, which holds every number
                middle = np.median(old.edges, keepdims=True) if old.edges else np.zeros(1)
            places: Sequence[int] = [0, *(1 + np.searchsorted(old.edges, middle, side="right"))]
        elif new.column.hashed or new.column.derived:
            places = range(new.size)
        else:
            known = {name: 2 + place for place, name in enumerate(old.categories)}
            places = [0, 1, *(known.get(name, 1) for name in new.categories)]
        numbers[new.first : new.first + new.size] = old.first + np.array(places)
    return numbers


def _pairs(before: FeatureEncoder, now: FeatureEncoder) -> list[tuple[ColumnCode, ColumnCode]]:
    """The columns of two encoders by name, in the order of the first one."""
    codes = {code.column.name: code for code in now.codes}
    names = [code.column.name for code in before.codes]
    if set(names) != set(codes):
        raise ValueError(
            f"the columns are {', '.join(map(repr, names))} and "
            f"{', '.join(map(repr, codes))}; expected the same ones"
        )
    pairs = [(code, codes[code.column.name]) for code in before.codes]
    for old, new in pairs:
        for field in dataclasses.fields(FeatureColumn):
            values = [getattr(code.column, field.name) for code in (old, new)]
            if values[0] != values[1]:
                raise ValueError(
                    f"column {old.column.name!r}: {field.name} is {values[0]!r} and "
                    f"{values[1]!r}; expected the same declaration"
                )
        if old.width != new.width:
            raise ValueError(
                f"column {old.column.name!r}: its vectors have {old.width} and {new.width} "
                "numbers; expected the same length"
            )
    return pairs


def _categories(
    column: FeatureColumn, series: pl.Series, path: str | pathlib.Path
) -> tuple[str, ...]:
    """The categories of at least `min_items` items, most frequent first, ties by name."""
    long = _exploded(column, series, path)
    counts = (
        long.unique()
        .group_by("value")
        .len()
        .filter(pl.col("len") >= column.min_items)
        .sort(["len", "value"], descending=[True, False])
    )
    return tuple(counts["value"].to_list())


def _edges(column: FeatureColumn, series: pl.Series, rows: _Rows) -> tuple[float, ...]:
    """Inner edges of bins with equally many rows; fewer if values are equal."""
    numbers = _as_numbers(column.name, series, rows).drop_nulls().to_numpy()
    inner = np.quantile(numbers, np.arange(1, column.bins) / column.bins)
    inner = inner[inner > numbers.min()]  # an edge at the smallest value splits nothing
    return tuple(float(edge) for edge in np.unique(inner))


def _numbers_of(code: ColumnCode, series: pl.Series, rows: _Rows) -> np.ndarray:
    """The numbers of one column, int32 [N, `most_values`]."""
    column = code.column
    if column.kind == "number":
        numbers = _as_numbers(column.name, series, rows).to_numpy()
        bins = 1 + np.searchsorted(np.asarray(code.edges), numbers, side="right")
        return (code.first + np.where(np.isnan(numbers), 0, bins))[:, None]
    if column.derived:
        return code.first + (series + 1).fill_null(0).to_numpy()[:, None]
    long = _exploded(column, series, rows.path)
    if column.hashed:
        distinct = long["value"].unique()
        buckets = [1 + zlib.crc32(text.encode()) % column.hashed for text in distinct]
        found = long["value"].replace_strict(distinct, pl.Series(buckets, dtype=pl.Int32))
    else:
        found = long["value"].replace_strict(
            pl.Series(code.categories, dtype=pl.String),
            pl.Series(np.arange(2, 2 + len(code.categories)), dtype=pl.Int32),
            default=1,
        )
    values = np.zeros((len(series), column.most_values), np.int32)
    values[:, 0] = code.first  # missing, unless a value follows
    row, slot = long["row"].to_numpy(), long["slot"].to_numpy()
    values[row, slot] = code.first + found.to_numpy()
    return values


def _exploded(
    column: FeatureColumn, series: pl.Series, path: str | pathlib.Path
) -> pl.DataFrame:
    """The first values of each row, without repeats: columns row, slot and value (text)."""
    if column.kind == "text" and series.dtype == pl.String:
        lists = series.str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
    elif column.kind == "categories" and series.dtype == pl.String:
        lists = series.str.split(column.separator)
    elif column.kind in ("category", "categories") and not series.dtype.is_nested():
        lists = series.cast(pl.String).reshape((len(series), 1)).arr.to_list()
    elif column.kind == "categories" and isinstance(series.dtype, pl.List):
        lists = series.cast(pl.List(pl.String))
    else:
        raise UserError(
            f"{path}: column {column.name!r} holds {series.dtype}; expected {column.kind}"
        )
    frame = (
        pl.DataFrame({"row": np.arange(len(series)), "value": lists})
        .explode("value")
        .with_columns(pl.col("value").str.strip_chars())
        .filter(pl.col("value").str.len_bytes() > 0)
        .unique(["row", "value"], keep="first", maintain_order=True)
    )
    return frame.with_columns(slot=pl.int_range(pl.len()).over("row")).filter(
        pl.col("slot") < column.most_values
    )


def _as_numbers(name: str, series: pl.Series, rows: _Rows) -> pl.Series:
    """The column as finite Float64, null where missing."""
    numbers = series.cast(pl.Float64, strict=False)
    invalid = (series.is_not_null() & ~numbers.is_finite().fill_null(False)).arg_true()
    if len(invalid):
        row = invalid[0]
        raise UserError(
            f"{rows.name(row)}, column {name!r}: {series[row]!r}; expected a number"
        )
    return numbers


def _width(series: pl.Series, path: str | pathlib.Path) -> int:
    """Length of the vectors of a column, that of the first one."""
    if not isinstance(series.dtype, pl.List | pl.Array):
        raise UserError(
            f"{path}: column {series.name!r} holds {series.dtype}; expected vectors: lists of "
            "numbers in a Parquet file"
        )
    return len(series.drop_nulls()[0])


def _vectors(series: pl.Series, width: int, rows: _Rows) -> np.ndarray:
    """The vectors of a column, float32 [N, P]; zeros where missing."""
    _width(series, rows.path)
    lists = series.cast(pl.List(pl.Float32))
    lengths = lists.list.len()
    for invalid, expected in (
        (lengths != width, f"{width} numbers"),
        (~lists.list.eval(pl.element().is_finite()).list.all(), "finite numbers"),
    ):
        places = invalid.fill_null(False).arg_true()
        if len(places):
            row = places[0]
            raise UserError(
                f"{rows.name(row)}, column {series.name!r}: {series[row].to_list()}; "
                f"expected {expected}"
            )
    present = lists.is_not_null().to_numpy()
    vectors = np.zeros((len(series), width), np.float32)
    vectors[present] = np.array(lists.drop_nulls().to_list(), np.float32).reshape(-1, width)
    return vectors


def _with_padding(rows: np.ndarray, dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros((1, rows.shape[1])), rows]).astype(dtype)
