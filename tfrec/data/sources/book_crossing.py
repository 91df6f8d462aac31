r"""Book-Crossing (Ziegler et al., 2005): ratings of books, from a crawl in August 2004.

http://www2.informatik.uni-freiburg.de/~cziegler/BX/ (research, with acknowledgement).
`BX-Book-Ratings.csv` has a header, `;` between fields, quotes around them (`\"` within), and
Latin-1 text:

    "User-ID";"ISBN";"Book-Rating"
    "276725";"034545104X";"0"

A rating is an integer from 1 to 10; 0 stands for a book that the user has but did not rate
(62% of the rows). The feedback is `click`, a rating of at least `positive_rating` stars of two
points each, and `rating` in points. There are no times: the order of a user's events is
random, drawn with a seed.
"""

import contextlib
import pathlib
from collections.abc import Iterator

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, delimited, files, ratings

PATTERNS = ("BX-Book-Ratings.csv",)
_POINTS_PER_STAR = 2.0
_COLUMNS = {"User-ID": pl.Int32, "ISBN": pl.String, "Book-Rating": pl.Int32}
_NAMES = {"user": "User-ID", "item": "ISBN", "rating": "Book-Rating"}


def read(
    path: str | pathlib.Path,
    config: ratings.RatingConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The ratings as an interaction table.

    Args:
      path: the file, its folder, or the publisher's archive.
      config: how ratings become feedback.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: click, rating) and its schema.

    Raises:
      UserError: naming file, row, column and value; or a book that a user rates twice.
    """
    return assembly.table(events, path, config or ratings.RatingConfig(), bad_rows)


@contextlib.contextmanager
def events(
    path: str | pathlib.Path, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[assembly.Events]:
    """Opens the log as blocks of rows, to be read within the context."""
    ratings.say_random_order(config, bad_rows)
    with files.opened(path, PATTERNS, "latin-1") as (log,):
        yield assembly.Events(
            log.name,
            ratings.schema("points", order="random"),
            _blocks(log, config, bad_rows),
            names=_NAMES,
            seed=config.order_seed,
        )


def _blocks(
    log: pathlib.Path, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[tuple[str, pl.DataFrame]]:
    for rows in delimited.blocks(log, _COLUMNS, bad_rows, separator=";", quoting="backslash"):
        rows = schema_lib.check(
            rows,
            "Book-Rating",
            pl.col("Book-Rating").is_between(0, 10),
            "an integer from 0 to 10",
            log,
            bad_rows,
            first_row=2,
        ).rename({raw: name for name, raw in _NAMES.items()})
        rows = ratings.rated(rows, config, bad_rows)
        yield log.name, rows.with_columns(*ratings.feedback(config, _POINTS_PER_STAR))
