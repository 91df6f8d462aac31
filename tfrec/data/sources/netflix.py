"""Netflix Prize (Bennett and Lanning, 2007): ratings of films, with dates.

https://www.kaggle.com/datasets/netflix-inc/netflix-prize-data (research; an account is
needed). The rows of a film stand below its number:

    1:
    1488844,3,2005-09-06
    822109,5,2005-05-13

combined_data_1.txt to combined_data_4.txt hold some thousand films each; of the first
publication, training_set.tar has a file for each film, mv_0000001.txt and so on. A row is
user, stars (1 to 5) and day. The feedback is `click`, a rating of at least `positive_rating`
stars, and `rating` in stars. Ratings of one user and day keep the order of the films.
"""

import contextlib
import io
import pathlib
from collections.abc import Iterator

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, files, ratings

PATTERNS = ("combined_data_*.txt", "mv_*.txt")
_NAMES = {"user": "user", "item": "film", "time_ms": "date", "rating": "stars"}
_FILM = r"^[0-9]{1,9}:$"
_ROW = r"^(?<user>[0-9]{1,9}),(?<stars>[1-5]),(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})$"


def read(
    path: str | pathlib.Path,
    config: ratings.RatingConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The ratings as an interaction table.

    Args:
      path: a folder or an archive with files of one of the two publications, or one file.
      config: how ratings become feedback.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: click, rating) and its schema.

    Raises:
      UserError: naming file, row and value; or for a repeated rating.
    """
    return assembly.table(events, path, config or ratings.RatingConfig(), bad_rows)


@contextlib.contextmanager
def events(
    path: str | pathlib.Path, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[assembly.Events]:
    """Opens the log as blocks of rows, to be read within the context."""
    with files.streams(path, PATTERNS, several=True) as logs:
        yield assembly.Events(
            pathlib.Path(path).name,
            ratings.schema(),
            _interactions(logs, config, bad_rows),
            names=_NAMES,
        )


def _interactions(
    logs: list[files.Stream], config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[tuple[str, pl.DataFrame]]:
    for log in logs:
        film: int | None = None  # at the end of the previous block
        for first_row, block in files.blocks_of_lines(log):
            lines = pl.read_lines(io.BytesIO(block), name="line")
            lines = lines.with_row_index(schema_lib.ROW, offset=first_row)
            lines = lines.with_columns(pl.col("line").str.strip_chars_end(" "))
            lines = lines.filter(pl.col("line") != "")
            is_film = pl.col("line").str.contains(_FILM)
            number = pl.when(is_film).then(pl.col("line").str.head(-1).cast(pl.Int32))
            lines = lines.with_columns(
                pl.coalesce(number.forward_fill(), pl.lit(film, pl.Int32)).alias("film")
            )
            film = lines["film"][-1] if lines.height else film
            yield log.name, _ratings(lines.filter(~is_film), log.name, config, bad_rows)


def _ratings(
    rows: pl.DataFrame,
    name: str,
    config: ratings.RatingConfig,
    bad_rows: schema_lib.BadRows,
) -> pl.DataFrame:
    """Rows of the interaction table."""
    rows = schema_lib.check(
        rows,
        "line",
        pl.col("film").is_not_null(),
        "the number of a film and a colon, such as 1:, before the first rating",
        name,
        bad_rows,
        first_row=1,
        shown_as="the row",
    )
    rows = rows.with_columns(pl.col("line").str.extract_groups(_ROW).alias("field"))
    rows = rows.unnest("field").with_columns(
        pl.col("date").str.to_datetime("%Y-%m-%d", time_unit="ms", strict=False)
    )
    rows = schema_lib.check(
        rows,
        "line",
        pl.col("user").is_not_null() & pl.col("date").is_not_null(),
        "user, stars from 1 to 5 and day, such as 1488844,3,2005-09-06",
        name,
        bad_rows,
        first_row=1,
        shown_as="the row",
    )
    rows = rows.select(
        schema_lib.ROW,
        pl.col("user").cast(pl.Int32),
        pl.col("film").alias("item"),
        pl.col("date").dt.epoch("ms").alias("time_ms"),
        pl.col("stars").cast(pl.Int8).alias("rating"),
    )
    return rows.with_columns(*ratings.feedback(config))
