import polars as pl
import pytest

from tfrec import types
from tfrec.data import schema
from tfrec.errors import UserError

SCHEMA = schema.Schema(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("watch", "amount", "seconds"),
    )
)


def table(**changes):
    """Three good rows; a change replaces a column."""
    columns = {
        "user": [2, 1, 1],
        "item": [30, 10, 20],
        "time_ms": [5000, 9000, 7000],
        "click": [1, 0, 1],
        "watch": [2.5, 0.0, 4.0],
    }
    return pl.DataFrame(columns | changes, strict=False)


def test_orders_by_user_and_time_and_casts():
    good = schema.validate(table(), SCHEMA, "log.csv")
    assert good.rows() == [
        (1, 20, 7000, 1.0, 4.0),
        (1, 10, 9000, 0.0, 0.0),
        (2, 30, 5000, 1.0, 2.5),
    ]
    assert good.schema["click"] == pl.Float32
    assert good.schema["time_ms"] == pl.Int64


def test_events_at_one_time_keep_the_order_of_the_file():
    frame = table(user=["a", "a", "a"], item=["z", "y", "x"], time_ms=[1, 1, 1])
    assert schema.validate(frame, SCHEMA, "log.csv")["item"].to_list() == ["z", "y", "x"]


def test_order_of_users_and_times_too_far_apart_for_one_key():
    frame = table(user=[2**62, 0, 0], time_ms=[schema.LATEST_MS, 9, 0])
    good = schema.validate(frame, SCHEMA, "log.csv")
    assert good["user"].to_list() == [0, 0, 2**62]
    assert good["time_ms"].to_list() == [0, 9, schema.LATEST_MS]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": [2, None, 1]}, "log.csv, row 3: user is missing; expected an id"),
        ({"user": ["a", "", "b"]}, "row 3: user is ''; expected an id of 1 to 256 bytes"),
        ({"item": ["a", "b", "c" * 300]}, r"row 4: item is 'c+\.\.\. \(300 characters\)'"),
        ({"time_ms": [5, -1, 7]}, "row 3: time_ms is -1; expected unix milliseconds"),
        ({"time_ms": [5, 10**15, 7]}, "row 3: time_ms is 1000000000000000; expected unix"),
        ({"click": [1, 0, 2]}, "row 4: click is 2.0; expected 0 or 1"),
        (
            {"watch": [1.0, 2e30, 1.0]},
            "row 3: watch is .*; expected a number of seconds, 0 or m",
        ),
        ({"watch": [1.0, float("nan"), 1.0]}, "row 3: watch is nan; expected a number of sec"),
        ({"watch": [float("inf"), 1.0, 1.0]}, "row 2: watch is inf; expected a number"),
        ({"watch": [1.0, 1.0, -0.5]}, "row 4: watch is -0.5; expected a number of seconds, 0"),
    ],
)
def test_a_bad_value_names_row_column_and_value(changes, message):
    with pytest.raises(UserError, match=message):
        schema.validate(table(**changes), SCHEMA, "some/folder/log.csv")


def test_a_message_counts_the_further_rows():
    with pytest.raises(UserError, match=r"row 2: click is 3.0.*\(2 more rows like it\)"):
        schema.validate(table(click=[3, 3, 3]), SCHEMA, "log.csv")


def test_names_of_the_file_are_used():
    with pytest.raises(UserError, match="row 3: timestamp is -1"):
        schema.validate(
            table(time_ms=[5, -1, 7]), SCHEMA, "log.csv", names={"time_ms": "timestamp"}
        )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table().drop("watch"), "log.csv: no column 'watch'; the file has user, item"),
        (table(watch=["a", "b", "c"]), "column 'watch' holds String; expected numbers"),
        (table(time_ms=[0.5, 1.5, 2.5]), "column 'time_ms' holds Float64; expected integers"),
        (table(user=[0.5, 1.5, 2.5]), "column 'user' holds Float64; expected integers or str"),
        (table().clear(), "log.csv: no rows"),
    ],
)
def test_a_bad_table_names_the_column(frame, message):
    with pytest.raises(UserError, match=message):
        schema.validate(frame, SCHEMA, "log.csv")


def test_unsigned_ids_beyond_64_bits_with_sign():
    frame = table().with_columns(pl.Series("item", [1, 2**63, 3], dtype=pl.UInt64))
    with pytest.raises(UserError, match="row 3: item is 9223372036854775808; expected an int"):
        schema.validate(frame, SCHEMA, "log.parquet")


def test_propensity_is_a_probability():
    with_propensity = schema.Schema(feedback=SCHEMA.feedback, propensity=True)
    frame = table().with_columns(propensity=pl.Series([0.5, 1.0, 0.0]))
    with pytest.raises(UserError, match="row 4: propensity is 0.0; expected a probability"):
        schema.validate(frame, with_propensity, "log.csv")


@pytest.mark.parametrize("ids", [[1, 1, 1], ["a", "a", "a"]])
def test_a_repeated_event_is_an_error_that_names_the_second_row(ids):
    frame = table(user=ids, item=ids, time_ms=[7, 8, 7], click=[1, 1, 1], watch=[2, 2, 2])
    with pytest.raises(UserError, match="row 4: the whole row is 'item (1|a) at time_ms 7'"):
        schema.validate(frame, SCHEMA, "log.csv")


def test_the_same_item_twice_with_other_feedback_is_no_repeat():
    frame = table(user=[1, 1, 1], item=[5, 5, 5], time_ms=[7, 7, 7], click=[1, 0, 0])
    assert schema.validate(frame, SCHEMA, "log.csv").height == 3


def test_a_repeat_among_others_at_the_same_time_is_found():
    frame = table(user=[1, 1, 1], item=[5, 6, 5], time_ms=[7, 7, 7], click=1, watch=2.0)
    with pytest.raises(UserError, match="row 4"):
        schema.validate(frame, SCHEMA, "log.csv")


def test_skipping_drops_and_lists(tmp_path):
    bad_rows = schema.BadRows(skip=True)
    frame = pl.concat([table(), table(click=[1, 7, 1])])  # rows 2-4 and 5-7
    good = schema.validate(frame, SCHEMA, "log.csv", bad_rows)
    # Row 6 is bad, rows 5 and 7 repeat rows 2 and 4.
    assert good.height == 3
    assert good.columns == list(SCHEMA.columns)
    bad_rows.write(tmp_path)
    rejected = pl.read_csv(tmp_path / "rejected.csv")
    assert rejected["row"].to_list() == [5, 6, 7]
    assert rejected["column"].to_list() == ["the whole row", "click", "the whole row"]
    assert rejected["value"][1] == "7.0"
    assert bad_rows.count == 3


def test_nothing_to_list_writes_nothing(tmp_path):
    schema.BadRows(skip=True).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_ids_that_cannot_be_exported_are_rejected():
    for item in ("a\nb", "a\tb", "a\rb", "a\x00", "a\u2028b"):
        with pytest.raises(UserError, match="row 3: item is .*; expected an id without line"):
            schema.validate(table(item=["x", item, "y"]), SCHEMA, "log.csv")
    with pytest.raises(UserError, match="row 3: item is -1; expected an item id other than -1"):
        schema.validate(table(item=[3, -1, 2]), SCHEMA, "log.csv")
    frame = table(user=[-1, -1, 7], item=["-1", "👨\u200d👩\u200d👧", "é, b; c"])
    assert schema.validate(frame, SCHEMA, "log.csv").height == 3


def test_warnings_of_a_table_as_a_whole():
    good = schema.validate(table(), SCHEMA, "log.csv")
    assert schema.warnings(good, SCHEMA) == []
    odd = table(time_ms=[7, 7, 7], click=[1, 1, 1], watch=[0, 0, 0])
    same, click, watch = schema.warnings(schema.validate(odd, SCHEMA, "log.csv"), SCHEMA)
    assert same.startswith("every event has the same time, 1970-01-01T00:00:00")
    assert click == "click is 1 in every row: nothing can be learned about it"
    assert watch == "watch is 0 in every row: nothing can be learned about it"
    rows = 20_001
    wide = pl.DataFrame(
        {"user": 1, "item": pl.Series(range(rows)), "time_ms": pl.Series(range(rows))}
    ).with_columns(
        click=pl.col("item") % 2, watch=pl.when(pl.col("item") == 9).then(5.0).otherwise(0.0)
    )
    [spread] = schema.warnings(schema.validate(wide, SCHEMA, "log.csv"), SCHEMA)
    assert spread.startswith("watch: the largest amount, 5 seconds, is 20,001 times the mean")


def test_implausible_times_are_counted_over_parts_of_a_file():
    first, second = schema.BadRows(), schema.BadRows()
    late = schema.latest_plausible_ms() + 60_000
    schema.validate(table(time_ms=[1_600_000_000_000, 5, 7]), SCHEMA, "log.csv", first)
    schema.validate(
        table(time_ms=[late, 1_600_000_000_000, 7]), SCHEMA, "log.csv", second, first_row=5
    )
    second.add(first)
    [said] = second.warnings
    assert said.startswith("log.csv, row 3: time_ms is 1970-01-01T00:00:00; expected a time")
    assert said.endswith("(3 more rows like it)")


def test_rows_of_several_files_are_named_in_their_file(tmp_path):
    together = schema.Files(["a.txt", "b.txt", "c.txt"], [0, 10, 10])
    rows, values = pl.Series([3, 10, 11, 15]), pl.Series(["w", "x", "y", "z"])
    with pytest.raises(UserError, match="a.txt, row 3: it is 'w'; expected more. .1 more rows"):
        schema.BadRows().reject(together, rows, "it", values, "more")
    bad_rows = schema.BadRows(skip=True)
    bad_rows.reject(together, rows, "it", values, "more")
    assert bad_rows.rejected.select("file", "row", "value").rows() == [
        ("a.txt", 3, "w"),
        ("a.txt", 10, "x"),
        ("c.txt", 1, "y"),  # b has no rows
        ("c.txt", 5, "z"),
    ]


def test_rows_that_another_process_rejected_are_taken_over():
    other = schema.BadRows(skip=True)
    other.reject("b.txt", pl.Series([2]), "stars", pl.Series(["x"]), "a number")
    other.reject("a.txt", pl.Series([7, 9]), "time", pl.Series([None, "y"]), "a time")
    with pytest.raises(
        UserError, match="a.txt, row 7: time is missing; expected a time. .1 mor"
    ):
        schema.BadRows().take(other.rejected)
    bad_rows = schema.BadRows(skip=True)
    bad_rows.take(other.rejected)
    assert bad_rows.rejected.equals(other.rejected)
    schema.BadRows().take(schema.BadRows().rejected)  # none
