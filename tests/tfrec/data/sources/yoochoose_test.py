import gzip
import logging
import zipfile

import polars as pl
import pytest

from tfrec.data import schema
from tfrec.data.sources import delimited, yoochoose
from tfrec.errors import UserError

CLICKS = [
    "2,2014-04-07T13:56:37.614Z,31,0",
    "2,2014-04-07T13:57:19.373Z,31,S",
    "2,2014-04-07T13:58:37.446Z,32,2089046495",
    "1,2014-04-07T10:54:46.998Z,43,12",
    "1,2014-04-07T10:51:09.277Z,41,0",
    "1,2014-04-07T20:00:00.000Z,41,0",
]
BUYS = [
    "1,2014-04-07T10:54:46.998Z,43,12462,1",  # at the very time of the click
    "1,2014-04-07T12:00:00.000Z,41,5,1",  # after the first click of 41, before the second
    "2,2014-04-07T13:57:30.000Z,31,0,2",
    "2,2014-04-07T13:57:31.000Z,31,0,2",  # the same click once more
    "2,2014-04-07T13:57:31.000Z,32,0,2",  # before its click
    "3,2014-04-07T13:57:31.000Z,31,0,2",  # no such session
]
TABLE = [  # user, item, time_ms, buy, category
    (1, 41, 1396867869277, 1.0, 0),
    (1, 43, 1396868086998, 1.0, 12),
    (1, 41, 1396900800000, 0.0, 0),
    (2, 31, 1396878997614, 0.0, 0),
    (2, 31, 1396879039373, 1.0, -1),
    (2, 32, 1396879117446, 0.0, 2089046495),
]
TEXT = "SessionId\tItemId\tTime\n"


def write(folder, clicks=CLICKS, buys=BUYS):
    (folder / "yoochoose-clicks.dat").write_text("\n".join(clicks) + "\n")
    (folder / "yoochoose-buys.dat").write_text("\n".join(buys) + "\n")


def test_the_published_pair(tmp_path, caplog):
    write(tmp_path)
    (tmp_path / "yoochoose-test.dat").write_text("5,2014-04-07T10:51:09.277Z,41,0\n")
    with caplog.at_level(logging.WARNING):
        for path in (tmp_path, tmp_path / "yoochoose-clicks.dat"):
            table, table_schema = yoochoose.read(path)
            assert table.rows() == TABLE
            assert tuple(table.columns) == table_schema.columns
    assert [column.name for column in table_schema.feedback] == ["buy"]
    assert "yoochoose-buys.dat: 2 of 6 buys are of items that were not clicked" in caplog.text


def test_packed(tmp_path):
    write(tmp_path)
    with zipfile.ZipFile(tmp_path / "yoochoose.zip", "w") as archive:
        for name in ("yoochoose-clicks.dat", "yoochoose-buys.dat"):
            archive.write(tmp_path / name, f"yoochoose-data/{name}")
    assert yoochoose.read(tmp_path / "yoochoose.zip")[0].rows() == TABLE
    (tmp_path / "packed").mkdir()
    for name in ("yoochoose-clicks.dat", "yoochoose-buys.dat"):
        content = gzip.compress((tmp_path / name).read_bytes())
        (tmp_path / "packed" / f"{name}.gz").write_bytes(content)
    for path in (tmp_path / "packed", tmp_path / "packed" / "yoochoose-clicks.dat.gz"):
        assert yoochoose.read(path)[0].rows() == TABLE


def test_repeats_merge_within_a_block_of_hours_and_keep_their_buy(tmp_path):
    write(tmp_path)
    config = yoochoose.YooChooseConfig(merge_repeats=True)
    table, _ = yoochoose.read(tmp_path, config)
    # 41 at 10 h and at 20 h are two; 31 twice at 13 h is one, at the time of the first.
    assert table.rows() == [*TABLE[:3], (2, 31, 1396878997614, 1.0, 0), TABLE[5]]


def test_a_repeated_click_is_dropped_aloud(tmp_path, caplog):
    write(tmp_path, [*CLICKS, CLICKS[0]])
    bad_rows = schema.BadRows()
    with caplog.at_level(logging.WARNING):
        assert yoochoose.read(tmp_path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.repeated == 1
    assert "dropped 1 clicks that repeat another" in caplog.text


def test_one_of_the_pair_alone(tmp_path):
    write(tmp_path)
    (tmp_path / "yoochoose-buys.dat").unlink()
    for path in (tmp_path, tmp_path / "yoochoose-clicks.dat"):
        with pytest.raises(UserError, match=r"no yoochoose-buys.dat beside it; expected the"):
            yoochoose.read(path)
    write(tmp_path)
    (tmp_path / "yoochoose-clicks.dat").unlink()
    with pytest.raises(UserError, match="no yoochoose-clicks.dat beside yoochoose-buys.dat"):
        yoochoose.read(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,yesterday,41,0", "row 3: time is 'yesterday'; expected an ISO 8601 time"),
        ("1,2014-04-31T10:51:09.277Z,41,0", "row 3: time is '2014-04-31T10:51:09.277Z'; exp"),
        ("1,2014-04-07T10:51:09.277Z,41,toys", "row 3: category is 'toys'; expected S, 0 or a"),
        ("1,2014-04-07T10:51:09.277Z,,0", "row 3: item is missing; expected an integer"),
        ("one,2014-04-07T10:51:09.277Z,41,0", "row 3: session is 'one'; expected an integer"),
        ("1,2014-04-07T10:51:09.277Z,41", "row 3: category is missing"),
        ("1,2014-04-07T10:51:09.277Z,41,0,9", "row 3: the row is '5 fields'; expected 4 fiel"),
    ],
)
def test_a_bad_click_is_named_or_skipped(tmp_path, row, message):
    write(tmp_path, [*CLICKS[:2], row, *CLICKS[2:]])
    with pytest.raises(UserError, match="yoochoose-clicks.dat, " + message):
        yoochoose.read(tmp_path)
    bad_rows = schema.BadRows(skip=True)
    assert yoochoose.read(tmp_path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.count == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,late,41,5,1", "row 2: time is 'late'; expected an ISO 8601 time"),
        ("1,2014-04-07T10:51:09.277Z,x,5,1", "row 2: item is 'x'; expected an integer"),
    ],
)
def test_a_bad_buy_is_named_or_skipped(tmp_path, row, message):
    write(tmp_path, buys=[BUYS[0], row, *BUYS[1:]])
    with pytest.raises(UserError, match="yoochoose-buys.dat, " + message):
        yoochoose.read(tmp_path)
    bad_rows = schema.BadRows(skip=True)
    assert yoochoose.read(tmp_path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.count == 1


def test_blocks_give_the_table_of_the_whole(monkeypatch, tmp_path):
    def time(second):
        return f"2014-04-07T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"

    sessions = [str(session) for session in range(1, 120)]
    clicks = [
        f"{session},{time(37 * click * int(session) % 86_000)},{click % 4},S"
        for session in sorted(sessions)
        for click in range(int(session) % 9 + 1)
    ]
    buys = [f"{session},{time(50_000)},{int(session) % 4},1,1" for session in sessions]
    write(tmp_path, clicks, buys)
    monkeypatch.setattr(delimited, "_ROWS_AT_ONCE", 64)
    by_blocks, _ = yoochoose.read(tmp_path)
    monkeypatch.setattr(delimited, "read_grouped", lambda *_, **__: None)
    whole, _ = yoochoose.read(tmp_path)
    assert by_blocks.equals(whole)
    assert by_blocks.schema == whole.schema
    assert 0 < whole["buy"].sum() < len(buys)


def test_the_text_form_has_long_views(tmp_path):
    rows = ["9\t41\t1396000000.5", "9\t42\t1396000500.5", "9\t43\t1396001000.499"]
    (tmp_path / "any.txt").write_text(TEXT + "\n".join([*rows, "8\t41\t1396009999"]) + "\n")
    table, table_schema = yoochoose.read(tmp_path / "any.txt")
    assert table.rows() == [
        (8, 41, 1396009999000, 0.0),  # the last click of a session: 0
        (9, 41, 1396000000500, 1.0),  # 500 s until the next one
        (9, 42, 1396000500500, 0.0),  # 499.999 s
        (9, 43, 1396001000499, 0.0),
    ]
    assert [column.name for column in table_schema.feedback] == ["long_view"]
    config = yoochoose.YooChooseConfig(long_view_seconds=499)
    longer = yoochoose.read(tmp_path / "any.txt", config)[0]
    assert longer["long_view"].to_list() == [0.0, 1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="long_view_seconds is 0; expected above 0"):
        yoochoose.YooChooseConfig(long_view_seconds=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("9\t41\tnan", "row 2: Time is nan; expected unix seconds"),
        ("9\t41\t1396000000500", "row 2: Time is 1396000000500.0; expected unix seconds"),
        ("9\t\t1396000000.5", "row 2: ItemId is missing; expected an integer"),
    ],
)
def test_a_bad_row_of_the_text_form(tmp_path, row, message):
    (tmp_path / "any.txt").write_text(f"{TEXT}{row}\n9\t42\t1396000500\n")
    with pytest.raises(UserError, match="any.txt, " + message):
        yoochoose.read(tmp_path / "any.txt")
    table, _ = yoochoose.read(tmp_path / "any.txt", bad_rows=schema.BadRows(skip=True))
    assert table["item"].to_list() == [42]


def test_text_files_are_read_together_unless_they_share_a_session(tmp_path):
    (tmp_path / "yoochoose-clicks_test.txt").write_text(TEXT + "1\t41\t1396000000\n")
    (tmp_path / "yoochoose-clicks_train.txt").write_text(TEXT + "2\t41\t1396000000\n")
    assert yoochoose.read(tmp_path)[0]["user"].to_list() == [1, 2]
    (tmp_path / "yoochoose-clicks_valid.txt").write_text(TEXT + "2\t41\t1396000000\n")
    with pytest.raises(UserError, match=r"session 2 is in .*_train.txt and in .*_valid.txt"):
        yoochoose.read(tmp_path)


def test_real_text(real_data):
    table, _ = yoochoose.read(real_data / "yoochoose-sample")
    assert table.height == 83_846 - 1  # a click is there twice
    assert table["user"].n_unique() == 21_210
    assert table["item"].n_unique() == 2_933
    assert table["long_view"].sum() == 3_347
    long_sessions = table.filter(pl.len().over("user") >= 13)
    assert long_sessions["long_view"].mean() == pytest.approx(0.037, abs=0.001)
    merged, _ = yoochoose.read(
        real_data / "yoochoose-sample", yoochoose.YooChooseConfig(merge_repeats=True)
    )
    assert merged.height == 61_594
