import itertools

import numpy as np
import polars as pl
import pytest

from tfrec import types
from tfrec.data import filters, schema
from tfrec.errors import UserError

SCHEMA = schema.Schema(feedback=(types.FeedbackColumn("click", "binary", "clicks"),))
# Item c has two events, then one after the removal of user 3, who has a second event of item d.
EVENTS = [
    (1, "a", 1),
    (1, "b", 1),
    (2, "a", 1),
    (2, "b", 0),
    (2, "c", 1),
    (3, "c", 1),
    (3, "d", 0),
]


def table(events=EVENTS):
    user, item, click = zip(*events, strict=True)
    return pl.DataFrame(
        {
            "user": user,
            "item": item,
            "time_ms": range(len(user)),
            "click": pl.Series(click, dtype=pl.Float32),
        }
    )


def filter_events(events=EVENTS, **options):
    bad_rows = schema.BadRows()
    left = apply_filters(table(events), filters.FilterConfig(**options), bad_rows)
    return [EVENTS[time][:2] for time in left["time_ms"]], bad_rows.left_out


def apply_filters(frame, config, bad_rows):
    columns = {series.name: series for series in frame}
    filters.apply(columns, SCHEMA, config, bad_rows)
    return pl.DataFrame(columns)


def test_nothing_is_filtered_by_default():
    assert filter_events() == ([event[:2] for event in EVENTS], {})


def test_positive_events():
    left, out = filter_events(positive_only=True)
    assert left == [(1, "a"), (1, "b"), (2, "a"), (2, "c"), (3, "c")]
    assert out == {"events_without_click": 2}


def test_the_core_is_counted_again_until_nothing_changes():
    left, out = filter_events(k_core=2)
    assert left == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert out == {"events_outside_the_k_core": 3}


def test_activity_is_counted_once():
    left, out = filter_events(min_item_events=2)  # user 3 keeps one event
    assert left == [event[:2] for event in EVENTS[:6]]
    assert out == {"events_of_rare_items": 1}
    left, out = filter_events(min_user_events=3)
    assert left == [(2, "a"), (2, "b"), (2, "c")]
    assert out == {"events_of_rare_users": 4}


def test_items_are_counted_after_the_users_have_gone():
    left, out = filter_events(min_user_events=3, min_item_events=1, positive_only=False)
    assert len(left) == 3
    with pytest.raises(UserError, match="no event of 7 is left by the filters .*k_core is 2"):
        filter_events(min_user_events=3, k_core=2)
    assert out == {"events_of_rare_users": 4}


def test_ids_of_every_kind_give_the_same_core():
    events = [(n % 2, n % 3, 1) for n in range(6)] + [(10**12, 2, 1), (0, 7, 1)]
    ids = table(events)
    text = ids.with_columns(pl.col("user", "item").cast(pl.String))
    enum = text.with_columns(
        pl.col(name).cast(pl.Enum(text[name].unique().sort())) for name in ("user", "item")
    )
    config = filters.FilterConfig(k_core=2)
    times = [
        apply_filters(frame, config, schema.BadRows())["time_ms"].to_list()
        for frame in (ids, text, enum)
    ]
    assert times[0] == times[1] == times[2]
    assert 0 < len(times[0]) < len(events)


def test_the_core_is_the_largest_one():
    """Against all sub-logs of a small log, in which users and items are chosen."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 5, 24), rng.integers(0, 5, 24)
    best = np.zeros(24, bool)
    for users, items in itertools.product(range(32), range(32)):
        inside = ((users >> user) & 1).astype(bool) & ((items >> item) & 1).astype(bool)
        enough = all((np.unique_counts(ids[inside]).counts >= 4).all() for ids in (user, item))
        if enough and inside.sum() > best.sum():
            best = inside
    in_core = filters.core(user, item, np.ones(24, bool), 4)
    assert in_core.tolist() == best.tolist()
    assert 0 < in_core.sum() < 24
