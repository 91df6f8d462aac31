"""Which names may be given to feedback columns, units and goals."""

import pytest

from tfrec import names, types
from tfrec.data import schema
from tfrec.errors import UserError


@pytest.mark.parametrize(
    "name",
    ["exit", "step", "mean", "embedding", "Exit", "user", "item", "time_ms", "category",
     "propensity", "reward", "ctr", "depth", "share",
     "", "is click", "a@0", "a.b", "a,b", "a=b", "a;b", "a*b", "a+b", "mean(a)", "a:b", "a|b",
     "a[0]", "a/b", "a-b", "1st", "_a", "__row__", "a\n", "a" * 65],
)  # fmt: skip
def test_a_feedback_column_that_means_something_else_is_rejected(name):
    with pytest.raises(UserError) as error:
        types.FeedbackColumn(name, "binary", "clicks")
    said = str(error.value)
    assert f"feedback column {name!r}" in said
    assert "--feedback='feedback" in said and f"={name}:binary:clicks'" in said


def test_the_proposed_name_may_be_used():
    for name in ("exit", "is click", "%", "1st", "[x]"):
        with pytest.raises(UserError) as error:
            types.FeedbackColumn(name, "binary", "clicks")
        proposed = str(error.value).partition("--feedback='")[2].partition("=")[0]
        types.FeedbackColumn(proposed, "binary", "clicks")


@pytest.mark.parametrize(
    "name", ["click", "watch_seconds", "Like2", "exits", "größe", "a" * 64]
)
def test_a_plain_word_is_a_feedback_column(name):
    assert types.FeedbackColumn(name, "amount", "km/h").name == name


@pytest.mark.parametrize(
    "unit", ["", "[bold]", "a|b", "`s`", "<b>", "a\nb", "$x$", "*", "\\", 'a"b', "u" * 65]
)
def test_a_unit_that_breaks_tables_and_pages_is_rejected(unit):
    with pytest.raises(UserError, match="feedback column 'tip': the unit is .*; expected 1 to"):
        types.FeedbackColumn("tip", "amount", unit)


@pytest.mark.parametrize("unit", ["€", "%", "m²", "long views", "1e-8 btc", "clicks (1/s)"])
def test_usual_units(unit):
    assert types.FeedbackColumn("tip", "amount", unit).unit == unit


def test_a_kind_that_does_not_exist_is_rejected():
    with pytest.raises(UserError, match="'tip': kind is 'money'; expected binary or amount"):
        types.FeedbackColumn("tip", "money", "euros")


def test_two_columns_of_one_name_are_rejected_wherever_a_schema_is_made():
    column = types.FeedbackColumn("click", "binary", "clicks")
    other = types.FeedbackColumn("Click", "binary", "clicks")
    with pytest.raises(UserError, match="feedback column 'click' is given twice"):
        schema.Schema(feedback=(column, column))
    with pytest.raises(UserError, match="'Click' differs from 'click' by case alone"):
        types.DataSpec((column, other), 1, 1, 1, 1)


def test_data_that_was_stored_before_is_checked_when_it_is_opened():
    column = {"name": "exit", "kind": "binary", "unit": "exits", "scale": 1.0}
    fields = {"num_items": 1, "num_users": 1, "history_length": 1, "max_steps": 1}
    with pytest.raises(UserError, match="feedback column 'exit'"):
        types.DataSpec.restored({"feedback": [column], **fields})


@pytest.mark.parametrize("name", ["clicks", "long stay", "stay-2", "v1.5", "größe", "a_b"])
def test_usual_goal_names(name):
    names.check_label("goal", name)


@pytest.mark.parametrize(
    "name",
    ["", " a", "a ", "1", "__proto__", "a,b", "a=b", "a[b]", "a|b", "a\nb", "$a$", "a/b"],
)
def test_a_goal_name_that_cannot_be_asked_for_is_rejected(name):
    with pytest.raises(
        UserError, match="goal name .*: expected a letter, then letters, digits"
    ):
        names.check_label("goal", name)
