import zipfile

import pytest

from tfrec.data import schema
from tfrec.data.sources import assembly, book_crossing, ratings
from tfrec.errors import UserError

HEADER = '"User-ID";"ISBN";"Book-Rating"'
ROWS = ['"7";"034545104X";"0"', '"7";"01\xdf";"8"', '"7";"say \\"b\\"; c";"7"', '"3";"01";"10"']


def write(folder, *rows, header=HEADER):
    path = folder / "BX-Book-Ratings.csv"
    path.write_bytes("\r\n".join([header, *rows, ""]).encode("latin-1"))
    return path


def events(table):
    """User, item, click and rating: what does not depend on the drawn order."""
    return sorted(table.select("user", "item", "click", "rating").rows())


EVENTS = [
    (3, "01", 1.0, 10.0),
    (7, "01\xdf", 1.0, 8.0),
    (7, "034545104X", 0.0, 0.0),
    (7, 'say "b"; c', 0.0, 7.0),
]


def test_quotes_latin_1_and_points(tmp_path):
    path = write(tmp_path, *ROWS)
    with zipfile.ZipFile(tmp_path / "BX-CSV-Dump.zip", "w") as archive:
        archive.write(path, path.name)
    for place in (path, tmp_path / "BX-CSV-Dump.zip"):
        table, table_schema = book_crossing.read(place)
        assert events(table) == EVENTS
        assert table_schema.order == "random"
        assert [column.unit for column in table_schema.feedback] == ["clicks", "points"]


def test_four_stars_are_eight_points(tmp_path):
    path = write(tmp_path, *ROWS)
    clicks = book_crossing.read(path, ratings.RatingConfig(positive_rating=3.5))[0]
    assert clicks.filter(click=1)["rating"].sort().to_list() == [7, 8, 10]


def test_every_row_is_a_click_from_zero_stars_on(tmp_path):
    path = write(tmp_path, *ROWS)
    table = book_crossing.read(path, ratings.RatingConfig(positive_rating=0))[0]
    assert table["rating"].min() == 0 and (table["click"] == 1).all()


def test_zeros_can_be_dropped_and_are_counted(tmp_path):
    bad_rows = schema.BadRows()
    table, _ = book_crossing.read(
        write(tmp_path, *ROWS), ratings.RatingConfig(unrated="drop"), bad_rows
    )
    assert events(table) == [row for row in EVENTS if row[3]]
    assert bad_rows.left_out == {"unrated_rows": 1}


def test_the_order_is_drawn_with_the_seed_and_said(tmp_path):
    path = write(tmp_path, *(f'"{user}";"{item}";"5"' for user in (1, 2) for item in range(30)))

    def order(seed):
        bad_rows = schema.BadRows()
        table, _ = book_crossing.read(path, ratings.RatingConfig(order_seed=seed), bad_rows)
        assert bad_rows.warnings == [
            "the log has no times: each user's events are in a random order, drawn with "
            f"--order_seed={seed}"
        ]
        counted = [schema.COUNTED_FROM_MS + place for place in range(30)]
        assert table["time_ms"].to_list() == counted * 2
        return table["item"].to_list()

    assert order(7) == order(7) != order(8)
    assert order(7)[:30] != order(7)[30:]
    assert order(7)[:30] != sorted(order(7)[:30])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"7";"5";"11"', "row 3: Book-Rating is 11; expected an integer from 0 to 10"),
        ('"7";"5";"-1"', "row 3: Book-Rating is -1; expected an integer from 0 to 10"),
        ('"7";"5";"4.5"', "row 3: Book-Rating is '4.5'; expected an integer"),
        ('"x";"5";"4"', "row 3: User-ID is 'x'; expected an integer within 32 bits"),
        ('"7";"";"4"', "row 3: ISBN is missing; expected text"),
        ('"7";"5"', "row 3: Book-Rating is missing"),
        ('"7";"5";"4";"4"', "row 3: the row is '4 fields'; expected 3 fields"),
        ('"7";"5"";"4"', "row 3: the row is .* expected fields that are closed"),
        ('"7";"034545104X";"3"', "row 3: the row is 'user 7, item 034545104X'; expected no"),
    ],
)
def test_a_bad_row_is_named_or_skipped(tmp_path, row, message):
    path = write(tmp_path, ROWS[0], row, *ROWS[1:])
    with pytest.raises(UserError, match="BX-Book-Ratings.csv, " + message):
        book_crossing.read(path)
    bad_rows = schema.BadRows(skip=True)
    assert events(book_crossing.read(path, bad_rows=bad_rows)[0]) == EVENTS
    assert bad_rows.count == 1


def test_other_columns(tmp_path):
    with pytest.raises(UserError, match="row 1: no column 'User-ID'; the file has user, book"):
        book_crossing.read(write(tmp_path, header="user;book;rating"))


def test_parts_on_the_disk_give_the_same_table(tmp_path, monkeypatch):
    rows = [f'"{n % 13}";"b{n}";"{n % 11}"' for n in range(500)]
    path = write(tmp_path, *rows)
    whole, _ = book_crossing.read(path)
    monkeypatch.setattr(assembly, "ROWS_IN_MEMORY", 200)
    assert book_crossing.read(path)[0].equals(whole)


def test_real_rows(real_data):
    folder = real_data / "book-crossing-sample"
    with pytest.raises(UserError, match="BX-Book-Ratings.csv, row 21689: the row is"):
        book_crossing.read(folder)
    bad_rows = schema.BadRows(skip=True)
    table, _ = book_crossing.read(folder, bad_rows=bad_rows)
    assert (table.height, bad_rows.count) == (138_804, 25)
    assert table["user"].n_unique() == 13_706
