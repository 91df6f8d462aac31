import csv
import io

import numpy as np
import pytest

from tfrec.report import comparison

TITLES = {"films": "Films", "shop": "Shop"}


def sessions(reward, depth):
    reward, depth = np.asarray(reward, float), np.asarray(depth)
    return {"user": np.arange(len(reward)), "reward": reward, "depth": depth}


def printed(method, data_set):
    cells = {("goalrec", "films"): comparison.Printed(31.6, 0.544, 58.1)}
    return cells.get((method, data_set))


def test_spread_is_over_seeds():
    # Seed 0: 2 clicks a session in 4 steps; seed 1: 4 clicks in 5 steps.
    by_seed = [sessions([1, 3], [4, 4]), sessions([4, 4], [6, 4])]
    assert comparison.spread(by_seed, "reward") == pytest.approx((3.0, np.sqrt(2.0), 2))
    assert comparison.spread(by_seed, "ctr")[:2] == pytest.approx((0.65, 0.3 / np.sqrt(2.0)))
    assert comparison.spread(by_seed, "depth")[:2] == pytest.approx((4.5, 1 / np.sqrt(2.0)))


def test_a_table_shows_ours_the_printed_and_what_was_not_run():
    evaluated = {"films": {"goalrec": [sessions([1, 3], [4, 4])]}}
    text = comparison.markdown(evaluated, ["rainbow", "goalrec"], TITLES, printed, seeds=3)
    heading, _, rainbow, goalrec = text.splitlines()
    assert heading.count("reward") == 2 and "Films: reward" in heading
    assert rainbow == "| Rainbow |" + " not run |" * 6
    assert "2.00 [1 of 3 seeds] (31.60)" in goalrec
    assert "0.500 [1 of 3 seeds] (0.544)" in goalrec and "4.0 [1 of 3 seeds] (58.1)" in goalrec
    assert goalrec.endswith("| not run | not run | not run |")


def test_csv_has_a_line_for_each_cell_and_metric():
    evaluated = {"films": {"goalrec": [sessions([1, 3], [4, 4]), sessions([4, 4], [6, 4])]}}
    rows = list(
        csv.DictReader(io.StringIO(comparison.to_csv(evaluated, ["goalrec"], TITLES, printed)))
    )
    assert len(rows) == 2 * 3
    reward = rows[0]
    assert (reward["data_set"], reward["metric"], reward["seeds"]) == ("films", "reward", "2")
    assert float(reward["mean"]) == 3.0 and float(reward["published"]) == 31.6
    assert float(reward["low"]) <= 3.0 <= float(reward["high"])
    assert rows[3]["mean"] == "" and rows[3]["seeds"] == "0"


def test_gain_is_a_share_of_the_other_and_paired_over_users():
    random = np.random.default_rng(0)
    base = random.uniform(10, 30, 200)  # users differ much, yet each gains a tenth
    ours = [sessions(1.1 * base, np.full(200, 50))]
    theirs = [sessions(base, np.full(200, 50))]
    gain = comparison.gain(ours, theirs)
    assert gain.mean == pytest.approx(0.1) and 0.09 < gain.low < gain.high < 0.11
    assert gain.p_value < 0.01
    same = comparison.gain(theirs, theirs)
    assert same.mean == 0.0 and same.p_value == 1.0
    assert comparison.gain(ours, []) is None


def test_against_names_who_was_not_run():
    evaluated = {
        "films": {
            "goalrec": [sessions([11, 22], [9, 9])],
            "td3": [sessions([10, 20], [9, 9])],
        }
    }
    text = comparison.against(evaluated, "goalrec", ["td3", "rainbow"], TITLES)
    _, _, td3, rainbow, _, note = text.splitlines()
    assert note.endswith("corrected for the number of comparisons in this table, 1.")
    assert td3.startswith("| TD3 | +10.0% [") and td3.endswith("| not run | +10.0% |")
    assert rainbow == "| Rainbow | not run | not run | not run |"


def test_holm_multiplies_the_smallest_p_by_the_number_of_comparisons():
    # Sorted: .01 x 4, .02 x 3, .03 x 2, .5 x 1; none may fall below the one before it.
    corrected = comparison.holm([0.5, 0.01, 0.03, 0.02])
    np.testing.assert_allclose(corrected, [0.5, 0.04, 0.06, 0.06])
    assert comparison.holm([0.4, 0.9]) == [0.8, 0.9]
    assert comparison.holm([0.8, 0.9]) == [1.0, 1.0]
    assert comparison.holm([]) == []


def test_the_table_of_gains_says_p_corrected_for_its_comparisons():
    # Gains of .1, .2 and .3 over three users: t = .2 / (.1 / sqrt(3)) = 3.464, p = .074 at two
    # degrees of freedom. The other two comparisons are of equal sessions, p = 1.
    theirs = [sessions([1.0, 1.0, 1.0], [5, 5, 5])]
    ours = [sessions([1.1, 1.2, 1.3], [5, 5, 5])]
    evaluated = {name: {"goalrec": ours, "td3": theirs, "dien": ours} for name in TITLES}
    text = comparison.against(evaluated, "goalrec", ["td3", "dien"], TITLES)
    _, _, td3, dien, _, note = text.splitlines()
    # Four comparisons: .074 x 4 and .074 x 3, not below the one before.
    assert td3.count("p = 0.074 (Holm = 0.297)") == 2 and dien.count("(Holm = 1.000)") == 2
    # The detectable gain at two degrees of freedom is 5.653 standard errors of .0577.
    assert td3.count("80% power from ±32.6%") == 2
    assert note.endswith("in this table, 4.")


def test_shares_of_the_way_between_two_policies():
    def constant(reward):  # two users, of 1 and 3 times the reward
        return sessions([reward, 3 * reward], [4, 4])

    evaluated = {
        "films": {
            "random": [constant(1), constant(1)],
            "optimum": [constant(5), constant(5)],
            "goalrec": [constant(4), constant(4)],
            "td3": [constant(2)],  # one seed of two
        },
        "shop": {"random": [constant(1)], "goalrec": [constant(2)]},  # without an optimum
    }
    text = comparison.shares(evaluated, ["random", "dien", "td3", "goalrec"], TITLES)
    heading, _, *rows = text.splitlines()
    assert heading == "| Share of the way from Random to Optimum | Films |"
    assert rows == [
        "| Random | 0% [0%, 0%] |",
        "| DIEN | not run |",
        "| TD3 | 25% [25%, 25%] |",
        "| GoalRec | 75% [75%, 75%] |",
    ]
    assert comparison.shares({"shop": evaluated["shop"]}, ["goalrec"], TITLES) == ""
