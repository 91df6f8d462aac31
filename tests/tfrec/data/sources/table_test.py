import datetime

import polars as pl
import pytest

from tfrec.data import feature_schema, schema
from tfrec.data.sources import table
from tfrec.errors import UserError

CONFIG = table.TableConfig(
    user="who",
    item="what",
    time="when",
    feedback=("bought:binary:purchases", "price:amount:euros"),
)
CSV = "when,who,what,bought,price,more\n20,ann,9,0,0,x\n10,ann,7,1,9.5,y\n30,bob,9,1,3,z\n"
ROWS = [
    ("ann", 7, 10_000, 1.0, 9.5),
    ("ann", 9, 20_000, 0.0, 0.0),
    ("bob", 9, 30_000, 1.0, 3.0),
]


def test_a_csv_by_its_mapping(tmp_path):
    (tmp_path / "log.csv").write_text(CSV)
    frame, log_schema = table.read(tmp_path / "log.csv", CONFIG)
    assert frame.rows() == ROWS
    assert frame.columns == ["user", "item", "time_ms", "bought", "price"]
    assert [column.unit for column in log_schema.feedback] == ["purchases", "euros"]


def test_a_parquet_file(tmp_path):
    pl.read_csv(CSV.encode()).write_parquet(tmp_path / "log.parquet")
    assert table.read(tmp_path / "log.parquet", CONFIG)[0].rows() == ROWS


def test_parquet_times(tmp_path):
    frame = pl.read_csv(CSV.encode()).with_columns(
        when=pl.from_epoch("when", "s").dt.cast_time_unit("us")
    )
    frame.write_parquet(tmp_path / "log.parquet")
    assert table.read(tmp_path / "log.parquet", CONFIG)[0].rows() == ROWS


def test_category_and_propensity(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time,click,kind,p\n1,2,3,1,toys,0.25\n")
    config = table.TableConfig(category="kind", propensity="p")
    frame, log_schema = table.read(tmp_path / "log.csv", config)
    assert frame.rows() == [(1, 2, 3000, 1.0, "toys", 0.25)]
    assert log_schema.category and log_schema.propensity


CONTEXT = (
    feature_schema.FeatureColumn(name="device"),
    feature_schema.FeatureColumn(name="load", kind="number"),
)
CONTEXT_CSV = "user,item,time,click,device,load\n1,2,3,1, phone ,0.5\n1,3,4,0,,\n"


def test_columns_of_the_context(tmp_path):
    (tmp_path / "log.csv").write_text(CONTEXT_CSV)
    frame, log_schema = table.read(tmp_path / "log.csv", context=CONTEXT)
    assert log_schema.context == ("device", "load")
    assert frame.columns[-2:] == ["context.device", "context.load"]
    assert frame.rows() == [(1, 2, 3000, 1.0, "phone", 0.5), (1, 3, 4000, 0.0, None, None)]
    text = CONTEXT_CSV.replace(" phone ", '"a, b"')  # the csv module reads it
    (tmp_path / "quoted.csv").write_text(text)
    assert table.read(tmp_path / "quoted.csv", context=CONTEXT)[0].rows() == [
        (1, 2, 3000, 1.0, "a, b", 0.5), (1, 3, 4000, 0.0, None, None),
    ]  # fmt: skip
    pl.read_csv(CONTEXT_CSV.encode()).write_parquet(tmp_path / "log.parquet")
    assert table.read(tmp_path / "log.parquet", context=CONTEXT)[0].rows() == frame.rows()
    assert table.read(tmp_path / "log.csv")[0].columns[-1] == "click"


def test_rows_that_differ_in_the_context_alone_are_repeated(tmp_path):
    (tmp_path / "log.csv").write_text(CONTEXT_CSV.replace("1,3,4,0", "1,2,3,1"))
    with pytest.raises(
        UserError, match="log.csv, row 3: the whole row is .*no event of a user tw"
    ):
        table.read(tmp_path / "log.csv", context=CONTEXT)


@pytest.mark.parametrize(
    ("config", "text", "message"),
    [
        (
            table.TableConfig(),
            CONTEXT_CSV.replace("0.5", "much"),
            "row 2: load is 'much'; expect",
        ),
        (table.TableConfig(), CSV, "no column 'user'"),
        (
            table.TableConfig(),
            CONTEXT_CSV.replace("device,", "gadget,"),
            "no column 'device'; the file has user",
        ),
        (
            table.TableConfig(category="device"),
            CONTEXT_CSV,
            r"column 'device' is used twice, for category and for \[context.device\]",
        ),
        (
            table.TableConfig(time_unit="random"),
            CONTEXT_CSV,
            r"\[context.device\] and time_unit=random: a session of drawn order has no first",
        ),
    ],
)
def test_mistakes_in_columns_of_the_context(tmp_path, config, text, message):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        table.read(tmp_path / "log.csv", config, context=CONTEXT)


@pytest.mark.parametrize(
    ("unit", "written", "milliseconds"),
    [
        ("s", "1714566600", 1714566600000),
        ("ms", "1714566600123", 1714566600123),
        ("iso", "2024-05-01T12:30:00", 1714566600000),
        ("iso", "2024-05-01T14:30:00.123+02:00", 1714566600123),
        ("iso", "2024-05-01 12:30:00", 1714566600000),
        ("iso", "2024-05-01", 1714521600000),
    ],
)
def test_units_of_time(tmp_path, unit, written, milliseconds):
    (tmp_path / "log.csv").write_text(f"user,item,time,click\n1,2,{written},1\n")
    frame, _ = table.read(tmp_path / "log.csv", table.TableConfig(time_unit=unit))
    assert frame["time_ms"].to_list() == [milliseconds]


@pytest.mark.parametrize(
    ("unit", "written", "message"),
    [
        ("iso", "yesterday", "row 2: time is 'yesterday'; expected an ISO 8601 time"),
        ("s", "2024-05-01", "row 2: time is '2024-05-01'; expected an integer"),
        ("s", "1714566600123", "row 2: time is 1714566600123; expected unix time in s"),
    ],
)
def test_a_bad_time_is_named(tmp_path, unit, written, message):
    (tmp_path / "log.csv").write_text(f"user,item,time,click\n1,2,{written},1\n")
    with pytest.raises(UserError, match=message):
        table.read(tmp_path / "log.csv", table.TableConfig(time_unit=unit))


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [
        (["1", "22"], pl.Int64),
        (["1", "022"], pl.String),  # as a number it would be another id
        (["1", "u2"], pl.String),
        (["1", "9" * 30], pl.String),  # too large for a number
    ],
)
def test_ids_are_numbers_only_if_all_are(tmp_path, ids, dtype):
    rows = "".join(f"{user},5,{n},1\n" for n, user in enumerate(ids))
    (tmp_path / "log.csv").write_text("user,item,time,click\n" + rows)
    frame, _ = table.read(tmp_path / "log.csv")
    assert frame.schema["user"] == dtype
    assert sorted(str(user) for user in frame["user"]) == sorted(ids)


@pytest.mark.parametrize("separator", ["\t", "\\t", ";"])
def test_other_separators(tmp_path, separator):
    content = CSV.replace(",", separator.replace("\\t", "\t"))
    (tmp_path / "log.txt").write_text(content)
    config = table.TableConfig(
        user="who", item="what", time="when", feedback=CONFIG.feedback, separator=separator
    )
    assert table.read(tmp_path / "log.txt", config)[0].rows() == ROWS


def test_an_absent_column_is_named(tmp_path):
    (tmp_path / "log.csv").write_text(CSV)
    with pytest.raises(
        UserError, match="log.csv, row 1: no column 'user'; the file has when, w"
    ):
        table.read(tmp_path / "log.csv")
    pl.read_csv(CSV.encode()).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match="log.parquet: no column 'user'; the file has when, w"):
        table.read(tmp_path / "log.parquet")


def test_a_folder_with_two_logs(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text(CSV)
    with pytest.raises(UserError, match="holds a.csv and b.csv; name the file"):
        table.read(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feedback": ("click",)}, "feedback is 'click'; expected name:kind:unit"),
        ({"feedback": ("click:boolean:clicks",)}, "expected name:kind:unit"),
        ({"feedback": ("price:amount:euros",)}, "expected a binary click"),
        ({"item": "user"}, "column 'user' is used twice, for user and for item"),
        ({"time": "click"}, "column 'click' is used twice, for time and for click"),
        ({"feedback": ("a=x:binary:u", "b=x:binary:u")}, "'x' is used twice, for a and for b"),
        ({"user": ""}, "user is ''; expected the name of a column"),
        ({"feedback": ("a:binary:x", "a:binary:x")}, "'a:binary:x' is repeated"),
        ({"separator": "::"}, "separator is '::'; expected one character"),
        ({"separator": '"'}, "expected no quote, backslash or line end"),
    ],
)
def test_bad_options_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        table.TableConfig(**changes)


def test_bad_rows_of_a_parquet_file_are_numbered_from_one(tmp_path):
    frame = pl.read_csv(CSV.encode()).with_columns(bought=pl.Series([0, 1, 5]))
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match="log.parquet, row 3: bought is 5.0; expected 0 or 1"):
        table.read(tmp_path / "log.parquet", CONFIG)
    bad_rows = schema.BadRows(skip=True)
    assert table.read(tmp_path / "log.parquet", CONFIG, bad_rows)[0].rows() == ROWS[:2]


def test_dates_of_a_parquet_file(tmp_path):
    frame = pl.read_csv(CSV.encode()).with_columns(when=datetime.date(2024, 5, 1))
    frame.write_parquet(tmp_path / "log.parquet")
    frame, _ = table.read(tmp_path / "log.parquet", CONFIG)
    assert frame["time_ms"].unique().to_list() == [1714521600000]


def test_spaces_in_a_parquet_file_are_dropped(tmp_path):
    frame = pl.DataFrame(
        {" user": [" a", "a "], "item ": ["007", " 7\t"], "time": [1, 2], "click": [0, 1]}
    )
    frame.write_parquet(tmp_path / "log[1].parquet")
    table_read, _ = table.read(tmp_path / "log[1].parquet")
    assert table_read.select("user", "item").rows() == [("a", "007"), ("a", "7")]


def test_two_parquet_columns_that_differ_by_a_space(tmp_path):
    frame = pl.DataFrame({"user": [1], "item": [2], "item ": [3], "time": [1], "click": [0]})
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match="log.parquet: two columns have the name 'item'"):
        table.read(tmp_path / "log.parquet")


@pytest.mark.parametrize("item", ["+7", "1e3", "9223372036854775808", "007", "-0"])
def test_ids_keep_every_character(item, tmp_path):
    (tmp_path / "log.csv").write_text(f"user,item,time,click\n1,{item},1,0\n1, 7 ,2,0\n")
    frame, _ = table.read(tmp_path / "log.csv")
    assert frame["item"].to_list() == [item, "7"]


@pytest.mark.parametrize("column", ["exit", "is click", "a:b", "step", "item"])
def test_a_column_of_any_name_is_read_under_another(tmp_path, column):
    (tmp_path / "log.csv").write_text(f"user,what,time,{column}\n1,2,3,1\n")
    with pytest.raises(UserError, match="feedback column '.*--feedback='feedback_"):
        table.TableConfig(item="what", feedback=(f"{column}:binary:clicks",))
    config = table.TableConfig(item="what", feedback=(f"mine={column}:binary:clicks",))
    frame, log_schema = table.read(tmp_path / "log.csv", config)
    assert frame.rows() == [(1, 2, 3000, 1.0)]
    assert [one.name for one in log_schema.feedback] == ["mine"]
    (tmp_path / "log.csv").write_text(f"user,what,time,{column}\n1,2,3,5\n")
    with pytest.raises(UserError, match=f"row 2: {column} is 5.0; expected 0 or 1"):
        table.read(tmp_path / "log.csv", config)


def test_feedback_called_time_is_not_the_time(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,ts,click,time\n1,2,3,1,7\n")
    feedback = ("click:binary:clicks", "time:amount:seconds")
    config = table.TableConfig(time="ts", feedback=feedback)
    assert table.read(tmp_path / "log.csv", config)[0].rows() == [(1, 2, 3000, 1.0, 7.0)]


def test_columns_called_row_are_columns_like_others(tmp_path):
    text = "row,item,time,click\n" + "".join(f"u{n},2,{n},1\n" for n in range(5))
    (tmp_path / "log.csv").write_text(text + "u9,2,9,3\n")
    config = table.TableConfig(user="row")
    with pytest.raises(UserError, match="log.csv, row 7: click is 3.0; expected 0 or 1"):
        table.read(tmp_path / "log.csv", config)
    (tmp_path / "log.csv").write_text(text + "u9,2,9,banana\n")
    with pytest.raises(UserError, match="log.csv, row 7: click is 'banana'; expected a number"):
        table.read(tmp_path / "log.csv", config)


@pytest.mark.parametrize(
    ("unit", "written", "milliseconds"),
    [
        ("us", "1714566600123456", 1714566600123),
        ("ns", "1714566600123456789", 1714566600123),
        ("iso", "2024-05-01T12:30", 1714566600000),
        ("iso", "2024-05-01T12:30:00Z", 1714566600000),
        ("iso", "2024-05-01 14:30:00+0200", 1714566600000),
        ("iso", "2024-05-01T12:30:00.123456", 1714566600123),
    ],
)
def test_more_units_of_time(tmp_path, unit, written, milliseconds):
    (tmp_path / "log.csv").write_text(f"user,item,time,click\n1,2,{written},1\n")
    frame, _ = table.read(tmp_path / "log.csv", table.TableConfig(time_unit=unit))
    assert frame["time_ms"].to_list() == [milliseconds]


@pytest.mark.parametrize(
    "written",
    ["01/02/2024", "01-02-2024", "2024/02/01", "01.02.2024 10:00", "2024-02-01T25:00"],
)
def test_a_date_whose_order_must_be_guessed_is_refused(tmp_path, written):
    (tmp_path / "log.csv").write_text(
        f"user,item,time,click\n1,2,2024-05-01,1\n1,3,{written},1\n"
    )
    with pytest.raises(UserError, match=f"row 3: time is '{written}'; expected an ISO 8601"):
        table.read(tmp_path / "log.csv", table.TableConfig(time_unit="iso"))


def test_times_with_and_without_a_zone_are_not_mixed(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user,item,time,click\n1,2,2024-05-01T10:00:00+02:00,1\n1,3,2024-05-01T10:00:00,1\n"
    )
    config = table.TableConfig(time_unit="iso")
    with pytest.raises(
        UserError, match="row 3: time is '2024-05-01T10:00:00'; expected a time"
    ):
        table.read(tmp_path / "log.csv", config)
    (tmp_path / "log.csv").write_text(
        "user,item,time,click\n1,2,2024-05-01T10:00:00+02:00,1\n1,3,2024-05-01T10:00:00Z,1\n"
    )
    times = table.read(tmp_path / "log.csv", config)[0]["time_ms"].to_list()
    assert times == [1714550400000, 1714557600000]  # 8 and 10 o'clock UTC


@pytest.mark.parametrize(
    ("unit", "value", "right"),
    [
        ("ms", 1_709_251_200, "s"),
        ("s", 1_709_251_200_000, "ms"),
        ("s", 1_709_251_200_000_000, "us"),
        ("ms", 1_709_251_200_000_000_000, "ns"),
        ("us", 1_709_251_200, "s"),
    ],
)
def test_a_mistaken_unit_of_time_is_refused_with_the_right_one(tmp_path, unit, value, right):
    rows = "".join(f"1,{n},{value + n},1\n" for n in range(3))
    (tmp_path / "log.csv").write_text("user,item,time,click\n" + rows)
    with pytest.raises(UserError) as error:
        table.read(tmp_path / "log.csv", table.TableConfig(time_unit=unit))
    said = str(error.value)
    assert f"log.csv, row 2: time is {value}" in said
    assert "2024-03-01" in said and f"pass --time_unit={right}" in said


def test_integers_that_only_order_the_events(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time,click\n1,2,4,1\n1,3,0,1\n2,3,7,1\n")
    config, bad_rows = table.TableConfig(time_unit="order"), schema.BadRows()
    frame, log_schema = table.read(tmp_path / "log.csv", config, bad_rows)
    start = schema.COUNTED_FROM_MS
    assert frame["time_ms"].to_list() == [start, start + 4, start + 7]
    assert frame["item"].to_list() == [3, 2, 3]
    assert log_schema.order == "file"
    assert bad_rows.warnings == ["the log has no times: time orders each user's events"]
    (tmp_path / "log.csv").write_text("user,item,time,click\n1,2,4,1\n1,3,-1,1\n")
    with pytest.raises(UserError, match="row 3: time is -1; expected an integer from 0 to 31"):
        table.read(tmp_path / "log.csv", config)


def test_a_random_order_where_there_is_none(tmp_path):
    rows = [f"u{user},{item},{item % 2}" for user in range(3) for item in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,click", *rows]))

    def items(seed):
        bad_rows = schema.BadRows()
        config = table.TableConfig(time_unit="random", time_seed=seed)
        frame, log_schema = table.read(tmp_path / "log.csv", config, bad_rows)
        assert log_schema.order == "random"
        assert f"random order, drawn with --time_seed={seed}" in bad_rows.warnings[0]
        assert (
            frame["user"].cast(pl.String).to_list() == ["u0"] * 20 + ["u1"] * 20 + ["u2"] * 20
        )
        assert frame["click"].to_list() == [item % 2 for item in frame["item"]]
        return frame["item"].to_list()

    assert items(1) == items(1) != items(2)
    assert sorted(items(1)[:20]) == list(range(20)) != items(1)[:20]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,click", *rows, "u1,3,0"]))
    with pytest.raises(UserError, match="log.csv, row 62: the row is 'user u1, item 3'; expec"):
        items(1)


def test_without_feedback_every_event_is_a_click(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time,click\n1,2,4,0\n1,3,5,x\n")
    frame, log_schema = table.read(tmp_path / "log.csv", table.TableConfig(feedback=()))
    assert frame.rows() == [(1, 2, 4000, 1.0), (1, 3, 5000, 1.0)]
    assert log_schema.feedback[0].name == "click"


def test_real_rows_in_time_order(real_data):
    config = table.TableConfig(
        user="reviewerID", item="asin", time="order", time_unit="order", feedback=()
    )
    frame, _ = table.read(real_data / "amazon-cds-hgn" / "CDs_user_asin_order.csv", config)
    assert (frame.height, frame["user"].n_unique(), frame["item"].n_unique()) == (
        472_265,
        17_052,
        35_118,
    )


def test_some_implausible_times_are_warned_of(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user,item,time,click\n1,2,1709251200,1\n1,3,86400,1\n1,4,172800,1\n"
    )
    bad_rows = schema.BadRows()
    assert table.read(tmp_path / "log.csv", bad_rows=bad_rows)[0].height == 3
    assert bad_rows.warnings == [
        "log.csv, row 3: time is 1970-01-02T00:00:00; expected a time between 1990 and "
        "tomorrow. Is the unit of time right? (1 more rows like it)"
    ]
