"""Filters of a log's events: positive feedback, active users and items, k-core."""

import dataclasses

import numpy as np
import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.errors import UserError
from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class FilterConfig(Options):
    """Filters of a log's events, which apply in the order of the fields."""

    positive_only: bool = option(
        False,
        "keep only events with a first feedback of 1, e.g. ratings of at least positive_rating "
        "(implicit feedback)",
    )
    min_user_events: int = option(
        1, "keep users of at least this many events, counted once", at_least=1
    )
    min_item_events: int = option(
        1, "keep items of at least this many events of the kept users", at_least=1
    )
    k_core: int = option(
        0,
        "k of the k-core: after the other filters, repeatedly remove users and items with "
        "fewer events than this, until every user and item has as many; 0 for none",
        at_least=0,
    )


def apply(
    columns: dict[str, pl.Series],
    schema: schema_lib.Schema,
    config: FilterConfig,
    bad_rows: schema_lib.BadRows,
) -> None:
    """Filters a log in place. Events of test users and of later times count too.

    Args:
      columns: columns of an interaction table, as `schema.validate` returns it. They are
        replaced one after the other, so that a large log is never held twice.
      schema: its columns.
      config: the filters.
      bad_rows: counts the removed events by reason.

    Raises:
      UserError: if no event is left.
    """
    if config == FilterConfig():
        return
    stays = np.ones(len(columns["user"]), bool)
    if config.positive_only:
        click = schema.feedback[0].name
        stays = (columns[click] == 1).to_numpy()
        bad_rows.leave_out(f"events_without_{click}", int((~stays).sum()))
    user, item = _codes(columns["user"]), _codes(columns["item"])
    for name, codes, least in (
        ("users", user, config.min_user_events),
        ("items", item, config.min_item_events),
    ):
        frequent = stays & at_least(codes, stays, least)
        bad_rows.leave_out(f"events_of_rare_{name}", int(stays.sum() - frequent.sum()))
        stays = frequent
    if config.k_core:
        in_core = core(user, item, stays, config.k_core)
        bad_rows.leave_out("events_outside_the_k_core", int(stays.sum() - in_core.sum()))
        stays = in_core
    if not stays.any():
        given = ", ".join(
            f"{field.name} is {getattr(config, field.name)}"
            for field in dataclasses.fields(config)
        )
        raise UserError(f"no event of {len(stays):,} is left by the filters ({given})")
    del user, item
    mask = pl.Series(stays)
    for name in columns:
        columns[name] = columns[name].filter(mask)


def at_least(codes: np.ndarray, stays: np.ndarray, least: int) -> np.ndarray:
    """Marks the events of users (or items) with at least `least` events.

    Args:
      codes: int [N], the user of each event, from 0 on.
      stays: bool [N], the events that count.
      least: minimum number of events of a user.

    Returns:
      bool [N].
    """
    if least <= 1:
        return np.ones(len(codes), bool)
    return (np.bincount(codes[stays], minlength=codes.max() + 1) >= least)[codes]


def core(user: np.ndarray, item: np.ndarray, stays: np.ndarray, k: int) -> np.ndarray:
    """Marks the events of the largest sub-log in which every user and every item has k events.

    Args:
      user: int [N], the user of each event, from 0 on.
      item: int [N], the item of each event, from 0 on.
      stays: bool [N], the events of the initial log.
      k: events that each user and each item must have.

    Returns:
      bool [N].
    """
    rows = np.flatnonzero(stays).astype(np.uint32)  # half of the memory of 64 bits
    while True:
        num_rows = len(rows)
        for codes in (user, item):
            codes_of_rows = codes[rows]
            rows = rows[(np.bincount(codes_of_rows, minlength=1) >= k)[codes_of_rows]]
        if len(rows) == num_rows:
            in_core = np.zeros(len(stays), bool)
            in_core[rows] = True
            return in_core


def _codes(ids: pl.Series) -> np.ndarray:
    """Integers from 0 on, not many more than there are ids: int64 or uint32 [N]."""
    if isinstance(ids.dtype, pl.Enum):
        return ids.to_physical().to_numpy()
    if ids.dtype.is_integer() and int(ids.max()) - int(ids.min()) < len(ids):  # type: ignore[arg-type]
        return (ids - ids.min()).to_numpy()
    return ids.rank("dense").to_numpy() - 1
