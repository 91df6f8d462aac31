import gzip
import json

import polars as pl
import pytest

from tfrec.data import schema
from tfrec.data.sources import otto
from tfrec.errors import UserError


def line(session, *events):
    events = [dict(zip(("aid", "ts", "type"), event, strict=True)) for event in events]
    return json.dumps({"session": session, "events": events}, separators=(",", ":"))


LINES = [
    line(7, (50, 1659304800025, "clicks"), (51, 1659304800026, "carts")),
    line(3, (50, 1659304800020, "orders"), (50, 1659304800010, "clicks")),
]
TABLE = [  # user, item, time_ms, order, cart
    (3, 50, 1659304800010, 0.0, 0.0),
    (3, 50, 1659304800020, 1.0, 0.0),
    (7, 50, 1659304800025, 0.0, 0.0),
    (7, 51, 1659304800026, 0.0, 1.0),
]


def write(folder, *lines):
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_event_is_a_step_and_the_order_comes_first(tmp_path):
    path = write(tmp_path, *LINES)
    (tmp_path / "test.jsonl").write_text(line(9, (1, 1, "clicks")))
    for place in (path, tmp_path):
        table, table_schema = otto.read(place)
        assert table.rows() == TABLE
        assert tuple(table.columns) == table_schema.columns
    assert [column.name for column in table_schema.feedback] == ["order", "cart"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n \n"], ids=["none", "one", "blank lines"])
def test_how_the_file_ends(tmp_path, end):
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(("\n".join(LINES) + end).encode()))
    assert otto.read(tmp_path)[0].rows() == TABLE


CLICK = (50, 1659304800000, "clicks")


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ('{"session":5,"events":[{"aid":1,', 'row 2: the line is \'{"session":5,'),
        ("[1, 2]", r"row 2: the line is '\[1, 2\]'; expected JSON such as"),
        ('{"session":5}', "row 2: the line is"),
        ('{"session":5,"events":7}', "row 2: the line is"),
        ('{"session":5,"events":[null]}', "row 2: the line is"),
        (line("x", CLICK), "row 2: session is 'x'; expected an integer within 32 bits"),
        (line(5, ("x", *CLICK[1:])), "row 2: aid is 'x'; expected an integer within 32 bits"),
        (line(5, (5_000_000_000, *CLICK[1:])), "row 2: aid is '5000000000'; expected an int"),
        (line(5, (1.5, *CLICK[1:])), "row 2: aid is '1.5'; expected an integer"),
        (line(5, (None, *CLICK[1:])), "row 2: aid is missing; expected an integer"),
        (line(5, (1, "noon", "clicks")), "row 2: ts is 'noon'; expected an integer of unix"),
        (line(5, (1, -3, "clicks")), "row 2: ts is -3; expected unix milliseconds between"),
        (line(5, (1, 1659304800000, "views")), "row 2: type is 'views'; expected clicks, ca"),
        (line(5, (1, 1659304800000, None)), "row 2: type is missing; expected clicks, carts"),
    ],
)
def test_damage_is_named_or_skipped(tmp_path, damaged, message):
    write(tmp_path, LINES[0], damaged, LINES[1])
    with pytest.raises(UserError, match="train.jsonl, " + message):
        otto.read(tmp_path)
    bad_rows = schema.BadRows(skip=True)
    assert otto.read(tmp_path, bad_rows)[0].rows() == TABLE
    bad_rows.write(tmp_path)
    assert pl.read_csv(tmp_path / "rejected.csv")["row"].to_list() == [2]


def test_the_other_events_of_a_line_stay(tmp_path):
    write(tmp_path, line(5, CLICK, ("x", *CLICK[1:]), (51, *CLICK[1:])))
    table, _ = otto.read(tmp_path, schema.BadRows(skip=True))
    assert table["item"].to_list() == [50, 51]


def test_an_event_or_a_session_twice(tmp_path):
    write(tmp_path, LINES[0], line(5, CLICK, CLICK))
    with pytest.raises(UserError, match="row 2: the whole row is 'item 50 at time_ms 16593"):
        otto.read(tmp_path)
    write(tmp_path, LINES[0], LINES[1], line(7, CLICK))
    with pytest.raises(UserError, match="train.jsonl: session 7 has two lines; expected one"):
        otto.read(tmp_path)


def test_no_events(tmp_path):
    write(tmp_path, '{"session":5,"events":[]}')
    with pytest.raises(UserError, match="train.jsonl: no rows; expected at least one event"):
        otto.read(tmp_path)


def test_small_blocks_give_the_same_table(monkeypatch, tmp_path):
    lines = [
        line(session, *((n, 1659304800000 + n, otto._TYPES[n % 3]) for n in range(1, 9)))
        for session in range(100)
    ]
    write(tmp_path, *lines)
    whole, _ = otto.read(tmp_path)
    monkeypatch.setattr("tfrec.data.sources.files._BLOCK", 1000)
    monkeypatch.setattr("tfrec.data.sources.assembly.ROWS_IN_MEMORY", 300)
    assert otto.read(tmp_path)[0].equals(whole)
    write(tmp_path, *lines[:70], "nonsense", *lines[70:])
    with pytest.raises(UserError, match="row 71: the line is 'nonsense'"):
        otto.read(tmp_path)


def test_real_events(real_data):
    table, _ = otto.read(real_data / "otto-sample")
    assert table.height == 862
    assert table["user"].n_unique() == 20
    assert table["item"].n_unique() == 510
    assert table["order"].sum() == 10
    assert table["cart"].sum() == 52
