"""R8: a bad log stops early, naming file, row, column and value, and leaves nothing behind."""

import gzip
import zipfile

import polars as pl
import pytest

from launch import flags

HEADER = "user,item,time,click,watch"
GOOD = [f"u{user},{item},{100 * item + user},1,2.5" for user in range(30) for item in range(9)]


def text(*rows, header=HEADER, end="\n"):
    """A log of good rows with the given ones after the first ten: from row 12 on."""
    return end.join([header, *GOOD[:10], *rows, *GOOD[10:], ""])


def prepare(out, path, *more):
    return flags.call(
        "launch.prepare_data",
        [
            "--source=table",
            f"--path={path}",
            f"--out={out}",
            "--feedback=click:binary:clicks,watch:amount:seconds",
            *more,
        ],
    )


DAMAGES = {
    "missing column": (
        text(header="user,item,time,click,seen").encode(),
        "log.csv, row 1: no column 'watch'; the file has user, item, time, click, seen",
    ),
    "wrong type": (
        text("u1,77,7,1,banana").encode(),
        "log.csv, row 12: watch is 'banana'; expected a number",
    ),
    "not a click": (
        text("u1,77,7,2,1.0").encode(),
        "log.csv, row 12: click is 2.0; expected 0 or 1",
    ),
    "NaN": (
        text("u1,77,7,1,NaN").encode(),
        "log.csv, row 12: watch is nan; expected a number of seconds, 0 or more",
    ),
    "negative amount": (
        text("u1,77,7,1,-3").encode(),
        "log.csv, row 12: watch is -3.0; expected a number of seconds, 0 or more",
    ),
    "negative time": (
        text("u1,77,-7,1,1.0").encode(),
        "log.csv, row 12: time is -7; expected unix time in s",
    ),
    "milliseconds for seconds": (
        text("u1,77,1600000000000,1,1.0").encode(),
        "log.csv, row 12: time is 1600000000000; expected unix time in s",
    ),
    "duplicate row": (
        text("u1,77,7,1,1.0", "u1,77,7,1,1.0").encode(),
        "log.csv, row 13: the whole row is 'item 77 at time_ms 7000'; expected no event",
    ),
    "missing value": (
        text("u1,,7,1,1.0").encode(),
        "log.csv, row 12: item is missing",
    ),
    "short row": (
        text("u1,77,7").encode(),
        "log.csv, row 12: click is missing",
    ),
    "long row": (
        text("u1,77,7,1,1.0,and,more").encode(),
        "log.csv, row 12: the row is '7 fields'; expected 5 fields",
    ),
    "huge id": (
        text(f"{'u' * 100_000},77,7,1,1.0").encode(),
        "log.csv, row 12: user is 'uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu... (100,000 char",
    ),
    "empty file": (b"", "log.csv: the file is empty"),
    "only a header": (f"{HEADER}\n".encode(), "log.csv: no rows after the header"),
    "latin-1": (
        text("caf\xe9,77,7,1,1.0").encode("latin-1"),
        "log.csv, row 12: not UTF-8 text. Pass the file's --encoding",
    ),
    "latin-1 in a column that is not used": (
        text("u1,77,7,1,1.0,caf\xe9", header=HEADER + ",note").encode("latin-1"),
        "log.csv, row 12: not UTF-8 text",
    ),
    "UTF-16": (
        text().encode("utf-16"),
        "log.csv, row 1: the file begins like UTF-16 text; expected UTF-8. Pass --encoding",
    ),
    "zeros": (bytes(4096), "log.csv, row 1: no column 'user'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_log_is_named_and_nothing_is_left(damage, tmp_path, capsys):
    content, message = DAMAGES[damage]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "log.csv").write_bytes(content)
    assert prepare(tmp_path / "made" / "data", tmp_path / "in" / "log.csv") == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "made"}
    assert not list((tmp_path / "made").glob("*"))


# A fixed time: the same bytes in every process.
GZIP = gzip.compress(text(*GOOD[:0]).encode() * 50, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv.gz", GZIP[: len(GZIP) // 2], "log.csv.gz: truncated or damaged compressed"),
        ("log.csv.gz", GZIP[:-3], "log.csv.gz: truncated or damaged compressed file"),
        ("log.csv.gz", b"user,item\n", "log.csv.gz: truncated or damaged compressed file"),
        ("log.zip", b"PK\x03\x04 and no end", "log.zip: truncated or damaged archive"),
        ("log.tar.gz", GZIP[:100], "log.tar.gz: truncated or damaged"),
        ("log.parquet", b"PAR1 and no end", "log.parquet: damaged Parquet file"),
    ],
    ids=["half gzip", "gzip tail", "no gzip", "zip", "tar", "parquet"],
)
def test_a_truncated_file_is_named(name, content, message, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert prepare(tmp_path / "data", tmp_path / name) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_archive_with_a_damaged_member(tmp_path, capsys):
    path = tmp_path / "log.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("log.csv", text())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"u3,4,", b"u3,5,", 1))
    assert prepare(tmp_path / "data", path) == 2
    assert "log.zip: truncated or damaged archive (Bad CRC-32" in capsys.readouterr().err


SHOPS = {
    "a time outside the days": (
        "taobao",
        {"UserBehavior.csv": "1,2,3,pv,1511600000\n1,2,3,pv,1600000000\n"},
        "UserBehavior.csv, row 2: timestamp is 1600000000; expected unix seconds of the",
    ),
    "no behaviour": (
        "taobao",
        {"UserBehavior.csv": "1,2,3,pv,1511600000\n1,2,3,look,1511600000\n"},
        "UserBehavior.csv, row 2: behaviour is 'look'; expected pv, fav, cart or buy",
    ),
    "half a row": (
        "taobao",
        {"UserBehavior.csv": "1,2,3,pv,1511600000\n1,2,3,p"},
        "UserBehavior.csv, row 2: timestamp is missing",
    ),
    "binary": (
        "taobao",
        {"UserBehavior.csv": b"1,2,3,pv,1511600000\n\xff\xfe,2,3,pv,1511600000\n"},
        "UserBehavior.csv, row 2: not UTF-8 text",
    ),
    "no buys": (
        "yoochoose",
        {"yoochoose-clicks.dat": "1,2014-04-07T10:51:09.277Z,41,0\n"},
        "no yoochoose-buys.dat beside it",
    ),
    "empty buys": (
        "yoochoose",
        {
            "yoochoose-clicks.dat": "1,2014-04-07T10:51:09.277Z,41,0\n",
            "yoochoose-buys.dat": "",
        },
        "yoochoose-buys.dat: the file is empty",
    ),
    "a buy at no time": (
        "yoochoose",
        {
            "yoochoose-clicks.dat": "1,2014-04-07T10:51:09.277Z,41,0\n",
            "yoochoose-buys.dat": "1,later,41,5,1\n",
        },
        "yoochoose-buys.dat, row 1: time is 'later'; expected an ISO 8601 time",
    ),
    "another header": (
        "yoochoose",
        {"yoochoose-clicks.txt": "Session\tItemId\tTime\n1\t2\t3\n"},
        "yoochoose-clicks.txt, row 1: no column 'SessionId'; the file has Session, ItemId, T",
    ),
    "only a header": (
        "yoochoose",
        {"yoochoose-clicks.txt": "SessionId\tItemId\tTime\n"},
        "yoochoose-clicks.txt: no rows after the header",
    ),
    "half a line": (
        "otto",
        {"train.jsonl": '{"session":1,"events":[{"aid":1,"ts":1659304'},
        'train.jsonl, row 1: the line is \'{"session":1,',
    ),
    "other JSON": ("otto", {"train.jsonl": "{}\n"}, "train.jsonl, row 1: the line is '{}'"),
    "stars out of range": (
        "amazon",
        {"ratings_CDs.csv": "A1,B000000001,5.0,1\nA1,B000000002,7.0,2\n"},
        "ratings_CDs.csv, row 2: rating is 7.0; expected a number from 1 to 5",
    ),
    "a review cut short": (
        "amazon",
        {"reviews_CDs.json": '{"reviewerID": "A1", "asin": "B0'},
        'reviews_CDs.json, row 1: the line is \'{"reviewerID"',
    ),
    "reviews cut short": (
        "amazon",
        {"reviews_CDs.json.gz": gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-9]},
        "truncated or damaged compressed file",
    ),
    "code for a review": (
        "librarything",
        {"reviews.json": "__import__('os').getcwd()\n"},
        "reviews.json, row 1: the line is",
    ),
    "a book rated twice": (
        "book_crossing",
        {"BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\n"1";"2";"3"\n"1";"2";"4"\n'},
        "BX-Book-Ratings.csv, row 3: the row is 'user 1, item 2'; expected no item of a user",
    ),
    "no year": (
        "goodreads",
        {
            "goodreads_interactions_dedup.json": '{"user_id": "a", "book_id": "1", "is_read": '
            'true, "rating": 3, "date_added": "Fri Aug 25 13:55:02 -0700"}'
        },
        "goodreads_interactions_dedup.json, row 1: date_added is 'Fri Aug 25",
    ),
    "a rating without a film": (
        "netflix",
        {"combined_data_1.txt": "1,3,2005-09-06\n"},
        "combined_data_1.txt, row 1: the row is '1,3,2005-09-06'; expected the number of a",
    ),
    "an empty film": (
        "netflix",
        {"mv_0000001.txt": "1:\n1,3,2005-09-06\n", "mv_0000002.txt": ""},
        "mv_0000002.txt: the file is empty",
    ),
    "a user alone": (
        "sequence",
        {"log.txt": "1 2 3\n4\n"},
        "log.txt, row 2: the row is '4'; expected `user item item ...`",
    ),
    "interactions without shards": (
        "interactions",
        {"interactions.json": '{"format": 1}'},
        "interactions.json: expected",
    ),
    "an archive cut short": (
        "otto",
        {"train.jsonl.gz": gzip.compress(b"{}", mtime=0)[:-5]},
        "truncated or damaged compressed file",
    ),
}


@pytest.mark.parametrize("damage", SHOPS)
def test_a_damaged_log_of_a_shop_is_named_and_nothing_is_left(damage, tmp_path, capsys):
    source, contents, message = SHOPS[damage]
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "in" / name).write_bytes(content)
    arguments = [
        f"--source={source}",
        f"--path={tmp_path / 'in'}",
        f"--out={tmp_path / 'data'}",
    ]
    assert flags.call("launch.prepare_data", arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (text(end="\r\n").encode(), []),
        (b"\xef\xbb\xbf" + text().encode(), []),
        (text().encode().rstrip(b"\n"), []),
        (text("", "").encode(), []),  # blank lines
        ("\n".join([HEADER, *GOOD[::-1]]).encode(), []),  # in any order
        (text(header=HEADER.replace(",", ", ")).encode(), []),
        (text().encode("utf-16"), ["--encoding=utf-16"]),
        (text().encode("latin-1"), ["--encoding=latin-1"]),
    ],
    ids=[
        "CRLF",
        "BOM",
        "no last newline",
        "blank lines",
        "unsorted",
        "spaces",
        "UTF-16",
        "latin-1",
    ],
)
def test_harmless_differences_change_nothing(content, more, tmp_path):
    (tmp_path / "plain.csv").write_text(text())
    (tmp_path / "other.csv").write_bytes(content)
    assert prepare(tmp_path / "plain", tmp_path / "plain.csv") == 0
    assert prepare(tmp_path / "other", tmp_path / "other.csv", *more) == 0
    fingerprints = {
        pl.read_json(tmp_path / name / "manifest.json")["fingerprint"].item()
        for name in ("plain", "other")
    }
    assert len(fingerprints) == 1


def test_bad_rows_are_skipped_on_request_and_listed(tmp_path):
    bad = ["u1,77,7,1,banana", "u1,77,-7,1,1.0", "u1,77,8,1,1.0", "u1,77,8,1,1.0"]
    (tmp_path / "log.csv").write_text(text(*bad))
    assert prepare(tmp_path / "data", tmp_path / "log.csv", "--on_bad_row=skip") == 0
    rejected = pl.read_csv(tmp_path / "data" / "rejected.csv")
    assert rejected.select("file", "row", "column", "value").rows() == [
        ("log.csv", 12, "watch", "banana"),
        ("log.csv", 13, "time", "-7"),
        ("log.csv", 15, "the whole row", "item 77 at time_ms 8000"),
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--split=time", "--train_until=1970-01-01T00:15", "--test_from=1970-01-01T00:10"],
            "the split leaks time: test_from is 1970-01-01T00:10:00, train_until is",
        ),
        (["--encoding=klingon"], "encoding is 'klingon'; expected a name that Python knows"),
        (["--max_steps=0"], "max_steps is 0"),
        (["--feedback=click"], "feedback is 'click'; expected name:kind:unit"),
        (["--path=/no/such/log.csv"], "/no/such/log.csv: no such file or folder"),
        (
            ["--source=/no/such/folder"],
            "--source=/no/such/folder: expected embedded, movielens",
        ),
        (["--download=ml-26m"], "--download=ml-26m: expected one of ml-25m"),
    ],
)
def test_a_bad_option_is_named(more, message, tmp_path, capsys):
    (tmp_path / "log.csv").write_text(text())
    assert prepare(tmp_path / "data", tmp_path / "log.csv", *more) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_what_is_in_the_way_is_left_alone(tmp_path, capsys):
    (tmp_path / "log.csv").write_text(text())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    assert prepare(tmp_path / "data", tmp_path / "log.csv", "--overwrite") == 2
    assert "holds other files than prepared data" in capsys.readouterr().err
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"
