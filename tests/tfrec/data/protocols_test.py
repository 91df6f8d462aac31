"""Splits of small logs, worked by hand."""

import numpy as np
import pytest

from tfrec.data import protocols
from tfrec.data.sequences import Sequences
from tfrec.errors import UserError


def make(rows, times=None):
    offsets = np.cumsum([0, *map(len, rows)])
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(items, offsets, 20, times)


def as_lists(rows):
    return [rows.row(u).tolist() for u in range(len(rows))]


def test_leave_one_out():
    split = protocols.leave_one_out(make([[1, 2, 3, 4], [5, 6], [], [7, 8, 9]]))
    # Two events are too few to hold two out and have one to read.
    assert as_lists(split.train) == [[1, 2], [5, 6], [], [7]]
    assert split.validation.users.tolist() == split.test.users.tolist() == [0, 3]
    assert as_lists(split.validation.history) == [[1, 2], [7]]
    assert as_lists(split.validation.targets) == [[3], [8]]
    assert as_lists(split.test.history) == [[1, 2, 3], [7, 8]]
    assert as_lists(split.test.targets) == [[4], [9]]


def test_user_ratio_rounds_the_test_up():
    split = protocols.user_ratio(make([list(range(1, 11)), [11, 12, 13], [14, 15]]))
    # 10 events: 8 are not tested, of which 7.2 -> 7 train. 3 events: 2.4 -> 2, 1.8 -> 1.
    assert as_lists(split.train) == [[1, 2, 3, 4, 5, 6, 7], [11], [14, 15]]
    assert as_lists(split.validation.targets) == [[8], [12]]
    assert as_lists(split.test.history) == [[1, 2, 3, 4, 5, 6, 7, 8], [11, 12]]
    assert as_lists(split.test.targets) == [[9, 10], [13]]
    assert split.test.users.tolist() == [0, 1]


def test_user_ratio_holds_out_exactly_a_fifth():
    for events in (5, 10, 15, 20, 35):
        split = protocols.user_ratio(make([[1] * events]))
        assert split.test.targets.lengths.tolist() == [events // 5]


def test_global_time_has_one_instant_for_all_users():
    # Ten events at 1..10: the 80% quantile (a lower one) is 8, the 90% quantile is 9.
    log = make(
        [[1, 2, 3, 4, 5, 6], [7, 8, 9], [10]], np.array([1.0, 2, 3, 4, 5, 9, 6, 8, 10, 7])
    )
    split = protocols.global_time(log)
    assert as_lists(split.train) == [[1, 2, 3, 4, 5], [7, 8], [10]]
    assert split.validation.users.tolist() == [0]
    assert as_lists(split.validation.targets) == [[6]]
    assert split.test.users.tolist() == [1]
    assert as_lists(split.test.history) == [[7, 8]]
    assert as_lists(split.test.targets) == [[9]]


def test_global_time_never_trains_on_the_future():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 50)
    times = np.concatenate([np.sort(rng.integers(0, 1000, n)) for n in lengths]).astype(float)
    rows = [rng.integers(1, 20, n).tolist() for n in lengths]
    split = protocols.global_time(make(rows, times))
    assert split.train.times.max() < split.validation.targets.times.min()
    assert split.validation.targets.times.max() < split.test.targets.times.min()
    assert split.test.history.times.max() < split.test.targets.times.min()


def test_a_user_without_an_earlier_event_is_not_predicted():
    log = make([[1, 2, 3, 4, 5, 6, 7, 8, 9], [10]], np.array([*range(1, 10), 10.0]))
    with pytest.raises(UserError, match="no user has a test event and one before it"):
        protocols.global_time(log)


def test_logs_that_cannot_be_split_are_rejected():
    with pytest.raises(UserError, match="global_time needs the time of each event"):
        protocols.global_time(make([[1, 2, 3]]))
    for name in ("leave_one_out", "user_ratio"):
        with pytest.raises(UserError, match="at least three events"):
            protocols.PROTOCOLS[name](make([[1, 2], [3]]))


def test_drawn_users_keep_their_events():
    log = Sequences(np.arange(1, 31, dtype=np.int32), np.arange(0, 31, 3), 30)
    held_out = protocols.leave_one_out(log).test
    assert protocols.drawn_users(held_out, 10, 0) is held_out
    drawn = protocols.drawn_users(held_out, 4, 0)
    assert len(drawn.users) == 4 and (np.diff(drawn.users) > 0).all()
    # User u has items 3u + 1 to 3u + 3, of which the last is held out.
    assert drawn.targets.items.tolist() == (3 * drawn.users + 3).tolist()
    assert drawn.history.row(1).tolist() == [3 * drawn.users[1] + 1, 3 * drawn.users[1] + 2]
    assert protocols.drawn_users(held_out, 4, 1).users.tolist() != drawn.users.tolist()
