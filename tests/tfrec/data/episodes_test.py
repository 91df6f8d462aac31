import dataclasses

import numpy as np
import polars as pl
import pytest

from tfrec import types
from tfrec.data import episodes, schema
from tfrec.errors import UserError

SCHEMA = schema.Schema(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("watch", "amount", "seconds"),
    )
)
MINUTE = 60_000
EVERYTHING = episodes.PrepareConfig(
    session_gap_minutes=10,
    max_steps=3,
    max_sessions_per_user=0,
    test_fraction=0.0,
    validation_fraction=0.0,
)


def log(rows):
    """(user, item, minute) rows -> a validated table; watch is ten times the item."""
    user, item, minute = zip(*rows, strict=True)
    frame = pl.DataFrame({"user": user, "item": item}).with_columns(
        time_ms=pl.Series(minute, dtype=pl.Int64) * MINUTE,
        click=1,
        watch=pl.col("item") * 10.0,
    )
    return schema.validate(frame, SCHEMA, "log.csv")


def prepare(rows, **changes):
    return episodes.prepare(log(rows), SCHEMA, dataclasses.replace(EVERYTHING, **changes))


def test_a_gap_starts_a_session_and_the_cap_cuts_one():
    rows = [("a", 1, minute) for minute in (0, 10, 21)]  # a pause of 10 stays, 11 parts
    rows += [("b", 1, minute) for minute in (0, 1, 2, 3, 4, 90)]
    sessions = prepare(rows).sessions
    assert sessions.user.tolist() == [1, 1, 2, 2]
    assert sessions.first.tolist() == [0, 0, 3, 3]
    assert sessions.start.tolist() == [0, 2, 3, 8]
    assert sessions.length.tolist() == [2, 1, 3, 1]
    # b's first session of 5 was cut at 3; what followed is history, not a session.
    assert sessions.exited.tolist() == [True, True, False, True]
    assert sessions.start_ms.tolist() == [0, 21 * MINUTE, 0, 90 * MINUTE]
    assert sessions.end_ms.tolist() == [10 * MINUTE, 21 * MINUTE, 4 * MINUTE, 90 * MINUTE]


def test_a_session_that_just_reaches_the_cap_may_have_been_cut():
    assert prepare([("a", 1, 0), ("a", 2, 1), ("a", 3, 2)]).sessions.exited.tolist() == [False]


def test_short_sessions_leave_but_stay_as_events():
    prepared = prepare([("a", 1, 0), ("a", 2, 60), ("a", 3, 61)], min_steps=2)
    assert prepared.sessions.start.tolist() == [1]
    assert prepared.sessions.first.tolist() == [0]
    assert prepared.events["item"].to_list() == [1, 2, 3]
    assert prepared.dropped["short_sessions"] == 1


def test_the_latest_sessions_of_each_user_stay():
    rows = [("a", 1, 60 * hour) for hour in range(4)] + [("b", 1, 0)]
    prepared = prepare(rows, max_sessions_per_user=2)
    assert prepared.sessions.start.tolist() == [2, 3, 4]
    assert prepared.dropped["sessions_beyond_the_latest"] == 2


def test_rare_items_leave_with_their_rows_after_sessions_are_cut():
    # The pause between items 1 and 2 is over 10 minutes only where item 9 is not looked at.
    rows = [("a", 1, 0), ("a", 9, 8), ("a", 2, 16), ("b", 1, 0), ("b", 2, 1)]
    prepared = prepare(rows, max_items=2)
    assert prepared.vocabulary.items.tolist() == [1, 2]
    assert prepared.events["item"].to_list() == [1, 2, 1, 2]
    assert prepared.sessions.start.tolist() == [0, 2]
    assert prepared.sessions.length.tolist() == [2, 2]
    assert prepared.dropped["rows_of_unknown_or_rare_items"] == 1


def test_of_equally_frequent_items_the_smaller_id_stays():
    prepared = prepare([("a", 5, 0), ("a", 3, 1), ("a", 4, 2)], max_items=2)
    assert prepared.vocabulary.items.tolist() == [3, 4]


def test_items_of_too_few_training_rows_leave():
    rows = [("a", 1, 0), ("a", 2, 1), ("b", 1, 0), ("b", 3, 1), ("b", 3, 2)]
    prepared = prepare(rows, min_item_rows=2)
    assert prepared.vocabulary.items.tolist() == [1, 3]
    assert prepared.dropped["rows_of_unknown_or_rare_items"] == 1
    with pytest.raises(UserError, match="no training session is left"):
        prepare(rows, min_item_rows=3)


def test_items_and_scales_come_from_training_rows_alone():
    rows = [(f"u{n}", item, n) for n in range(10) for item in (1, 3)]
    rows += [(f"u{n}", 50 + n, n) for n in range(10)]  # each user has an item of their own
    prepared = prepare(rows, test_fraction=0.5)
    sessions = prepared.sessions
    train_users = np.unique(sessions.user[sessions.split == 0]) - 1
    assert len(train_users) == 5
    assert prepared.vocabulary.items.tolist() == [1, 3, *(50 + train_users)]
    train_watch = np.array([[10, 30, 10 * (50 + n)] for n in train_users], float)
    click, watch = prepared.spec.feedback
    assert click.scale == 1.0
    assert watch.scale == pytest.approx(train_watch.std())


def test_users_are_split_once_by_the_seed():
    rows = [(f"u{n:03}", 1, minute) for n in range(100) for minute in (0, 100)]
    split = {"test_fraction": 0.3, "validation_fraction": 0.1}
    sessions = prepare(rows, **split).sessions
    users = [set(sessions.user[sessions.split == part]) for part in range(3)]
    assert [len(part) for part in users] == [63, 7, 30]
    assert len(set.union(*users)) == 100
    assert (prepare(rows, **split).sessions.split == sessions.split).all()
    assert (prepare(rows, **split, seed=8).sessions.split != sessions.split).any()


def test_a_split_by_time_keeps_sessions_apart():
    # 20 users, one session every 100 minutes each, of two steps a minute apart.
    rows = [(f"u{n}", 1, 100 * s + n + m) for n in range(20) for s in range(10) for m in (0, 1)]
    sessions = prepare(rows, split="time", test_fraction=0.3, validation_fraction=0.2).sessions
    parts = [sessions.take(sessions.split == part) for part in range(3)]
    assert parts[0].end_ms.max() < parts[1].start_ms.min()
    assert parts[1].end_ms.max() < parts[2].start_ms.min()
    # 200 sessions: 60 to test on, 28 of the 140 to tune on; one lies across each cut.
    assert len(parts[2].user) == 60
    assert 200 - sum(len(part.user) for part in parts) <= 4
    assert abs(len(parts[1].user) - 28) <= 2


def test_given_times_are_kept_and_what_lies_between_them_is_left_out():
    prepared = prepare(
        [("a", 1, minute) for minute in (0, 100, 118, 122, 200, 300, 400)],
        split="time",
        session_gap_minutes=5,
        train_until="1970-01-01T02:00",
        test_from="1970-01-01T05:00",
    )
    sessions = prepared.sessions
    # The session from 118 to 122 lies across the cut at 120, that at 200 in between.
    assert sessions.start_ms.tolist() == [0, 100 * MINUTE, 300 * MINUTE, 400 * MINUTE]
    assert sessions.split.tolist() == [0, 0, 2, 2]
    assert prepared.dropped["sessions_between_the_splits"] == 2


def test_times_that_would_leak_are_rejected():
    with pytest.raises(UserError, match="leaks time: test_from is 1970-01-01T01:00:00"):
        prepare(
            [("a", 1, 0), ("a", 1, 100)],
            split="time",
            train_until="1970-01-01T02:00",
            test_from="1970-01-01T01:00",
        )


def test_sessions_that_leak_are_rejected():
    sessions = prepare([("a", 1, 0), ("a", 1, 100), ("b", 1, 50)]).sessions
    with pytest.raises(UserError, match="train and test share 1 users"):
        episodes.reject_leak(sessions._replace(split=np.array([0, 2, 0])), "user")
    by_time = sessions._replace(split=np.array([0, 0, 2]))
    with pytest.raises(
        UserError, match="train and test, the first lasts until 1970-01-01T01:40"
    ):
        episodes.reject_leak(by_time, "time")
    episodes.reject_leak(sessions._replace(split=np.array([0, 2, 0])), "time")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_steps": 0}, "max_steps is 0; expected at least 1"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0; expected at least 0, below 1"),
        ({"min_steps": 4}, "min_steps is 4; expected at most max_steps = 3"),
        ({"session_gap_minutes": 0.0}, "session_gap_minutes is 0.0"),
        ({"max_items": -1}, "max_items is -1"),
        ({"min_item_rows": 0}, "min_item_rows is 0; expected at least 1"),
        ({"test_from": "2020-01-01"}, "train_until and test_from need split=time"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EVERYTHING, **change)


def test_a_time_that_is_none():
    with pytest.raises(UserError, match="train_until is 'soon'; expected an ISO time"):
        prepare([("a", 1, 0)], split="time", train_until="soon")


def test_nothing_left_to_train_on():
    with pytest.raises(UserError, match="no training session is left; lower min_steps"):
        prepare([("a", 1, 0)], min_steps=2)


def test_columns_given_as_a_dict_are_let_go():
    frame = log([("a", 1, 0)])
    columns = {series.name: series for series in frame}
    episodes.prepare(columns, SCHEMA, EVERYTHING)
    assert "user" not in columns and "time_ms" not in columns


@pytest.mark.parametrize(
    ("watch", "scale"),
    [([7.0] * 3, 7.0), ([0.1] * 3, 0.1), ([0.0] * 3, 1.0), ([1.0, 2.0, 3.0], (2 / 3) ** 0.5)],
)
def test_the_scale_of_an_amount_follows_its_unit(watch, scale):
    for unit in (1.0, 2.0**-27, 2.0**30):
        frame = log([("a", 1, 0), ("a", 2, 1), ("a", 3, 2)]).with_columns(
            watch=pl.Series(np.array(watch) * unit, dtype=pl.Float32)
        )
        actual_scale = episodes.prepare(frame, SCHEMA, EVERYTHING).spec.feedback[1].scale
        assert actual_scale == pytest.approx(scale * unit if any(watch) else 1.0, rel=1e-6)


def test_amounts_too_small_for_arithmetic_are_rejected():
    frame = log([("a", 1, 0), ("a", 2, 1)]).with_columns(
        watch=pl.Series([1e-32, 2e-32], dtype=pl.Float32)
    )
    with pytest.raises(UserError, match="feedback column 'watch': no amount .* smaller unit"):
        episodes.prepare(frame, SCHEMA, EVERYTHING)
