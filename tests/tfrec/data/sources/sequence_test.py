import gzip

import pytest

from tfrec.data import schema
from tfrec.data.sources import assembly, sequence
from tfrec.errors import UserError

ROWS = sequence.SequenceConfig(sequence_form="rows")
START = schema.COUNTED_FROM_MS
TABLE = [
    (2, 9, START, 1.0),
    (2, 4, START + 1, 1.0),
    (2, 9, START + 2, 1.0),
    (10, 4, START, 1.0),
    (10, 3, START + 1, 1.0),
]


def write(folder, *lines, name="Beauty.txt"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("lines", [["10 4 3", "2 9 4 9"], ["10\t4\t3", " 2  9 4 9 ", ""]])
def test_a_user_a_line(tmp_path, lines):
    path = write(tmp_path, *lines)
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    for place in (path, tmp_path / "packed.txt.gz"):
        bad_rows = schema.BadRows()
        table, table_schema = sequence.read(place, bad_rows=bad_rows)
        assert table.rows() == TABLE
        assert table_schema.order == "file"
        assert bad_rows.warnings == [
            "the log has no times: each user's events are in the order of the file"
        ]


def test_an_event_a_line(tmp_path):
    path = write(tmp_path, "10 4", "2 9", "2 4", "10 3", "2 9")
    assert sequence.read(path, ROWS)[0].rows() == TABLE


@pytest.mark.parametrize(
    ("config", "line", "message"),
    [
        (
            None,
            "7",
            "row 2: the row is '7'; expected `user item item ...`, integers; the form `",
        ),
        (None, "7 x", "row 2: the row is '7 x'; expected `user item item ...`"),
        (None, "7 1.5", "row 2: the row is '7 1.5'; expected"),
        (None, "7 " + "9" * 25, "row 2: the row is .*; expected integers within 64 bits"),
        (None, "7 -1", "row 2: item is -1; expected an item id other than -1"),
        (
            ROWS,
            "7 1 2",
            "row 2: the row is '7 1 2'; expected `user item`, two integers; the form `",
        ),
        (ROWS, "7", "row 2: the row is '7'; expected `user item`, two integers"),
    ],
)
def test_a_bad_line_is_named_or_skipped(tmp_path, config, line, message):
    path = write(tmp_path, "1 5", line, "3 6")
    with pytest.raises(UserError, match="Beauty.txt, " + message):
        sequence.read(path, config)
    bad_rows = schema.BadRows(skip=True)
    table, _ = sequence.read(path, config, bad_rows)
    assert table["item"].to_list() == [5, 6]
    assert bad_rows.count == 1


def test_a_user_with_two_lines(tmp_path, monkeypatch):
    path = write(tmp_path, "1 5", "2 6", "", "1 7")
    for block in (1 << 20, 3):
        monkeypatch.setattr("tfrec.data.sources.files._BLOCK", block)
        with pytest.raises(
            UserError, match="row 4: user 1 has row 1 too; expected one line a user. The form"
        ):
            sequence.read(path)


def test_parts_on_the_disk_give_the_same_table(tmp_path, monkeypatch):
    rows = [f"{n * 7 % 60} {n % 31}" for n in range(900)]
    path = write(tmp_path, *rows)
    whole, _ = sequence.read(path, ROWS)
    monkeypatch.setattr(assembly, "ROWS_IN_MEMORY", 400)
    monkeypatch.setattr("tfrec.data.sources.files._BLOCK", 500)
    assert sequence.read(path, ROWS)[0].equals(whole)
    user = [int(row.split()[1]) for row in rows if row.startswith("14 ")]
    assert whole.filter(user=14)["item"].to_list() == user


@pytest.mark.parametrize(
    ("file", "config", "events", "users", "items"),
    [
        ("amazon-yelp-lastfm-s3rec/Beauty.txt", None, 198_502, 22_363, 12_101),
        ("amazon-yelp-lastfm-s3rec/Yelp.txt", None, 316_354, 30_431, 20_033),
        ("ml-1m-ordered/ml-1m.txt", ROWS, 999_611, 6_040, 3_416),
        ("amazon-beauty-bert4rec/beauty.txt", ROWS, 353_962, 40_226, 54_542),
    ],
)
def test_real_files(real_data, file, config, events, users, items):
    table, _ = sequence.read(real_data / file, config)
    assert table.height == events
    assert (table["user"].n_unique(), table["item"].n_unique()) == (users, items)
