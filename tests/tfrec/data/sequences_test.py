"""Ragged sequences against lists worked by hand."""

import numpy as np
import pytest

from tfrec.data import sequences
from tfrec.data.sequences import Sequences


def make(rows, num_items=9, times=None):
    offsets = np.cumsum([0, *map(len, rows)])
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(items, offsets, num_items, times)


def as_lists(log):
    return [log.row(u).tolist() for u in range(len(log))]


def test_rows_lengths_and_counts():
    log = make([[1, 2, 3], [], [2, 2]], num_items=4)
    assert len(log) == 3
    assert log.lengths.tolist() == [3, 0, 2]
    assert log.rows.tolist() == [0, 0, 0, 2, 2]
    assert log.counts().tolist() == [1, 3, 1, 0]


def test_between_cuts_each_row_and_its_times():
    log = make([[1, 2, 3], [], [4, 5]], times=np.array([10.0, 11, 12, 20, 21]))
    cut = log.between(np.array([1, 0, 0]), np.array([3, 0, 1]))
    assert as_lists(cut) == [[2, 3], [], [4]]
    assert cut.times.tolist() == [11, 12, 20]


def test_select_takes_rows_in_the_given_order():
    log = make([[1, 2, 3], [], [4, 5]])
    assert as_lists(log.select(np.array([2, 0]))) == [[4, 5], [1, 2, 3]]
    assert as_lists(log.select(np.array([False, True, True]))) == [[], [4, 5]]


def test_padded_keeps_the_latest_items_on_the_right():
    log = make([[1, 2, 3], [], [4]])
    assert log.padded(2).tolist() == [[2, 3], [0, 0], [0, 4]]
    assert make([[], []]).padded(2).tolist() == [[0, 0], [0, 0]]


def test_events_are_ordered_by_time_and_equal_times_as_given():
    log = sequences.of_events(
        np.array([1, 0, 1, 0, 1]),
        np.array([5, 4, 3, 2, 1]),
        num_rows=3,
        num_items=5,
        times=np.array([7.0, 9, 7, 8, 6]),
    )
    assert as_lists(log) == [[2, 4], [1, 5, 3], []]
    assert log.times.tolist() == [8, 9, 6, 7, 7]


def test_events_without_times_keep_their_order():
    log = sequences.of_events(np.array([1, 0, 1]), np.array([5, 4, 3]), 2, 5)
    assert as_lists(log) == [[4], [5, 3]]


@pytest.mark.parametrize(
    ("items", "offsets", "message"),
    [
        ([1, 2], [0, 1], "offsets run from 0 to 1; expected 0 to 2"),
        ([1, 2], [0, 2, 1, 2], "descend"),
        ([0, 2], [0, 2], "within 1..3"),
        ([4, 2], [0, 2], "within 1..3"),
    ],
)
def test_arrays_that_do_not_fit_are_rejected(items, offsets, message):
    with pytest.raises(ValueError, match=message):
        Sequences(np.array(items, np.int32), np.array(offsets), 3)


def test_sessions_of_prepared_data_become_one_row_a_user(tmp_path):
    from launch import flags
    from tfrec.data import storage

    log = tmp_path / "log.csv"
    log.write_text(
        "user,item,time,click\n"
        "u2,a,2020-01-01T00:00:00,1\nu2,b,2020-01-01T00:01:00,0\nu2,c,2020-01-01T00:02:00,1\n"
        "u1,b,2020-01-02T00:00:00,1\nu1,a,2020-01-02T00:01:00,1\nu1,b,2020-01-02T00:02:00,0\n"
        "u1,c,2020-03-02T00:00:00,1\nu1,a,2020-03-02T00:01:00,1\nu1,b,2020-03-02T00:02:00,1\n"
    )
    out = tmp_path / "data"
    code = flags.call(
        "launch.prepare_data",
        ["--source=table", f"--path={log}", f"--out={out}", "--min_item_rows=1",
         "--min_steps=1", "--time_unit=iso"],
    )  # fmt: skip
    assert code == 0
    data = storage.PreparedData.open(out)
    user_sequences = sequences.of_prepared(data)
    raw = {
        str(user): data.vocabulary.decode(user_sequences.row(u)).tolist()
        for u, user in enumerate(data.vocabulary.users)
    }
    assert raw == {"u1": ["b", "a", "b", "c", "a", "b"], "u2": ["a", "b", "c"]}
    assert (np.diff(user_sequences.times[user_sequences.rows == 0]) >= 0).all()


def test_prepared_data_of_a_log_without_times_has_none(tmp_path):
    from launch import flags
    from tfrec.data import storage

    (tmp_path / "log.txt").write_text("1 7\n1 8\n1 9\n2 8\n2 7\n")
    code = flags.call(
        "launch.prepare_data",
        ["--source=sequence", "--sequence_form=rows", f"--path={tmp_path / 'log.txt'}",
         f"--out={tmp_path / 'data'}", "--test_fraction=0"],
    )  # fmt: skip
    assert code == 0
    log = sequences.of_prepared(storage.PreparedData.open(tmp_path / "data"))
    assert log.times is None and log.lengths.tolist() == [3, 2]
