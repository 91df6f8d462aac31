"""Tables: the numbers, their order, and nothing in them read as markup."""

import csv
import io

import pytest
import rich.console

from tfrec.report import style, tables


def _interval(mean, low, high):
    return {"mean": mean, "low": low, "high": high}


POLICIES = {
    "goalrec": {
        "reward": _interval(14.58, 14.017, 15.158),
        "ctr": _interval(0.5112, 0.499, 0.5251),
        "depth": _interval(28.52, 27.483, 29.616),
    },
    "mine": {
        "reward": _interval(9.0, 8.0, 10.0),
        "ctr": _interval(1 / 3, 0.3, 0.4),
        "depth": _interval(27.0, 26.0, 28.0),
        "watch_seconds": _interval(1234.5, 1200.0, 1300.0),
    },
    "optimum": {
        "reward": _interval(16.0, 15.0, 17.0),
        "ctr": _interval(0.5, 0.4, 0.6),
        "depth": _interval(32.0, 31.0, 33.0),
    },
    "random": {
        "reward": _interval(4.9, 4.8, 5.0),
        "ctr": _interval(0.2, 0.1, 0.3),
        "depth": _interval(24.5, 24.0, 25.0),
    },
}


def test_markdown_holds_mean_and_interval_from_random_to_the_optimum():
    assert tables.markdown(POLICIES) == (
        "| Policy | Reward (clicks per user session) | CTR (clicks per step) "
        "| Depth (steps per user session) |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| Random | 4.90 [4.80, 5.00] | 0.200 [0.100, 0.300] | 24.50 [24.00, 25.00] |\n"
        "| GoalRec | 14.58 [14.02, 15.16] | 0.511 [0.499, 0.525] | 28.52 [27.48, 29.62] |\n"
        "| mine | 9.00 [8.00, 10.00] | 0.333 [0.300, 0.400] | 27.00 [26.00, 28.00] |\n"
        "| Optimum | 16.00 [15.00, 17.00] | 0.500 [0.400, 0.600] "
        "| 32.00 [31.00, 33.00] |\n"
    )


def test_a_metric_that_a_policy_lacks_is_a_dash():
    lines = tables.markdown(POLICIES, ("watch_seconds",), first="Goal").splitlines()
    assert lines[0] == "| Goal | watch seconds (per user session) |"
    assert lines[2:] == [
        "| Random | – |", "| GoalRec | – |",
        "| mine | 1234 [1200, 1300] |", "| Optimum | – |",
    ]  # fmt: skip


def test_names_cannot_break_the_table():
    text = tables.markdown({"a|b<script>": POLICIES["random"]}, ("reward",))
    assert text.splitlines()[2] == r"| a\|b&lt;script> | 4.90 [4.80, 5.00] |"


def test_csv_keeps_every_digit():
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(POLICIES, ("ctr", "watch_seconds")))))
    assert [row["policy"] for row in rows] == ["random", "goalrec", "mine", "optimum"]
    assert float(rows[2]["ctr_mean"]) == 1 / 3
    assert float(rows[1]["ctr_high"]) == 0.5251
    assert rows[2]["watch_seconds_low"] == "1200.0"
    assert rows[0]["watch_seconds_low"] == ""


def test_the_terminals_table_fits_80_characters_and_shows_brackets():
    text = io.StringIO()
    tables.show(POLICIES, console=rich.console.Console(file=text, width=80))
    assert "GoalRec       14.58 [14.02,15.16]  0.511 [0.499,0.525]" in text.getvalue()
    assert "28.52 [27.48,29.62]" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 80


@pytest.mark.parametrize(
    ("values", "places"),
    [([0.5, 0.01], 3), ([0.2, 1.0], 2), ([-120.0], 1), ([5e4, 1], 0), ([], 3)],
)
def test_decimals_follow_the_largest_value(values, places):
    assert style.decimals(values) == places


def test_a_policy_has_one_colour_wherever_it_appears():
    listed = ["random", "popularity", "myopic", "goalrec_off", "goalrec", "optimum"]
    assert len({style.policy_colour(name) for name in listed}) == 6
    assert style.ordered(reversed(listed)) == listed
    assert style.policy_colour("mine") == style.policy_colour("mine")
    goals = ["clicks", "watch", "both", "optimum"]
    assert len(set(style.colours(goals))) == 4
    assert style.colours(goals)[3] == style.policy_colour("optimum")


def test_a_policy_keeps_its_name_colour_and_place_under_a_goal():
    keys = [
        style.under_goal(p, g) for p in ("goalrec", "goalrec_off") for g in ("click", "b_c")
    ]
    assert style.ordered(keys) == [*keys[2:], *keys[:2]]
    assert style.policy_and_goal(keys[1]) == ("goalrec", "b_c")
    assert style.policy_and_goal("goalrec") == ("goalrec", "")
    assert style.policy_name(keys[3]) == "GoalRec-off, goal b_c"
    assert style.policy_colour(keys[0]) == style.policy_colour("goalrec")
    mine = [style.under_goal("mine", goal) for goal in ("click", "b_c")]
    first, second, third, *_ = style.colours([*mine, *keys])
    assert first == second != third == style.policy_colour("goalrec")


def test_a_p_value_is_never_zero():
    assert [style.p_value(p) for p in (0.0, 0.000999, 0.001, 0.04567, 1.0)] == [
        "< 0.001", "< 0.001", "0.001", "0.046", "1.000"
    ]  # fmt: skip


def test_amounts_in_tiny_and_huge_units_keep_their_digits():
    def interval(mean):
        return {"tip": {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean}}

    for mean, cell in (
        (2.6e-8, "2.60e-08 [2.34e-08, 2.86e-08]"),
        (3.1e9, "3.10e+09 [2.79e+09"),
    ):
        assert cell in tables.markdown({"mine": interval(mean)}, ("tip",))
    assert "0.0260" not in tables.markdown({"mine": interval(0.026)}, ("tip",))
    assert style.formatter([0.0, 0.0])(0.0) == "0.000"
    assert style.formatter([12.0], least=3)(12.0) == "12.000"
