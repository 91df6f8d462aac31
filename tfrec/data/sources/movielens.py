"""MovieLens: 25M, 20M, 32M and latest (ratings.csv), 1M and 10M (`::`), 100K (tabs).

https://grouplens.org/datasets/movielens/. A rating of `positive_rating` stars or more
counts as a click, as positive ratings do in the paper's experiments (SPEC 1.10: they are
the positive feedback). The second feedback column is the rating itself, in stars.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, delimited, files, ratings

PATTERNS = ("ratings.csv", "ratings.dat", "u.data")
_COLUMNS = {
    "userId": pl.Int32,
    "movieId": pl.Int32,
    "rating": pl.Float32,
    "timestamp": pl.Int64,
}
_NAMES = {"user": "userId", "item": "movieId", "time_ms": "timestamp"}
_RULES = (
    ("rating", pl.col("rating").is_between(0.5, 5.0), "a number between 0.5 and 5.0"),
    (
        "timestamp",
        pl.col("timestamp").is_between(0, schema_lib.LATEST_MS // 1000),
        "unix seconds between the years 1970 and 2100",
    ),
)


def read(
    path: str | pathlib.Path,
    config: ratings.RatingConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The ratings as an interaction table.

    Args:
      path: the ratings file, its folder, or the publisher's archive.
      config: how ratings become feedback.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: click, rating) and its schema.

    Raises:
      UserError: naming file, row, column and value.
    """
    config, bad_rows = config or ratings.RatingConfig(), bad_rows or schema_lib.BadRows()
    schema = ratings.schema()
    with _opened(path) as log:

        def interactions(rows: pl.DataFrame, bad_rows: schema_lib.BadRows) -> pl.DataFrame:
            return _interactions(rows, config, log.text, bad_rows, log.first_row)

        table = delimited.read_grouped(
            log.text, _COLUMNS, interactions, schema, bad_rows, user="userId", **log.layout
        )
        if table is None:
            table = assembly.gathered(_events(log, config, bad_rows), bad_rows)
    return table, schema


@contextlib.contextmanager
def events(
    path: str | pathlib.Path, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[assembly.Events]:
    """Opens the log as blocks of rows, to be read within the context."""
    with _opened(path) as log:
        yield _events(log, config, bad_rows)


class _Log(NamedTuple):
    """A file with columns separated by one character.

    Attributes:
      text: path of the file, which has the name of the log.
      layout: its separator, and the names of its columns if it has no header.
      first_row: row number of its first rating.
    """

    text: pathlib.Path
    layout: dict[str, Any]
    first_row: int


@contextlib.contextmanager
def _opened(path: str | pathlib.Path) -> Iterator[_Log]:
    with files.opened(path, PATTERNS) as (log,), _single_separator(log) as text:
        if log.suffix == ".csv":
            yield _Log(text, {"separator": ","}, first_row=2)
        else:
            yield _Log(text, {"separator": "\t", "names": list(_COLUMNS)}, first_row=1)


def _events(
    log: _Log, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> assembly.Events:
    blocks = (
        (log.text.name, _interactions(rows, config, log.text, bad_rows, log.first_row))
        for rows in delimited.blocks(log.text, _COLUMNS, bad_rows, **log.layout)
    )
    return assembly.Events(log.text.name, ratings.schema(), blocks, names=_NAMES)


def _interactions(
    rows: pl.DataFrame,
    config: ratings.RatingConfig,
    log: pathlib.Path,
    bad_rows: schema_lib.BadRows,
    first_row: int,
) -> pl.DataFrame:
    """Rows of the interaction table, in the order of the file."""
    for column, valid, expected in _RULES:
        rows = schema_lib.check(
            rows, column, valid, expected, log, bad_rows, first_row=first_row
        )
    return rows.select(
        pl.col(f"^{schema_lib.ROW}$"),
        pl.col("userId").alias("user"),
        pl.col("movieId").alias("item"),
        pl.col("timestamp").mul(1000).alias("time_ms"),
        *ratings.feedback(config),
    )


@contextlib.contextmanager
def _single_separator(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """`::` becomes a tab, since the separator of delimited text is one character."""
    if path.suffix != ".dat":
        yield path
        return
    with files.scratch_copy(path) as copy:
        with path.open("rb") as source, copy.open("wb") as out:
            while lines := source.readlines(1 << 22):
                out.write(b"".join(lines).replace(b"::", b"\t"))
        yield copy
