"""Taobao UserBehavior: nine days of a shop, behaviours of about a million users.

https://tianchi.aliyun.com/dataset/649 (Alibaba; free for research, an account is needed).
`UserBehavior.csv` has no header: user, item, category, behaviour, unix seconds. A behaviour
is `pv` (looked at), `fav`, `cart` or `buy`, and each has a separate row, often without a
`pv` before it.

Every row is a step at which the user saw the item, and its behaviour is the feedback:
`buy` (the reward: the paper counts transactions, SPEC 1.10), `fav` and `cart`, all 0 where
it is `pv`. So CTR is the share of buys among all rows, .021 on real rows, which is where
the paper's tables are (.019 to .024). Merging a buy into an earlier `pv` would require
a guess of which one, and would drop the buys without one.

A shop has millions of items and a sample of its users sees most of them once, so that
hardly an item of a test user was ever seen in training. `taobao_item=category` makes the
category (9,439 in the whole set) what is shown and recommended. Events that then agree in
all columns count once, and the number of dropped events is logged.

The publisher's window is 2017-11-25 to 2017-12-03, Beijing time. The file holds rows
outside of it, some of them years away; they are bad rows, to be skipped on request.
"""

import dataclasses
import logging
import pathlib
from typing import Literal

import polars as pl

from tfrec import types
from tfrec.data import schema as schema_lib
from tfrec.data.sources import delimited, files
from tfrec.options import Options, option

_log = logging.getLogger(__name__)

PATTERNS = ("UserBehavior.csv",)
WINDOW = (1_511_539_200, 1_512_316_799)  # unix seconds, first and last, of Beijing's days
_COLUMNS = {
    "user": pl.Int32,
    "item": pl.Int32,
    "category": pl.Int32,
    "behaviour": pl.String,
    "timestamp": pl.Int64,
}
_FEEDBACK = (
    types.FeedbackColumn("buy", "binary", "buys"),
    types.FeedbackColumn("fav", "binary", "favourites"),
    types.FeedbackColumn("cart", "binary", "additions to the cart"),
)
_RULES = (
    (
        "behaviour",
        pl.col("behaviour").is_in(["pv", "fav", "cart", "buy"]),
        "pv, fav, cart or buy",
    ),
    (
        "timestamp",
        pl.col("timestamp").is_between(*WINDOW),
        f"unix seconds of the published days, {WINDOW[0]} to {WINDOW[1]} "
        "(2017-11-25 to 2017-12-03, Beijing time)",
    ),
)


@dataclasses.dataclass(frozen=True)
class TaobaoConfig(Options):
    """The unit of recommendation: items or categories."""

    taobao_item: Literal["item", "category"] = option(
        "item",
        "Taobao: what is shown at a step: the item; or its category, which suits a sample of "
        "the users, where most items occur once",
    )


def read(
    path: str | pathlib.Path,
    config: TaobaoConfig | None = None,
    bad_rows: schema_lib.BadRows | None = None,
) -> tuple[pl.DataFrame, schema_lib.Schema]:
    """The behaviours as an interaction table.

    Args:
      path: the file, its folder, or the publisher's archive.
      config: unit of recommendation.
      bad_rows: what to do with bad rows, those outside the published days among them; an
        error by default.

    Returns:
      The validated table (feedback: buy, fav, cart; the category, unless it is the item) and
      its schema.

    Raises:
      UserError: naming file, row, column and value.
    """
    config, bad_rows = config or TaobaoConfig(), bad_rows or schema_lib.BadRows()
    schema = schema_lib.Schema(_FEEDBACK, category=config.taobao_item == "item")
    before = bad_rows.repeated
    with files.opened(path, PATTERNS) as (log,):

        def interactions(rows: pl.DataFrame, bad_rows: schema_lib.BadRows) -> pl.DataFrame:
            return _interactions(rows, config, log, bad_rows)

        names = list(_COLUMNS)
        table = delimited.read_grouped(
            log, _COLUMNS, interactions, schema, bad_rows, user="user", names=names
        )
        if table is None:
            rows = interactions(delimited.read(log, _COLUMNS, bad_rows, names=names), bad_rows)
            shown = {"time_ms": "timestamp"}
            table = schema_lib.validate(rows, schema, log, bad_rows, first_row=1, names=shown)
    if bad_rows.repeated > before:
        dropped = bad_rows.repeated - before
        _log.warning("%s: dropped %d events of a category at the same time", path, dropped)
    return table, schema


def _interactions(
    rows: pl.DataFrame,
    config: TaobaoConfig,
    log: pathlib.Path,
    bad_rows: schema_lib.BadRows,
) -> pl.DataFrame:
    """Rows of the interaction table, in the order of the file."""
    for column, valid, expected in _RULES:
        rows = schema_lib.check(rows, column, valid, expected, log, bad_rows, first_row=1)
    rows = rows.select(
        pl.col(f"^{schema_lib.ROW}$"),
        "user",
        pl.col(config.taobao_item).alias("item"),
        pl.col("timestamp").mul(1000).alias("time_ms"),
        *(
            (pl.col("behaviour") == column.name).cast(pl.Float32).alias(column.name)
            for column in _FEEDBACK
        ),
        *(["category"] if config.taobao_item == "item" else []),
    )
    if config.taobao_item == "item":
        return rows
    event = ["user", "item", "time_ms", *(column.name for column in _FEEDBACK)]
    once = rows.filter(pl.struct(event).is_first_distinct())
    bad_rows.repeated += rows.height - once.height
    return once
