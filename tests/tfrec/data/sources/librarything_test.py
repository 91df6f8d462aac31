import tarfile

import pytest

from tfrec.data import schema
from tfrec.data.sources import librarything
from tfrec.errors import UserError

REVIEWS = [
    {"work": "32", "flags": [], "unixtime": 1194393600, "stars": 5.0, "comment": "d'or"},
    {"work": "007", "flags": ["x"], "unixtime": 1194393500, "stars": 3.5, "comment": "\\ \n"},
    {"work": "8", "flags": [], "unixtime": 1352937600, "comment": "'stars': 5.0, 'user': 'no'"},
    {"work": "32", "flags": [], "unixtime": 1333756800, "stars": 0.5, "comment": '"caf\xe9"'},
]
USERS = ["van_stef", "van_stef", "edspicer", "o'neil"]
LINES = [
    repr(review | {"nhelpful": 0, "time": "Nov 7, 2007", "user": user})
    for review, user in zip(REVIEWS, USERS, strict=True)
]
TABLE = [
    ("o'neil", "32", 1333756800000, 0.0, 0.5),
    ("van_stef", "007", 1194393500000, 0.0, 3.5),
    ("van_stef", "32", 1194393600000, 1.0, 5.0),
]


def write(folder, *lines, name="reviews.json"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_literals_one_a_line(tmp_path):
    path = write(tmp_path, *LINES)
    with tarfile.open(tmp_path / "lthing_data.tar.gz", "w:gz") as archive:
        archive.add(path, "lthing_data/reviews.json")
    for place in (path, tmp_path / "lthing_data.tar.gz"):
        bad_rows = schema.BadRows()
        table, table_schema = librarything.read(place, bad_rows=bad_rows)
        assert table.rows() == TABLE
        assert tuple(table.columns) == table_schema.columns
        assert bad_rows.left_out == {"reviews_without_stars": 1}


def test_the_text_file_with_keys(tmp_path):
    keyed = [
        f"reviews[({review['work']!r}, {user!r})] = {line}"
        for review, user, line in zip(REVIEWS, USERS, LINES, strict=True)
    ]
    write(tmp_path, "reviews = {}", *keyed, name="reviews.txt")
    assert librarything.read(tmp_path)[0].rows() == TABLE


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "the line is 'nonsense'; expected a line such as {'work': "),
        (LINES[0][:-3], "the line is .*; expected a line such as"),
        (LINES[0] + " x", "the line is .*; expected a line such as"),
        ("__import__('os').abort()", "the line is .*; expected a line such as"),
        (LINES[0].replace("5.0", "print(5)"), "the line is .*; expected a line such as"),
        ("reviews[(print(1), 'a')] = " + LINES[0], "the line is .*; expected a line such as"),
        ("reviews = {}", "the line is 'reviews = {}'; expected a line such as"),
        ("[1, 2]", "the line is '\\[1, 2\\]'; expected a line such as"),
        ("(" * 300 + ")" * 300, "the line is .*; expected a line such as"),
        (LINES[0].replace("'user'", "'usr'"), "user is missing; expected text"),
        (LINES[0].replace("'van_stef'", "''"), "user is ''; expected an id of 1 to 256"),
        (LINES[0].replace("'32'", "32"), "work is '32'; expected text"),
        (LINES[0].replace("5.0", "5.5"), "stars is 5.5; expected a number between 0.5 and 5.0"),
        (LINES[0].replace("5.0", "'5'"), "stars is '5'; expected a number"),
        (LINES[0].replace("5.0", "1e999"), "stars is inf; expected a number between"),
        (LINES[0].replace("1194393600", "-1"), "unixtime is -1; expected unix seconds"),
        (LINES[0].replace("1194393600", "'1'"), "unixtime is '1'; expected an integer"),
        (LINES[0].replace("1194393600", "9" * 30), "unixtime is '999.*expected an integer"),
        (LINES[0], "the whole row is 'item 32 at time_ms 1194393600000'; expected no event"),
    ],
)
def test_a_bad_line_is_named_or_skipped(tmp_path, line, message):
    path = write(tmp_path, *LINES[:2], line, *LINES[2:])
    with pytest.raises(UserError, match="reviews.json, row 3: " + message):
        librarything.read(path)
    bad_rows = schema.BadRows(skip=True)
    assert librarything.read(path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.count == 1


def test_small_blocks_give_the_same_table(tmp_path, monkeypatch):
    path = write(tmp_path, *LINES)
    monkeypatch.setattr("tfrec.data.sources.files._BLOCK", 10)
    assert librarything.read(path)[0].rows() == TABLE
