"""The text forms of sequential benchmarks: what they become, and how each can be damaged."""

import gzip

import numpy as np
import pytest

from tfrec.data import sequence_files
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
    log = sequence_files.read(write(tmp_path, "7 30\n5 10\n7 10\n\n5 20\n7 10\n"), "rows")
    assert raw(log) == {5: [10, 20], 7: [30, 10, 10]}
    # Most frequent first, then by raw id.
    assert log.vocabulary.items.tolist() == [10, 20, 30]
    assert log.sequences.times is None


def test_rows_with_times_are_put_in_order(tmp_path):
    log = sequence_files.read(write(tmp_path, "a x 3\na\ty\t1.5\r\na z 3\n"), "rows")
    assert raw(log) == {"a": ["y", "x", "z"]}
    assert log.sequences.times.tolist() == [1.5, 3, 3]


def test_lines_hold_a_user_each(tmp_path):
    log = sequence_files.read(write(tmp_path, "2 8 9 8\n1 9\n"), "lines")
    assert raw(log) == {1: [9], 2: [8, 9, 8]}


def test_a_compressed_file_reads_alike(tmp_path):
    plain = sequence_files.read(write(tmp_path, "1 8\n1 9\n"), "rows")
    packed = tmp_path / "log.txt.gz"
    packed.write_bytes(gzip.compress(b"1 8\n1 9\n"))
    found = sequence_files.read(packed, "rows")
    assert raw(found) == raw(plain) == {1: [8, 9]}
    assert found.source.fingerprint == plain.source.fingerprint


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    texts = ("1 8\n1 9\n", "1 9\n1 8\n", "1 8 1\n1 9 2\n", "1 8\n2 9\n", "2 8\n2 9\n")
    found = {
        sequence_files.read(write(tmp_path, text), "rows").source.fingerprint for text in texts
    }
    assert len(found) == len(texts)


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("rows", "", "log.txt: the file is empty"),
        ("rows", " \n\n", "log.txt, row 1: every line is blank"),
        ("rows", "1 2\n\n1 2 3\n", "log.txt, row 3: 3 fields; expected 2, as in the first"),
        ("rows", "1 2 3 4\n", "row 1: 4 fields; expected `user item` or .* form lines"),
        ("rows", "1\n", "row 1: 1 fields; expected `user item`"),
        ("rows", "1 2 3\n1 2 x\n", "row 2: time is 'x'; expected a number"),
        ("rows", "1 2 3\n1 2 nan\n", "row 2: time is 'nan'; expected a number"),
        ("rows", "1 2\n1 -1\n", "row 2: item is -1; expected an item id other than -1"),
        ("lines", "1 2 3\n\n4\n", "row 3: one field; expected `user item item"),
        ("lines", "1 2 3\n2 5\n1 4\n", "row 3: user '1' stands in row 1 too.* form rows"),
    ],
)
def test_a_damaged_file_is_rejected_with_its_row(tmp_path, form, text, message):
    with pytest.raises(UserError, match=message):
        sequence_files.read(write(tmp_path, text), form)


def test_a_missing_or_binary_file_is_rejected(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        sequence_files.read(tmp_path / "absent.txt", "rows")
    path = tmp_path / "log.txt"
    path.write_bytes(b"1 2\n1 \xff\xfe\n")
    with pytest.raises(UserError, match=r"log.txt, row 2: not UTF-8"):
        sequence_files.read(path, "rows")


def test_dense_ids_follow_the_vocabulary(tmp_path):
    log = sequence_files.read(write(tmp_path, "1 30\n1 10\n2 10\n"), "rows")
    assert log.sequences.items.tolist() == [2, 1, 1]
    assert log.sequences.offsets.tolist() == [0, 2, 3]
    assert log.sequences.items.dtype == np.int32
