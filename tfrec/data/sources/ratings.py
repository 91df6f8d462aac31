"""Common parts of rating logs: options, feedback columns, and removal of unrated rows."""

import dataclasses
from typing import Literal

import polars as pl

from tfrec import types
from tfrec.data import schema as schema_lib
from tfrec.options import MAX_SEED, Options, option

CLICK = types.FeedbackColumn("click", "binary", "clicks")
_RANDOM_ORDER = (
    "the log has no times: each user's events are in a random order, drawn with --order_seed={}"
)


@dataclasses.dataclass(frozen=True)
class RatingConfig(Options):
    """How ratings become feedback."""

    positive_rating: float = option(
        4.0,
        "a rating of at least this counts as a click, stars of five; a point of "
        "Book-Crossing's ten is half a star; 0: every row is a click, unrated ones too",
        at_least=0,
        at_most=5,
    )
    unrated: Literal["keep", "drop"] = option(
        "keep",
        "Book-Crossing, GoodReads: what to do with rows of rating 0, which stand for a book "
        "that a user has, not for a rating; `keep` counts them as no clicks",
    )
    order_seed: int = option(
        7,
        "seed of the random order of each user's events in a log without times",
        at_least=0,
        at_most=MAX_SEED,
    )


def schema(unit: str = "stars", order: Literal["time", "random"] = "time") -> schema_lib.Schema:
    """The schema of a rating log: feedback click and rating.

    Args:
      unit: unit of the rating.
      order: order of the events of a user.
    """
    rating = types.FeedbackColumn("rating", "amount", unit)
    return schema_lib.Schema(feedback=(CLICK, rating), order=order)


def feedback(config: RatingConfig, per_star: float = 1.0) -> list[pl.Expr]:
    """The columns click and rating of rows with a `rating`.

    Args:
      config: how ratings become feedback.
      per_star: units of the rating for one of five stars.
    """
    rating = pl.col("rating")
    positive = rating >= config.positive_rating * per_star
    return [positive.cast(pl.Float32).alias("click"), rating.cast(pl.Float32)]


def rated(
    rows: pl.DataFrame, config: RatingConfig, bad_rows: schema_lib.BadRows
) -> pl.DataFrame:
    """Returns all rows, or those with a rating other than 0; counts the others."""
    if config.unrated == "keep":
        return rows
    rated_rows = rows.filter(pl.col("rating") != 0)
    bad_rows.leave_out("unrated_rows", rows.height - rated_rows.height)
    return rated_rows


def say_random_order(config: RatingConfig, bad_rows: schema_lib.BadRows) -> None:
    """Adds to the warnings that the order of events is random."""
    bad_rows.remark(_RANDOM_ORDER.format(config.order_seed))
