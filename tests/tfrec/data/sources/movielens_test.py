import zipfile

import polars as pl
import pytest

from tfrec.data import schema
from tfrec.data.sources import delimited, movielens, ratings
from tfrec.errors import UserError

ROWS = [(1, 10, 4.0, 200), (1, 11, 3.5, 100), (2, 10, 5.0, 50)]
# Ordered by user and time; milliseconds; a click from 4 stars on.
TABLE = [(1, 11, 100_000, 0.0, 3.5), (1, 10, 200_000, 1.0, 4.0), (2, 10, 50_000, 1.0, 5.0)]


def text(separator, header="", rows=ROWS):
    lines = [separator.join(map(str, row)) for row in rows]
    return "\n".join([*([header] if header else []), *lines]) + "\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratings.csv", text(",", "userId,movieId,rating,timestamp")),
        ("ratings.dat", text("::")),
        ("u.data", text("\t")),
    ],
)
def test_the_three_formats(tmp_path, name, content):
    (tmp_path / "ml").mkdir()
    (tmp_path / "ml" / name).write_text(content)
    (tmp_path / "ml" / "movies.csv").write_text("movieId,title\n")
    for path in (tmp_path, tmp_path / "ml" / name):
        table, table_schema = movielens.read(path)
        assert table.rows() == TABLE
        assert [column.name for column in table_schema.feedback] == ["click", "rating"]
        assert tuple(table.columns) == table_schema.columns


def test_the_publishers_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-25m.zip", "w") as archive:
        archive.writestr("ml-25m/README.txt", "read me")
        archive.writestr("ml-25m/ratings.csv", text(",", "userId,movieId,rating,timestamp"))
    assert movielens.read(tmp_path / "ml-25m.zip")[0].rows() == TABLE


def test_users_out_of_order_are_put_in_order(tmp_path):
    (tmp_path / "ratings.dat").write_text(text("::", rows=ROWS[::-1]))
    assert movielens.read(tmp_path)[0].rows() == TABLE


def test_the_threshold_of_a_click(tmp_path):
    (tmp_path / "u.data").write_text(text("\t"))
    config = ratings.RatingConfig(positive_rating=3.5)
    assert movielens.read(tmp_path, config)[0]["click"].to_list() == [1, 1, 1]
    with pytest.raises(ValueError, match="positive_rating is 6.0; expected 0 to 5"):
        ratings.RatingConfig(positive_rating=6.0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,10,banana,7", "ratings.csv, row 3: rating is 'banana'; expected a number"),
        ("1,10,5.5,7", "row 3: rating is 5.5; expected a number between 0.5 and 5.0"),
        ("1,10,nan,7", "row 3: rating is nan; expected a number between 0.5 and 5.0"),
        ("1,10,4.0,-7", "row 3: timestamp is -7; expected unix seconds"),
        ("1,10,4.0,1600000000000", "row 3: timestamp is 1600000000000; expected unix seconds"),
        ("1,,4.0,7", "row 3: movieId is missing; expected an integer"),
        ("99999999999999999999,1,4.0,7", "row 3: userId is '99999999999999999999'; expected"),
        ("1,10,4.0", "row 3: timestamp is missing"),
        ("1,11,3.5,100", "row 3: the whole row is 'item 11 at time_ms 100000'; expected no ev"),
    ],
)
def test_a_bad_row_is_named_or_skipped(tmp_path, row, message):
    good = "1,11,3.5,100"
    content = f"userId,movieId,rating,timestamp\n{good}\n{row}\n2,10,4.0,50\n"
    (tmp_path / "ratings.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        movielens.read(tmp_path)
    bad_rows = schema.BadRows(skip=True)
    table, _ = movielens.read(tmp_path, bad_rows=bad_rows)
    assert table["item"].to_list() == [11, 10]
    assert bad_rows.count == 1


def test_blocks_of_users_give_the_table_of_the_whole(monkeypatch, tmp_path):
    rows = [
        (user, item, 1 + item % 9 / 2, 1000 - item)
        for user in range(1, 200)
        for item in range(user % 7 + 1)
    ]
    (tmp_path / "u.data").write_text(text("\t", rows=rows))
    monkeypatch.setattr(delimited, "_ROWS_AT_ONCE", 50)
    by_blocks, _ = movielens.read(tmp_path)
    monkeypatch.setattr(delimited, "read_grouped", lambda *_, **__: None)
    whole, _ = movielens.read(tmp_path)
    assert by_blocks.equals(whole)
    assert by_blocks.schema == whole.schema
    assert whole.height == len(rows)


@pytest.mark.parametrize(
    ("folder", "ratings", "users", "movies"),
    [("ml-25m-sample", 99_605, 756, 9_779), ("ml-latest-small-2018", 100_836, 610, 9_724)],
)
def test_real_ratings(real_data, folder, ratings, users, movies):
    table, _ = movielens.read(real_data / folder)
    assert table.height == ratings
    assert table["user"].n_unique() == users
    assert table["item"].n_unique() == movies
    raw = pl.read_csv(real_data / folder / "ratings.csv")
    assert table["click"].sum() == (raw["rating"] >= 4.0).sum()
    assert table["time_ms"].max() == raw["timestamp"].max() * 1000
