"""Logs of each form as sequences, worked by hand."""

import numpy as np
import pytest

from tfrec.data import sequence_logs
from tfrec.data.sources import table
from tfrec.errors import UserError


def write(tmp_path, text, name="log.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


def raw(log):
    """User -> raw items."""
    return {
        user: log.vocabulary.decode(log.sequences.row(u)).tolist()
        for u, user in enumerate(log.vocabulary.users.tolist())
    }


def test_rows_of_a_user_need_not_stand_together(tmp_path):
    log = sequence_logs.open_log(write(tmp_path, "7 30\n5 10\n7 10\n\n5 20\n7 10\n"), "rows")
    assert raw(log) == {5: [10, 20], 7: [30, 10, 10]}
    # Most frequent first, then by raw id.
    assert log.vocabulary.items.tolist() == [10, 20, 30]
    assert log.sequences.items.tolist() == [1, 2, 3, 1, 1]
    assert log.sequences.items.dtype == np.int32
    assert log.sequences.times is None


def test_lines_hold_a_user_each(tmp_path):
    log = sequence_logs.open_log(write(tmp_path, "2 8 9 8\n1 9\n"), "lines")
    assert raw(log) == {1: [9], 2: [8, 9, 8]}
    assert log.sequences.times is None


def test_a_table_has_times_and_text_ids(tmp_path):
    path = write(
        tmp_path, "who,what,when,click\na,x,3,0\nb,y,7,1\na,y,1,1\na,z,3,1\n", "log.csv"
    )
    columns = table.TableConfig(user="who", item="what", time="when")
    log = sequence_logs.open_log(path, "table", columns)
    # Every row is an event, clicked or not; equal times keep the order of the file.
    assert raw(log) == {"a": ["y", "x", "z"], "b": ["y"]}
    assert log.sequences.times.tolist() == [1, 3, 3, 7]


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    texts = ("1 8\n1 9\n", "1 9\n1 8\n", "1 8\n2 9\n", "2 8\n3 9\n", "1 8\n1 7\n")
    fingerprints = {
        sequence_logs.open_log(write(tmp_path, text), "rows").source.fingerprint
        for text in texts
    }
    assert len(fingerprints) == len(texts)
    again = sequence_logs.open_log(write(tmp_path, "1 8 9\n", "other.txt"), "lines")
    assert again.source.fingerprint in fingerprints  # the same events as in the first text


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("rows", "1 2\n\n1 2 3\n", r"row 3.*`lines`(?s:.*)Fix the row\.$"),
        ("lines", "1 2 3\n2 5\n1 4\n", "row 3: user 1 has row 1 too"),
        ("table", "user,item,time,click\na,x,now,1\n", "row 2: time is 'now'"),
        ("prepared", "1 2\n", "not readable"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, form, text, message):
    with pytest.raises(UserError, match=message):
        sequence_logs.open_log(write(tmp_path, text, "log.csv"), form)
