"""The report on worlds: its tables by hand, and the files it writes."""

import json

import pytest

from tfrec.report import world_check

CONFIG = {"click_interaction": 0.25, "exit_interaction": 0.15, "list_share": 0.6}


def share(mean):
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}


def world(kind="RecurrentModel", item=0.6, listed=0.5, verdict="admitted"):
    shares = {
        "user": 0.1,
        "item": item,
        "state": 0.0,
        "user_item": 0.9 - item,
        "state_item": 0.0,
    }
    names = ("random", "fixed_list", "exit_averse")
    return {
        "kind": kind,
        "verdict": verdict,
        "criteria": [
            {"name": "interactions", "value": 0.9 - item, "threshold": "at least 25%",
             "met": True, "note": ""},
            {"name": "share of the list", "value": listed, "threshold": "below 60%",
             "met": None, "note": "few users"},
        ],
        "variance_shares": {"click": shares, "exit": shares},
        "far_effect": None,
        "reference": "exit_averse",
        "reference_note": "no bound",
        "shares": dict(zip(names, map(share, (-0.001, listed, 1.0)), strict=True)),
        "policies": {
            name: {"reward": {"mean": value}}
            for name, value in zip((*names, "item_counts"), (2.0, 4.0, 6.0, 3.0), strict=True)
        },
    }  # fmt: skip


def test_the_table_has_values_thresholds_and_verdicts():
    text = world_check.table({"users": world()})
    assert "| World | interactions (at least 25%) | share of the list (below 60%) |" in text
    assert "| users | 30.0%: yes | 50.0%: undecided (few users) | **admitted** |" in text
    assert "| users, click | 10.0% | 60.0% | 0.0% | 30.0% | 0.0% |" in text
    assert "| Random | 0% [-5%, 5%], 2.00 clicks |" in text
    assert "| Item counts | 3.00 clicks |" in text  # without a share of the way
    assert "| Reference | Exit-averse: no bound |" in text
    assert "Spread" not in text


def test_far_effects_are_shown_where_they_are_known():
    assert "ratio" not in world_check.table({"users": world()})
    known = world() | {"far_effect": {"effect": 0.25, "noise": 2.0, "ratio": 0.125}}
    text = world_check.table({"users": world(), "truth": known})
    assert text.count("| truth | 0.25 | 2 | 0.125 |") == 1 and "| users | 0.25" not in text


def test_worlds_of_one_kind_have_a_spread():
    # Shares of the list .4 and .6: mean .5, standard deviation .2 / sqrt 2.
    worlds = {"a": world(listed=0.4), "b": world(listed=0.6), "c": world("ChoiceModel")}
    text = world_check.table(worlds)
    assert "| RecurrentModel: share of the list | 50.0% | 14.1% |" in text
    assert "| RecurrentModel: share of Exit-averse | 100.0% | 0.0% |" in text
    assert "ChoiceModel" not in text


def test_a_world_without_a_way_still_has_a_report(tmp_path):
    bare = world(verdict="apart") | {"shares": {}}
    bare["criteria"][1]["value"] = None
    document = {"worlds": {"a": bare, "b": world()}, "config": CONFIG}
    path = world_check.write(tmp_path / "out", document)
    assert path.name == "report.html" and "data:image/png" in path.read_text()
    assert json.loads((tmp_path / "out" / "check.json").read_text()) == document
    text = (tmp_path / "out" / "table.md").read_text()
    assert "–: undecided (few users) | **apart** |" in text and "| 4.00 clicks |" in text


def test_the_figure_marks_the_thresholds():
    figure = world_check.figure({"a": world()}, CONFIG)
    left, right = figure.axes
    assert [line.get_xdata()[0] for line in left.lines] == pytest.approx([0.75, 0.85])
    assert right.lines[-1].get_xdata()[0] == 0.6
    assert len(left.patches) == 2 * 5  # five parts of two logits
