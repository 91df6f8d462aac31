"""LibraryThing (Zhao, McAuley and King, 2015): reviews of books, with times.

https://cseweb.ucsd.edu/~jmcauley/datasets.html#social_data (research). The archive
lthing_data.tar.gz holds the reviews as Python's literals, one a line:

    reviews.json  {'work': '3206242', 'flags': [], 'unixtime': 1194393600, 'stars': 5.0,
                   'nhelpful': 0, 'time': 'Nov 7, 2007', 'comment': '...', 'user': 'van_stef'}
    reviews.txt   reviews[('3206242', 'van_stef')] = {...}, after a first line without a review

Literals are parsed without running code. Stars go from 0.5 to 5 in halves. The
feedback is `click`, a rating of at least `positive_rating` stars, and `rating` in stars.
Reviews without stars (one in five) are left out; their number is printed and recorded in the
manifest.
"""

import contextlib
import pathlib
import re
from collections.abc import Iterator

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, files, json_lines, ratings

PATTERNS = ("reviews.json", "reviews.txt")
_NAMES = {"user": "user", "item": "work", "time_ms": "unixtime", "rating": "stars"}
_FIELDS: dict[str, type[pl.DataType]] = {
    "user": pl.String,
    "work": pl.String,
    "unixtime": pl.Int64,
    "stars": pl.Float64,
}
_EXAMPLE = "{'work': '3206242', 'unixtime': 1194393600, 'stars': 5.0, 'user': 'van_stef'}"
_KEY = re.compile(r"\s*reviews\[(?P<key>\(.*?\))\] = (?=\{)")
_BEFORE_THE_REVIEWS = re.compile(r"\s*reviews\s*=")


def read(
    path: str | pathlib.Path,
    config: ratings.RatingConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The reviews with stars as an interaction table.

    Args:
      path: the file (also as .gz), its folder, or the publisher's archive.
      config: how ratings become feedback.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: click, rating) and its schema.

    Raises:
      UserError: naming file, row, field and value; or for a repeated review.
    """
    return assembly.table(events, path, config or ratings.RatingConfig(), bad_rows)


@contextlib.contextmanager
def events(
    path: str | pathlib.Path, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[assembly.Events]:
    """Opens the log as blocks of rows, to be read within the context."""
    with files.streams(path, PATTERNS) as (log,):
        yield assembly.Events(
            log.name, ratings.schema(), _interactions(log, config, bad_rows), names=_NAMES
        )


def _interactions(
    log: files.Stream, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[tuple[str, pl.DataFrame]]:
    for first_row, block in files.blocks_of_lines(log):
        lines = block.decode().split("\n")
        if first_row == 1 and _BEFORE_THE_REVIEWS.match(lines[0]):
            lines[0] = ""
        # Line by line: no faster parser reads Python's literals as strictly.
        rows = json_lines.by_line(
            lines,
            first_row,
            _review,
            _FIELDS,
            log.name,
            bad_rows,
            example=f"a line such as {_EXAMPLE}",
            optional=("stars",),
        )
        rated = rows.filter(pl.col("stars").is_not_null())
        bad_rows.leave_out("reviews_without_stars", rows.height - rated.height)
        for field, valid, expected in (
            ("stars", pl.col("stars").is_between(0.5, 5.0), "a number between 0.5 and 5.0"),
            (
                "unixtime",
                pl.col("unixtime").is_between(0, schema_lib.LATEST_MS // 1000),
                "unix seconds between the years 1970 and 2100",
            ),
        ):
            rated = schema_lib.check(
                rated, field, valid, expected, log.name, bad_rows, first_row=1
            )
        rated = rated.rename({raw: name for name, raw in _NAMES.items()})
        yield log.name, rated.with_columns(*ratings.feedback(config), pl.col("time_ms") * 1000)


def _review(line: str) -> object:
    """The review of a line of either file.

    Raises:
      ValueError, SyntaxError: if it is not one.
    """
    key = _KEY.match(line)
    if key is None:
        return json_lines.literal(line)
    json_lines.literal(key["key"])
    return json_lines.literal(line[key.end() :])
