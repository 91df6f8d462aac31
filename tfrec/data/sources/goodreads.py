"""GoodReads (UCSD Book Graph; Wan and McAuley, 2018): books on the shelves of readers.

https://cseweb.ucsd.edu/~jmcauley/datasets/goodreads.html (academic use). Two forms:

    goodreads_interactions_dedup.json.gz (and those of one genre): JSON lines,
        {"user_id": "8842...", "book_id": "24375664", "is_read": true, "rating": 5,
         "date_added": "Fri Aug 25 13:55:02 -0700 2017", ...}
    goodreads_interactions.csv: user_id,book_id,is_read,rating,is_reviewed; without times;
        the numbers of users and books are not those of the JSON files

A rating is an integer from 1 to 5; 0 stands for a book that is shelved and not rated. The
feedback is `click`, a rating of at least `positive_rating` stars, `rating` in stars and `read`.
The time is when the book was shelved; events of the CSV file are in a random order,
drawn with a seed.
"""

import contextlib
import pathlib
from collections.abc import Iterator

import polars as pl

from tfrec import types
from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, delimited, files, json_lines, ratings

PATTERNS = (
    "goodreads_interactions_dedup.json",
    "goodreads_interactions*.json",
    "goodreads_interactions.csv",
)
_NAMES = {"user": "user_id", "item": "book_id", "time_ms": "date_added", "read": "is_read"}
_JSON_FIELDS: dict[str, type[pl.DataType]] = {
    "user_id": pl.String,
    "book_id": pl.String,
    "is_read": pl.Boolean,
    "rating": pl.Int64,
    "date_added": pl.String,
}
_CSV_COLUMNS = {
    "user_id": pl.Int32,
    "book_id": pl.Int32,
    "is_read": pl.Int32,
    "rating": pl.Int32,
}
_EXAMPLE = (
    '{"user_id": "8842", "book_id": "24", "is_read": true, "rating": 5, '
    '"date_added": "Fri Aug 25 13:55:02 -0700 2017"}'
)
_READ = types.FeedbackColumn("read", "binary", "books read")


def read(
    path: str | pathlib.Path,
    config: ratings.RatingConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The interactions as an interaction table.

    Args:
      path: a file (also as .gz), its folder, or an archive.
      config: how ratings become feedback.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: click, rating, read) and its schema.

    Raises:
      UserError: naming file, row, field and value; or for a repeated interaction.
    """
    return assembly.table(events, path, config or ratings.RatingConfig(), bad_rows)


@contextlib.contextmanager
def events(
    path: str | pathlib.Path, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[assembly.Events]:
    """Opens the log as blocks of rows, to be read within the context."""
    with files.streams(path, PATTERNS) as (log,):
        is_csv = log.name.endswith(".csv")
        if is_csv:
            ratings.say_random_order(config, bad_rows)
        feedback = (*ratings.schema().feedback, _READ)
        blocks = _csv_rows(path, bad_rows) if is_csv else _json_rows(log, bad_rows)
        yield assembly.Events(
            log.name,
            schema_lib.Schema(feedback, order="random" if is_csv else "time"),
            _interactions(log.name, blocks, config, bad_rows),
            names=_NAMES,
            seed=config.order_seed,
        )


def _interactions(
    name: str,
    blocks: Iterator[pl.DataFrame],
    config: ratings.RatingConfig,
    bad_rows: schema_lib.BadRows,
) -> Iterator[tuple[str, pl.DataFrame]]:
    for rows in blocks:
        rows = schema_lib.check(
            rows,
            "rating",
            pl.col("rating").is_between(0, 5),
            "an integer from 0 to 5",
            name,
            bad_rows,
            first_row=1,
        )
        rows = ratings.rated(rows, config, bad_rows)
        yield name, rows.with_columns(*ratings.feedback(config))


def _json_rows(log: files.Stream, bad_rows: schema_lib.BadRows) -> Iterator[pl.DataFrame]:
    for rows in json_lines.read(log, _JSON_FIELDS, bad_rows, example=_EXAMPLE):
        book = pl.col("book_id").cast(pl.Int32, strict=False)
        time = pl.col("date_added").str.to_datetime(
            "%a %b %d %H:%M:%S %z %Y", time_unit="ms", strict=False
        )
        for field, value, expected in (
            ("book_id", book, "an integer within 32 bits"),
            ("date_added", time, "a time such as Fri Aug 25 13:55:02 -0700 2017"),
        ):
            rows = schema_lib.check(
                rows, field, value.is_not_null(), expected, log.name, bad_rows, first_row=1
            )
        yield rows.select(
            schema_lib.ROW,
            pl.col("user_id").alias("user"),
            book.alias("item"),
            time.dt.epoch("ms").alias("time_ms"),
            "rating",
            pl.col("is_read").cast(pl.Float32).alias("read"),
        )


def _csv_rows(path: str | pathlib.Path, bad_rows: schema_lib.BadRows) -> Iterator[pl.DataFrame]:
    with files.opened(path, PATTERNS) as (log,):
        for rows in delimited.blocks(log, _CSV_COLUMNS, bad_rows):
            yield rows.rename({"user_id": "user", "book_id": "item", "is_read": "read"})
