"""The script on a small embedded log: in the true world, in a fitted one, and mistakes."""

import json

import pytest

from launch import flags
from tfgoalrec import learner
from tfrec.data import storage
from tfrec.environments.fitted import recurrent_model

pytestmark = pytest.mark.slow

# One arm with hindsight goals, one without the goal; two updates each.
QUICK = ["--shares=", "--seeds=1", "--steps=200", "--states=40", "--log_rounds=1"]
QUICK += ["--updates_per_round=2", "--units=4", "--state=8", "--stream=8", "--item_vector=4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "data"
    arguments = ["--embedded_num_users=60", "--embedded_num_items=30"]
    arguments += ["--max_steps=20", "--history_length=6"]
    assert flags.call("launch.prepare_data", [*arguments, f"--out={folder}"]) == 0
    return folder


@pytest.mark.slow
def test_in_the_true_world(data, tmp_path, capsys):
    out = tmp_path / "leak"
    code = flags.call("launch.check_leak", [f"--data={data}", f"--out={out}", *QUICK])
    assert code == 0
    document = json.loads((out / "leak.json").read_text())
    assert list(document["arms"]) == ["hindsight 30%", "no goal input"]
    assert document["arms"]["hindsight 30%"]["hindsight_share"] == 0.3
    assert document["arms"]["no goal input"]["use_goal"] is False
    assert set(document["policies"]) == {*document["arms"], "random", "myopic", "optimum"}
    assert (document["updates"], document["steps"], document["states"]) == (2, 200, 40)
    assert document["candidates"] == 30
    blind = document["arms"]["no goal input"]
    for arm in document["arms"].values():
        for key in ("reward", "share", "ranking_optimal", "ranking_click", "advantage_bias"):
            assert arm[key]["low"] <= arm[key]["mean"] <= arm[key]["high"]
        assert 0 <= arm["ranking_optimal"]["mean"] <= 1
    # Without the goal input nothing can be read from the goal.
    assert blind["explained_hindsight"] == blind["explained_random"]
    seeing = document["arms"]["hindsight 30%"]
    assert seeing["explained_hindsight"] != seeing["explained_random"]
    said = capsys.readouterr().out
    assert "2 of 2: no goal input, seed 0" in said and "| hindsight 30% |" in said
    for name in ("report.md", "report.html", "leak.png"):
        assert (out / name).exists()


def test_in_a_fitted_world_there_is_no_exact_optimum(data, tmp_path, monkeypatch):
    # Agents as they start: what is new here is the world that evaluates them.
    monkeypatch.setattr(learner.GoalRecLearner, "advance", lambda self: {})
    opened = storage.PreparedData.open(data)
    sizes = recurrent_model.RecurrentModelConfig(
        hidden_units=6, item_units=4, head_units=6, rank=2
    )
    model = recurrent_model.RecurrentModel(opened.spec, sizes, seed=0)
    model.save(tmp_path / "users" / "model", opened.origin)
    arguments = [f"--data={data}", f"--world={tmp_path / 'users'}", f"--out={tmp_path / 'out'}"]
    assert flags.call("launch.check_leak", [*arguments, *QUICK, "--candidates=8"]) == 0
    document = json.loads((tmp_path / "out" / "leak.json").read_text())
    assert "optimum" not in document["policies"]
    assert document["candidates"] == 8
    arm = document["arms"]["hindsight 30%"]
    assert "share" not in arm and "ranking_optimal" not in arm
    assert 0 <= arm["ranking_click"]["mean"] <= 1


def test_mistakes_are_explained(data, tmp_path, capsys):
    base = [f"--data={data}", f"--out={tmp_path / 'out'}"]
    for bad, said in (
        ("--seeds=0", "--seeds=0"),
        ("--shares=0.5,2", "expected elements of 0 to 1"),
        ("--nouse_goal", "as one of the arms is without it"),
        ("--measurements=step@1..", "the check needs click@0"),
        ("--measurements=likes@0", "--measurements: measurement 'likes@0': no column 'likes'"),
        ("--goals=a = 1*click@9", "--goals: goal names 'click@9'"),
    ):
        assert flags.call("launch.check_leak", [*base, bad]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "leak.json").exists()


def test_a_world_without_click_probabilities_is_rejected_before_anything_is_written(
    data, tmp_path, capsys
):
    arguments = [f"--data={data}", "--world=lookup", f"--out={tmp_path / 'out'}"]
    assert flags.call("launch.check_leak", [*arguments, *QUICK]) == 2
    said = capsys.readouterr().err
    assert "--world=lookup: the check compares click probabilities" in said
    assert "expected truth or a folder written by fit_simulator" in said
    assert not (tmp_path / "out").exists()
