import gzip
import json

import pytest

from tfrec.data import schema
from tfrec.data.sources import goodreads, ratings
from tfrec.errors import UserError

ROWS = [  # user, book, read, stars, time as published
    ("u2", "24", True, 5, "Fri Aug 25 13:55:02 -0700 2017"),
    ("u1", "24", False, 0, "Thu Jan 01 00:00:10 +0000 2015"),
    ("u2", "9", True, 3, "Fri Aug 25 20:55:01 +0000 2017"),
]
TABLE = [  # click, rating, read
    ("u1", 24, 1420070410000, 0.0, 0.0, 0.0),
    ("u2", 9, 1503694501000, 0.0, 3.0, 1.0),
    ("u2", 24, 1503694502000, 1.0, 5.0, 1.0),
]


def line(user, book, is_read, stars, time):
    fields = {"user_id": user, "book_id": book, "review_id": "x", "is_read": is_read}
    more = {"review_text_incomplete": "", "date_updated": "", "read_at": "", "started_at": ""}
    return json.dumps(fields | {"rating": stars, "date_added": time} | more)


def write(folder, *lines, name="goodreads_interactions_dedup.json"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_json_lines(tmp_path):
    path = write(tmp_path, *(line(*row) for row in ROWS))
    (tmp_path / "goodreads_interactions_dedup.json.gz").write_bytes(
        gzip.compress(path.read_bytes())
    )
    for place in (path, tmp_path / "goodreads_interactions_dedup.json.gz"):
        table, table_schema = goodreads.read(place)
        assert table.rows() == TABLE
        assert table_schema.order == "time"
        assert [column.name for column in table_schema.feedback] == ["click", "rating", "read"]


def test_the_file_of_a_genre(tmp_path):
    write(tmp_path, *(line(*row) for row in ROWS), name="goodreads_interactions_poetry.json")
    assert goodreads.read(tmp_path)[0].rows() == TABLE


def test_csv_has_no_times(tmp_path):
    rows = ["user_id,book_id,is_read,rating,is_reviewed", "0,948,1,5,0", "0,947,1,5,1"]
    write(tmp_path, *rows, "1,948,0,0,0", name="goodreads_interactions.csv")
    bad_rows = schema.BadRows()
    table, table_schema = goodreads.read(tmp_path, bad_rows=bad_rows)
    assert sorted(table.drop("time_ms").rows()) == [
        (0, 947, 1.0, 5.0, 1.0),
        (0, 948, 1.0, 5.0, 1.0),
        (1, 948, 0.0, 0.0, 0.0),
    ]
    assert table_schema.order == "random"
    assert "random order, drawn with --order_seed=7" in bad_rows.warnings[0]


def test_unrated_books_can_be_dropped(tmp_path):
    path = write(tmp_path, *(line(*row) for row in ROWS))
    bad_rows = schema.BadRows()
    table, _ = goodreads.read(path, ratings.RatingConfig(unrated="drop"), bad_rows)
    assert table.rows() == TABLE[1:]
    assert bad_rows.left_out == {"unrated_rows": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "the line is '{'; expected JSON such as"),
        (line("u3", "x9", True, 5, ROWS[0][4]), "book_id is 'x9'; expected an integer within"),
        (line("u3", "9", "yes", 5, ROWS[0][4]), "is_read is 'yes'; expected true or false"),
        (line("u3", "9", True, 6, ROWS[0][4]), "rating is 6; expected an integer from 0 to 5"),
        (line("u3", "9", True, 3.5, ROWS[0][4]), "rating is '3.5'; expected an integer"),
        (line("u3", "9", True, None, ROWS[0][4]), "rating is missing; expected an integer"),
        (line("u3", "9", True, 5, ""), "date_added is ''; expected a time such as Fri Aug 25"),
        (line("u3", "9", True, 5, "2017-08-25"), "date_added is '2017-08-25'; expected a time"),
        (line(*ROWS[1]), "the whole row is 'item 24 at time_ms 1420070410000'; expected no"),
    ],
)
def test_a_bad_line_is_named_or_skipped(tmp_path, row, message):
    good = [line(*row) for row in ROWS]
    path = write(tmp_path, *good[:2], row, good[2])
    with pytest.raises(UserError, match="goodreads_interactions_dedup.json, row 3: " + message):
        goodreads.read(path)
    bad_rows = schema.BadRows(skip=True)
    assert goodreads.read(path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.count == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,1,2,5,0", "row 3: is_read is 2.0; expected 0 or 1"),
        ("0,1,1,7,0", "row 3: rating is 7; expected an integer from 0 to 5"),
        ("0,,1,5,0", "row 3: book_id is missing; expected an integer"),
        ("0,948,1,5,0", "row 3: the row is 'user 0, item 948'; expected no item of a user tw"),
    ],
)
def test_a_bad_csv_row(tmp_path, row, message):
    rows = ["user_id,book_id,is_read,rating,is_reviewed", "0,948,1,5,0", row]
    write(tmp_path, *rows, name="goodreads_interactions.csv")
    with pytest.raises(UserError, match="goodreads_interactions.csv, " + message):
        goodreads.read(tmp_path)
    assert goodreads.read(tmp_path, bad_rows=schema.BadRows(skip=True))[0].height == 1
