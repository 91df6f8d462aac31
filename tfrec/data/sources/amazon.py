"""Amazon reviews (McAuley et al.): ratings of products, as of 2014, 2018 and 2023.

https://cseweb.ucsd.edu/~jmcauley/datasets.html (research). Two forms are distinguished:

    JSON lines (.json, .jsonl), 2014 and 2018:
        {"reviewerID": "A2IB", "asin": "1384719342", "overall": 5.0,
         "unixReviewTime": 1393545600, ...}
    JSON lines, 2023: {"user_id": "AGKA", "parent_asin": "B08B", "rating": 5.0,
         "timestamp": 1602133857705, ...}
    CSV, 2014 (`ratings_*.csv`): user, item, rating, unix seconds, without a header
    CSV, 2018 (other names): item, user, rating, unix seconds, without a header
    CSV, 2023: user_id,parent_asin,rating,timestamp (and perhaps more), milliseconds

Times before 2023 are days. Reviews that agree in user, product, time and rating count once,
and the number of dropped reviews is logged. The feedback is `click`, a rating of at least
`positive_rating` stars, and `rating` in stars.
"""

import contextlib
import itertools
import json
import logging
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, delimited, files, json_lines, ratings
from tfrec.errors import UserError

_log = logging.getLogger(__name__)

PATTERNS = ("reviews_*.json", "ratings_*.csv", "*_5.json", "*.jsonl", "*.json", "*.csv")
RECOGNISED = PATTERNS[:2]  # file names that identify this set
_PRODUCT = r"^[0-9A-Za-z]{10}$"


class _Form(NamedTuple):
    """Field names and time unit of one publication."""

    user: str
    item: str
    rating: str
    time: str
    per_second: int

    @property
    def names(self) -> dict[str, str]:
        return {
            "user": self.user,
            "item": self.item,
            "rating": self.rating,
            "time_ms": self.time,
        }


_OF_2014 = _Form("reviewerID", "asin", "overall", "unixReviewTime", 1)
_OF_2023 = _Form("user_id", "parent_asin", "rating", "timestamp", 1000)
_EXAMPLE = (
    '{"reviewerID": "A2IB", "asin": "1384719342", "overall": 5.0, "unixReviewTime": 1393545600}'
)


def read(
    path: str | pathlib.Path,
    config: ratings.RatingConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The ratings as an interaction table.

    Args:
      path: a file (also as .gz), its folder, or an archive.
      config: how ratings become feedback.
      bad_rows: what to do with bad rows; an error by default.

    Returns:
      The validated table (feedback: click, rating) and its schema.

    Raises:
      UserError: naming file, row, field and value.
    """
    return assembly.table(events, path, config or ratings.RatingConfig(), bad_rows)


@contextlib.contextmanager
def events(
    path: str | pathlib.Path, config: ratings.RatingConfig, bad_rows: schema_lib.BadRows
) -> Iterator[assembly.Events]:
    """Opens the log as blocks of rows, to be read within the context."""
    with files.streams(path, PATTERNS) as (log,):
        if log.name.lower().endswith(".csv"):
            form, blocks = _csv(path, log, bad_rows)
        else:
            form = _json_form(log)
            fields: dict[str, type[pl.DataType]] = {
                form.user: pl.String,
                form.item: pl.String,
                form.rating: pl.Float64,
                form.time: pl.Int64,
            }
            blocks = json_lines.read(log, fields, bad_rows, example=_EXAMPLE)
        before = bad_rows.repeated
        yield assembly.Events(
            log.name,
            ratings.schema(),
            _interactions(log.name, blocks, form, config, bad_rows),
            names=form.names,
            once=True,
        )
    if bad_rows.repeated > before:
        dropped = bad_rows.repeated - before
        _log.warning("%s: dropped %d reviews that repeat another", log.name, dropped)


def _interactions(
    name: str,
    blocks: Iterator[pl.DataFrame],
    form: _Form,
    config: ratings.RatingConfig,
    bad_rows: schema_lib.BadRows,
) -> Iterator[tuple[str, pl.DataFrame]]:
    latest = schema_lib.LATEST_MS // 1000 * form.per_second
    unit = "seconds" if form.per_second == 1 else "milliseconds"
    rules = (
        (
            form.item,
            pl.col(form.item).str.contains(_PRODUCT),
            "a product's number of 10 characters",
        ),
        (form.rating, pl.col(form.rating).is_between(1, 5), "a number from 1 to 5"),
        (
            form.time,
            pl.col(form.time).is_between(0, latest),
            f"unix {unit} between the years 1970 and 2100",
        ),
    )
    for rows in blocks:
        for field, valid, expected in rules:
            rows = schema_lib.check(rows, field, valid, expected, name, bad_rows, first_row=1)
        rows = rows.rename({raw: column for column, raw in form.names.items()})
        yield (
            name,
            rows.with_columns(
                *ratings.feedback(config), pl.col("time_ms") * (1000 // form.per_second)
            ),
        )


def _json_form(log: files.Stream) -> _Form:
    """The form of the first line that is not blank; that of 2014 if it is damaged."""
    for _, lines in files.blocks_of_lines(log):
        for line in itertools.islice(filter(bytes.strip, lines.split(b"\n")), 1):
            try:
                record = json.loads(line)
            except ValueError:
                return _OF_2014
            of_2023 = isinstance(record, dict) and _OF_2023.item in record
            return _OF_2023 if of_2023 else _OF_2014
    return _OF_2014


def _csv(
    path: str | pathlib.Path, log: files.Stream, bad_rows: schema_lib.BadRows
) -> tuple[_Form, Iterator[pl.DataFrame]]:
    with log.open() as file:
        first = file.readline(1 << 16).decode("utf-8", "replace")
    if _OF_2023.item in first:
        return _OF_2023, _csv_rows(path, _OF_2023, None, bad_rows)
    form = _Form("user", "item", "rating", "time", 1)
    by_user = log.name.startswith("ratings_")
    names = [form.user, form.item] if by_user else [form.item, form.user]
    fields = first.strip().split(",")
    if len(fields) == 4 and not fields[2].replace(".", "").isdigit():
        raise UserError(
            f"{log.name}, row 1: the columns are {', '.join(fields)}; expected "
            f"{', '.join(_OF_2023.names.values())}, or no header and {', '.join(names)}, "
            "rating, time. Other columns are read with --source=table"
        )
    return form, _csv_rows(path, form, [*names, form.rating, form.time], bad_rows)


def _csv_rows(
    path: str | pathlib.Path, form: _Form, names: list[str] | None, bad_rows: schema_lib.BadRows
) -> Iterator[pl.DataFrame]:
    columns: dict[str, type[pl.DataType]] = {
        form.user: pl.String,
        form.item: pl.String,
        form.rating: pl.Float64,
        form.time: pl.Int64,
    }
    with files.opened(path, PATTERNS) as (log,):
        yield from delimited.blocks(log, columns, bad_rows, names=names)
