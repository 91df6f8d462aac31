import csv
import io
import pathlib
import random

import polars as pl
import pytest

from tfrec.data import schema
from tfrec.data.sources import delimited
from tfrec.errors import UserError


def by_csv(text, separator=",", **options):
    """The rows after the header as the csv module reads them, without outer whitespace."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, **options)
    rows = [[field.strip(" \t\n\r\v\f") or None for field in row] for row in rows]
    return [tuple(row) for row in rows if any(row) or len(row) > 1][1:]


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(path, bad_rows=None, **options):
    _, frame = delimited.read_as_text(path, bad_rows or schema.BadRows(), **options)
    return frame.drop(schema.ROW).rows()


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n1,42" screen\n2,7" tablet\n',  # quotes within unquoted fields
        'a,b\n1,x "y", z\n'.replace(", z", " z"),
        'a,b\n1,"said ""hi"", left"\n2,""\n3,x\n',
        'a,b\n1,"two\nlines"\n2,"x,y"\n',
        'a,b\n1, "not at the edge"\n2,x\n',
        '"a","b"\n"1","x"\n"2","y"\n',
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\r1,x\r2,y\r",
        "a,b\n1,x\r\n2,y\n",
        "\ufeffa,b\n1,x\n",
        "\n  \na,b\n\n1,x\n\n\n2,y\n\n",
        "a,b\n1,x",
        " a ,b\t\n 1 , x y \n",
        "a,b\n1,\n,x\n,\n",
        "a,b\n1,x\u2028y\x85z\n",
    ],
)
def test_rows_are_those_of_the_csv_module(text, tmp_path):
    assert rows_of(write(tmp_path, text)) == by_csv(text.removeprefix("\ufeff"))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_rows_of_made_up_files_are_those_of_the_csv_module(separator, tmp_path):
    draw = random.Random(3)
    parts = ["x", "7", " ", '"', '""', separator, "\n", "\r\n", '"x"', f'"{separator}"', '"\n"']
    compared = 0
    for _ in range(150):
        body = "".join(draw.choices(parts, k=draw.randint(1, 30)))
        text = f"a{separator}b{separator}c\n{body}\n"
        try:
            expected = by_csv(text, separator, strict=True)
        except csv.Error:
            expected = None
        if expected is None or any(len(row) > 3 for row in expected):
            with pytest.raises(UserError, match="log.csv, row "):
                rows_of(write(tmp_path, text), separator=separator)
            continue
        full = [row + (None,) * (3 - len(row)) for row in expected]
        assert rows_of(write(tmp_path, text), separator=separator) == full, text
        compared += 1
    assert compared > 20


@pytest.mark.parametrize("title", ['42" screen', '"two\nlines"', '"a, b"'])
def test_no_row_of_a_large_file_is_lost(title, tmp_path):
    rows = [f"u{n},i{n % 7},{n},red lamp" for n in range(200_000)]
    for place in (90, 100_000, 199_000):
        rows[place] = f"u{place},i1,{place},{title}"
    path = write(tmp_path, "\n".join(["user,item,time,title", *rows, ""]))
    columns = {"user": pl.String, "time": pl.Int64}
    frame = delimited.read(path, columns, schema.BadRows())
    assert frame["time"].to_list() == list(range(200_000))
    assert frame["user"][100_000] == "u100000"


def test_a_long_row_deep_in_a_large_file(tmp_path):
    rows = ["1,2,x"] * 200_000
    rows[150_000] = "1,2,x,y"
    path = write(tmp_path, "\n".join(["user,item,title", *rows, ""]))
    columns = {"user": pl.Int32}  # not the columns at the end of the row
    with pytest.raises(UserError, match="row 150002: the row is '4 fields'; expected 3 fields"):
        delimited.read(path, columns, schema.BadRows())
    bad_rows = schema.BadRows(skip=True)
    assert delimited.read(path, columns, bad_rows).height == 199_999
    assert bad_rows.count == 1


BOOKS = r""""user";"title";"click"
"1";"nails 6\"; long";"1"
"2";"\"quoted\"";"0"
"3";"plain";"1"
"""


def test_quotes_after_a_backslash(tmp_path):
    path = write(tmp_path, BOOKS)
    assert rows_of(path, separator=";", quoting="backslash") == [
        ("1", 'nails 6"; long', "1"),
        ("2", '"quoted"', "0"),
        ("3", "plain", "1"),
    ]
    message = "row 2: the row is '4 fields'; expected 3 fields; quoting=backslash reads"
    with pytest.raises(UserError, match=message):
        rows_of(path, separator=";")
    bad_rows = schema.BadRows(skip=True)
    assert rows_of(path, bad_rows, separator=";") == [("3", "plain", "1")]
    assert bad_rows.count == 2


def test_quotes_as_ordinary_characters(tmp_path):
    path = write(tmp_path, 'a\tb\n1\t"open\n2\t"x"\n')
    rows = rows_of(path, separator="\t", quoting="none")
    assert rows == [("1", '"open'), ("2", '"x"')]


@pytest.mark.parametrize(
    "line",
    ['2,"never closed', '2,"closed" too early', r'2,"6\""', r'2,"6\" long"'],
)
def test_a_damaged_row_takes_no_other_row_along(line, tmp_path):
    path = write(tmp_path, f'a,b\n1,x\n{line}\n3,"y, z"\n4,w\n')
    with pytest.raises(UserError, match="log.csv, row 3: the row is '2,"):
        rows_of(path)
    bad_rows = schema.BadRows(skip=True)
    assert rows_of(path, bad_rows) == [("1", "x"), ("3", "y, z"), ("4", "w")]
    bad_rows.write(tmp_path)
    assert pl.read_csv(tmp_path / "rejected.csv").select("row", "value").rows() == [(3, line)]


def test_rows_with_line_breaks_are_counted(tmp_path, caplog):
    rows_of(write(tmp_path, 'a,b\n1,x\n2,"y\nz"\n3,"v\nw"\n'))
    assert "log.csv: 2 rows hold line breaks within quotes, the first at row 3" in caplog.text


def test_a_row_has_the_number_of_its_first_line(tmp_path):
    path = write(tmp_path, '\n\na,b\n1,"x\ny"\n\n2,z\n')
    names, frame = delimited.read_as_text(path, schema.BadRows())
    assert names == ["a", "b"]
    assert frame[schema.ROW].to_list() == [4, 7]
    bad = write(tmp_path, "\na,b\n1,2\nx,2\n")
    with pytest.raises(UserError, match="row 4: a is 'x'; expected an integer within 32 bits"):
        delimited.read(bad, {"a": pl.Int32}, schema.BadRows())


@pytest.mark.parametrize("unrelated", ["", "\n", "9,9,\n", '9,"9",x\n', "9 ,9,x\n"])
def test_spaces_are_dropped_whatever_the_other_rows_hold(unrelated, tmp_path):
    path = write(tmp_path, f" a , b,c\n 7,8 ,x\n1, 2,\n{unrelated}")
    columns = {"a": pl.String, "b": pl.Int32}
    frame = delimited.read(path, columns, schema.BadRows())
    assert frame.select("a", "b").rows()[:2] == [("7", 8), ("1", 2)]


def test_a_row_of_empty_fields_is_not_a_blank_line(tmp_path):
    path = write(tmp_path, "a,b\n1,x\n,\n\n")
    with pytest.raises(UserError, match="row 3: a is missing"):
        delimited.read(path, {"a": pl.Int32, "b": pl.String}, schema.BadRows())


def test_two_columns_of_one_name(tmp_path):
    path = write(tmp_path, "a,b, a\n1,2,3\n")
    with pytest.raises(UserError, match="row 1: two columns have the name 'a'"):
        delimited.read(path, {"a": pl.Int32}, schema.BadRows())
    frame = delimited.read(path, {"b": pl.Int32}, schema.BadRows())
    assert frame.rows() == [(2,)]


def test_a_column_with_the_name_of_the_row_numbers(tmp_path):
    path = write(tmp_path, "__row__,a\n1,2\n")
    with pytest.raises(UserError, match="the name '__row__' is reserved for row numbers"):
        delimited.read(path, {schema.ROW: pl.Int32}, schema.BadRows())
    assert delimited.read(path, {"a": pl.Int32}, schema.BadRows()).rows() == [(2,)]


@pytest.mark.parametrize("name", ["log[1].csv", "log*.csv", "log?.csv", "{a}.csv", "~", "a b"])
def test_a_path_is_read_literally(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log1.csv").write_text("a,b\n9,9\n")
    path = pathlib.Path(name)
    path.write_text("a,b\n1,2\n")
    assert delimited.read(path, {"a": pl.Int32}, schema.BadRows()).rows() == [(1,)]


@pytest.mark.parametrize("bad", ["x,1", "1", '"1,2', "1,2,3", "1,x"])
def test_blocks_go_on_behind_a_row_that_does_not_fit(tmp_path, monkeypatch, bad):
    """No row comes twice when the fast reader gives up after some blocks."""
    monkeypatch.setattr(delimited, "_ROWS_AT_ONCE", 16)
    monkeypatch.setattr(delimited, "_RECORDS_AT_ONCE", 16)
    rows = [f"{n},{n * n}" for n in range(200)]
    (tmp_path / "log.csv").write_text("\n".join(["a,b", *rows[:150], bad, *rows[150:]]))
    columns = {"a": pl.Int32, "b": pl.Int32}
    with pytest.raises(UserError, match="log.csv, row 152: "):
        list(delimited.blocks(tmp_path / "log.csv", columns, schema.BadRows()))
    bad_rows = schema.BadRows(skip=True)
    frame = pl.concat(delimited.blocks(tmp_path / "log.csv", columns, bad_rows))
    assert frame["a"].to_list() == list(range(200))
    assert frame["b"].to_list() == [n * n for n in range(200)]
    assert frame[schema.ROW].to_list() == [*range(2, 152), *range(153, 203)]
    assert bad_rows.count == 1
