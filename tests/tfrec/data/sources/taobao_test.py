import logging
import zipfile

import polars as pl
import pytest

from tfrec.data import schema
from tfrec.data.sources import delimited, taobao
from tfrec.errors import UserError

# In the order of the published file: users as text, so that 10 comes before 9.
ROWS = [
    "10,501,7,pv,1511600005",
    "10,501,7,buy,1511600007",
    "10,502,8,fav,1511600005",
    "9,502,8,cart,1512316799",
    "9,503,7,pv,1511539200",
]
TABLE = [  # user, item, time_ms, buy, fav, cart, category
    (9, 503, 1511539200000, 0.0, 0.0, 0.0, 7),
    (9, 502, 1512316799000, 0.0, 0.0, 1.0, 8),
    (10, 501, 1511600005000, 0.0, 0.0, 0.0, 7),
    (10, 502, 1511600005000, 0.0, 1.0, 0.0, 8),
    (10, 501, 1511600007000, 1.0, 0.0, 0.0, 7),
]


def write(folder, *rows):
    path = folder / "UserBehavior.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_every_row_is_a_view_and_the_buy_comes_first(tmp_path):
    path = write(tmp_path, *ROWS)
    for place in (path, tmp_path):
        table, table_schema = taobao.read(place)
        assert table.rows() == TABLE
        assert tuple(table.columns) == table_schema.columns
    assert [(column.name, column.kind) for column in table_schema.feedback] == [
        ("buy", "binary"),
        ("fav", "binary"),
        ("cart", "binary"),
    ]


def test_the_publishers_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "UserBehavior.csv.zip", "w") as archive:
        archive.writestr("UserBehavior.csv", "\r\n".join(ROWS))
    assert taobao.read(tmp_path / "UserBehavior.csv.zip")[0].rows() == TABLE


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("9,5,7,pv,1511539199", "row 3: timestamp is 1511539199; expected unix seconds of the"),
        ("9,5,7,pv,1512316800", "row 3: timestamp is 1512316800; expected unix seconds of the"),
        ("9,5,7,pv,-2134949234", "row 3: timestamp is -2134949234; expected"),
        (
            "9,5,7,click,1511600000",
            "row 3: behaviour is 'click'; expected pv, fav, cart or buy",
        ),
        ("9,5,7,,1511600000", "row 3: behaviour is missing; expected text"),
        ("9,5,7,pv,soon", "row 3: timestamp is 'soon'; expected an integer within 64 bits"),
        ("9,5000000000,7,pv,1511600000", "row 3: item is '5000000000'; expected an integer"),
        ("9,5,7", "row 3: behaviour is missing"),
        ("9,5,7,pv,1511600000,1", "row 3: the row is '6 fields'; expected 5 fields"),
        (
            "10,501,7,buy,1511600007",
            "row 3: the whole row is 'item 501 at time_ms 151160000700",
        ),
    ],
)
def test_a_bad_row_is_named_or_skipped(tmp_path, row, message):
    write(tmp_path, *ROWS[:2], row, *ROWS[2:])
    with pytest.raises(UserError, match="UserBehavior.csv, " + message):
        taobao.read(tmp_path)
    bad_rows = schema.BadRows(skip=True)
    assert taobao.read(tmp_path, bad_rows=bad_rows)[0].rows() == TABLE
    bad_rows.write(tmp_path)
    assert pl.read_csv(tmp_path / "rejected.csv")["row"].to_list() == [3]


def test_categories_as_items_count_events_that_agree_once(tmp_path, caplog):
    same = "9,509,7,pv,1511539200"  # another item of the category of the last row
    write(tmp_path, *ROWS, same)
    with caplog.at_level(logging.WARNING):
        config = taobao.TaobaoConfig(taobao_item="category")
        table, table_schema = taobao.read(tmp_path, config)
    assert table["item"].to_list() == [7, 8, 7, 8, 7]
    assert not table_schema.category
    assert "dropped 1 events" in caplog.text


@pytest.mark.parametrize("order", ["text", "numbers", "mixed"])
def test_blocks_give_the_table_of_the_whole(monkeypatch, tmp_path, order):
    rows = [
        f"{user},{item},{item % 5},{'pv' if item % 3 else 'buy'},{1511600000 + 70 * item % 97}"
        for user in range(1, 150)
        for item in range(user % 11 + 1)
    ]
    if order == "text":
        rows.sort(key=lambda row: row.partition(",")[0])
    elif order == "mixed":  # users are not together
        rows = rows[::2] + rows[1::2]
    bad = "2,1,1,pv,1"
    write(tmp_path, *rows[:300], bad, *rows[300:])
    monkeypatch.setattr(delimited, "_ROWS_AT_ONCE", 64)
    read_whole, calls = delimited.read, []

    def counted(*arguments, **options):
        calls.append(1)
        return read_whole(*arguments, **options)

    monkeypatch.setattr(delimited, "read", counted)
    rejected = schema.BadRows(skip=True)
    by_blocks, _ = taobao.read(tmp_path, bad_rows=rejected)
    assert bool(calls) == (order == "mixed")
    assert rejected.count == 1
    monkeypatch.setattr(delimited, "read_grouped", lambda *_, **__: None)
    whole, _ = taobao.read(tmp_path, bad_rows=schema.BadRows(skip=True))
    assert by_blocks.equals(whole)
    assert by_blocks.schema == whole.schema
    assert whole.height == len(rows)
    assert whole["user"].is_sorted()


def test_real_rows(real_data):
    folder = real_data / "taobao-userbehavior-sample"
    with pytest.raises(UserError, match=r"row 4171: timestamp is 1505117799.*38 more rows"):
        taobao.read(folder)
    bad_rows = schema.BadRows(skip=True)
    table, _ = taobao.read(folder, bad_rows=bad_rows)
    assert bad_rows.count == 39
    assert table.height == 94_225 - 39
    assert table["user"].n_unique() == 927
    assert [table[name].sum() for name in ("buy", "fav", "cart")] == [1955, 2563, 5026]
    config = taobao.TaobaoConfig(taobao_item="category")
    categories, _ = taobao.read(folder, config, schema.BadRows(skip=True))
    assert categories.height == table.height - 95
    assert categories["item"].n_unique() == 3_066
