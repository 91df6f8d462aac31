"""Which events of a log stay: positive ones, those of active users and items, a k-core."""

import dataclasses

import numpy as np
import polars as pl

from tfrec.data import schema as schema_lib
from tfrec.errors import UserError
from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class FilterConfig(Options):
    """Which events of a log stay. The filters apply in the order of the fields."""

    positive_only: bool = option(
        False,
        "keep only events whose first feedback is 1, e.g. ratings of at least positive_rating: "
        "implicit feedback",
    )
    min_user_events: int = option(
        1, "keep users of at least this many events, counted once, events", at_least=1
    )
    min_item_events: int = option(
        1, "then keep items of at least this many events, counted once, events", at_least=1
    )
    k_core: int = option(
        0,
        "then remove users and items of fewer events than this, again and again until none is "
        "left, events; 0 removes none",
        at_least=0,
    )


def apply(
    columns: dict[str, pl.Series],
    schema: schema_lib.Schema,
    config: FilterConfig,
    bad_rows: schema_lib.BadRows,
) -> None:
    """Filters a log in place. All events count, those of test users and of later times too.

    Args:
      columns: of an interaction table, as `schema.validate` returns it. Each is replaced by
        itself, so that a large log is never held twice.
      schema: its columns.
      config: which events stay.
      bad_rows: counts the events that do not, by reason.

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
        kept = stays & at_least(codes, stays, least)
        bad_rows.leave_out(f"events_of_rare_{name}", int(stays.sum() - kept.sum()))
        stays = kept
    if config.k_core:
        kept = core(user, item, stays, config.k_core)
        bad_rows.leave_out("events_outside_the_k_core", int(stays.sum() - kept.sum()))
        stays = kept
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
    """Events of users (or items) that have enough of them.

    Args:
      codes: int [N], the user of each event, from 0 on.
      stays: bool [N], the events that count.
      least: events that a user needs.

    Returns:
      bool [N].
    """
    if least <= 1:
        return np.ones(len(codes), bool)
    return (np.bincount(codes[stays], minlength=codes.max() + 1) >= least)[codes]


def core(user: np.ndarray, item: np.ndarray, stays: np.ndarray, k: int) -> np.ndarray:
    """The events of the largest sub-log in which every user and every item has k events.

    Args:
      user: int [N], the user of each event, from 0 on.
      item: int [N], the item, likewise.
      stays: bool [N], the events to begin with.
      k: events that each user and each item must have.

    Returns:
      bool [N].
    """
    rows = np.flatnonzero(stays).astype(np.uint32)  # half of the memory of 64 bits
    while True:
        before = len(rows)
        for codes in (user, item):
            here = codes[rows]
            rows = rows[(np.bincount(here, minlength=1) >= k)[here]]
        if len(rows) == before:
            left = np.zeros(len(stays), bool)
            left[rows] = True
            return left


def _codes(ids: pl.Series) -> np.ndarray:
    """Integers from 0 on, not many more than there are ids: int64 or uint32 [N]."""
    if isinstance(ids.dtype, pl.Enum):
        return ids.to_physical().to_numpy()
    if ids.dtype.is_integer() and int(ids.max()) - int(ids.min()) < len(ids):  # type: ignore[arg-type]
        return (ids - ids.min()).to_numpy()
    return ids.rank("dense").to_numpy() - 1
