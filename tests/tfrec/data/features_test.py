import numpy as np
import polars as pl
import pytest

from tfrec.data import features, schema, vocabulary
from tfrec.data.sources import text_rows
from tfrec.errors import UserError

ITEMS = vocabulary.Ids(np.array([10, 20, 30]))


def test_rows_follow_the_dense_ids(tmp_path):
    path = tmp_path / "movies.csv"
    path.write_text("movieId,title,year\n30,C,1999\n10,A,2001\n99,Z,2000\n")
    table = features.read(path, ITEMS)
    assert table.rows() == [(10, "A", 2001), (20, None, None), (30, "C", 1999)]
    assert table.columns == ["movieId", "title", "year"]


def test_text_ids_and_parquet(tmp_path):
    path = tmp_path / "users.parquet"
    pl.DataFrame({"id": [7, 8], "age": [30, 40]}).write_parquet(path)
    table = features.read(path, vocabulary.Ids(np.array(["7", "u9"])))
    assert table.rows() == [("7", 30), ("u9", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,x\n10,1\n10,2\n",
            "t.csv, row 3: id is '10'; expected an id that no row before has",
        ),
        ("id,x\n10,1\n,2\n", "t.csv, row 3: id is missing; expected an id"),
        ("id,x\n10,1\n20,3\n 10 ,2\n", "t.csv, row 4: id is '10'; expected an id that no row"),
        (
            "id,x\n77,1\na,1\n",
            "none of its 2 ids in column 'id' is in the log; it has '77', 'a'",
        ),
        ("id,x\n010,1\n", "it has '010', the log has '10', '20', '30'"),
        ("id,x, x\n10,1,2\n", "two columns have the name 'x'"),
        ("id\n10\n", "t.csv: no features; expected an id column and one more"),
        ("id,x\n", "t.csv: no features"),
        ("id,x\n10,1,2,3\n", "t.csv, row 2: the row is '4 fields'; expected 2 fields"),
        ("\n\n", "t.csv, row 1: no readable header line"),
    ],
)
def test_a_bad_table_is_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        features.read(tmp_path / "t.csv", ITEMS)


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "t.csv").write_bytes("id,x\n10,caf\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match="t.csv, row 2: not UTF-8 text"):
        features.read(tmp_path / "t.csv", ITEMS)


def test_bad_rows_can_be_skipped(tmp_path):
    (tmp_path / "t.csv").write_text("id,x\n10,1\n10,2\n20,3\n")
    bad_rows = schema.BadRows(skip=True)
    assert features.read(tmp_path / "t.csv", ITEMS, bad_rows)["x"].to_list() == [1, 3, None]
    assert bad_rows.count == 1


@pytest.mark.parametrize("other", ["u1", "9007199254740993", "18446744073709551616"])
def test_ids_that_look_like_numbers_stay_as_they_are(other, tmp_path):
    raw = ["007", "+7", "1e3", "7", "1000", other]
    (tmp_path / "t.csv").write_text(
        "item, x\n" + "".join(f"{name} , {n}\n" for n, name in enumerate(raw))
    )
    table = features.read(tmp_path / "t.csv", vocabulary.Ids(np.array(raw[::-1])))
    assert table.rows() == [(name, n) for n, name in reversed(list(enumerate(raw)))]


def test_large_integers_of_a_log_of_numbers(tmp_path):
    raw = [9007199254740992, 9007199254740993]
    (tmp_path / "t.csv").write_text(f"id,x\n{raw[1]},1\n{raw[0]},0\nu,2\n")
    table = features.read(tmp_path / "t.csv", vocabulary.Ids(np.array(raw)))
    assert table.rows() == [(raw[0], 0), (raw[1], 1)]


@pytest.mark.parametrize("raw", [np.array(["1", "2"]), np.array([1, 2])])
@pytest.mark.parametrize("given", [[2, 1], ["2", " 1 "]])
def test_parquet_ids_match_by_their_decimal_text(raw, given, tmp_path):
    frame = pl.DataFrame({" id ": given, "row": [20, 10], "note": [" a", " "]})
    frame.write_parquet(tmp_path / "t.parquet")
    table = features.read(tmp_path / "t.parquet", vocabulary.Ids(raw))
    assert table.columns == ["id", "row", "note"]
    assert table.rows() == [(raw[0].item(), 10, None), (raw[1].item(), 20, "a")]


def test_parquet_ids_that_are_not_integers(tmp_path):
    pl.DataFrame({"id": [1.0], "x": [1]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="t.parquet: column 'id' holds Float64; expected ids"):
        features.read(tmp_path / "t.parquet", ITEMS)


def test_numbers_are_those_that_stand_for_their_text(tmp_path):
    (tmp_path / "t.csv").write_text(
        "id,count,price,zip,phone,big,empty,row\n"
        "10,1,1.5,01234,+49,9007199254740993123456,,x\n"
        "20,,-2e1,99999,30,1,,x\n"
    )
    table = features.read(tmp_path / "t.csv", ITEMS)
    assert table.row(0)[1:] == (1, 1.5, "01234", "+49", "9007199254740993123456", None, "x")
    assert table.row(1)[1:] == (None, -20.0, "99999", "30", "1", None, "x")


def test_a_table_that_knows_few_ids_is_worth_a_warning(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("id,x\n10,1\n77,2\n")
    features.read(tmp_path / "t.csv", ITEMS)
    assert (
        "t.csv: only 1 of the 3 ids of the log are in column 'id'; without a row: '20', '30'; "
        "rows of ids that are not in the log: 1, such as '77'"
    ) in caplog.text
    caplog.clear()
    (tmp_path / "t.csv").write_text("id,x\n10,1\n20,2\n")
    features.read(tmp_path / "t.csv", ITEMS)
    assert not caplog.text


def test_the_format_of_the_text(tmp_path):
    (tmp_path / "t.csv").write_bytes('id;title\n10;"6\\" caf\xe9"\n'.encode("latin-1"))
    text_format = text_rows.TextFormat(separator=";", encoding="latin-1", quoting="backslash")
    table = features.read(tmp_path / "t.csv", ITEMS, text_format=text_format)
    assert table.row(0) == (10, '6" café')
    (tmp_path / "t.tsv").write_text("id\tx\n20\t5\n")
    assert features.read(tmp_path / "t.tsv", ITEMS).row(1) == (20, 5)
