"""launch.evaluate: its report on a small world, and mistakes without tracebacks."""

import json

import numpy as np
import pytest

from launch import flags
from tfrec.data import storage

pytestmark = pytest.mark.slow

CONTROLS = ["random", "popularity", "myopic", "optimum"]


def evaluate(*arguments):
    return flags.call("launch.evaluate", arguments)


@pytest.fixture(scope="module")
def report(goalrec, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    off, on = goalrec.run / "agent_off", goalrec.run / "agent"
    agents = f"goalrec_off={off},goalrec_off={on},goalrec={on},goalrec={off}"
    assert evaluate(
        f"--data={goalrec.data}", "--world=truth", f"--agents={agents}", f"--out={out}",
        "--sessions_per_user=30",
    ) == 0  # fmt: skip
    return out


def test_the_document(report, goalrec):
    document = json.loads((report / "results.json").read_text())
    assert list(document["policies"]) == [*CONTROLS, "goalrec_off", "goalrec"]
    for metrics in document["policies"].values():
        assert set(metrics) == {"reward", "ctr", "depth", "click", "watch_seconds"}
        for interval in metrics.values():
            assert set(interval) == {"mean", "low", "high"}
            assert interval["low"] <= interval["mean"] <= interval["high"]
    data = storage.PreparedData.open(goalrec.data)
    assert document["users"] == len(np.unique(data.episodes("test").user))
    assert document["seeds"] == 2
    assert document["data"] == data.fingerprint
    assert document["world"] == "EmbeddedWorld"
    # One model under each of its goals, and the optimum of each feedback column.
    assert len(document["goals"]) == 4 + 2
    assert all({"reward", "watch_seconds"} <= set(goal) for goal in document["goals"].values())


def test_each_goal_is_compared_with_its_own_optimum(report):
    document = json.loads((report / "results.json").read_text())
    goals, columns = document["goals"], document["share_of_optimum_by_column"]
    assert list(columns) == ["click", "watch_seconds"]
    most = goals["optimum, goal watch_seconds"]["watch_seconds"]["mean"]
    assert all(most > goal["watch_seconds"]["mean"] for goal in list(goals.values())[:-1])
    low = document["policies"]["random"]["watch_seconds"]["mean"]
    for name, share in columns["watch_seconds"].items():
        way = (goals[name]["watch_seconds"]["mean"] - low) / (most - low)
        assert share["mean"] == pytest.approx(way, abs=0.01)
    # The optimum of the reward stands in both tables.
    assert goals["optimum, goal click"]["click"] == document["policies"]["optimum"]["click"]


def test_the_numbers_make_sense(report):
    policies = json.loads((report / "results.json").read_text())["policies"]
    reward = {name: metrics["reward"] for name, metrics in policies.items()}
    # The exact optimum is the best there is, and looking ahead beats the next click.
    others = [name for name in policies if name != "optimum"]
    assert all(reward["optimum"]["low"] > reward[name]["high"] for name in others)
    assert policies["myopic"]["ctr"]["low"] > policies["random"]["ctr"]["high"]
    assert policies["myopic"]["depth"]["high"] < policies["optimum"]["depth"]["low"]
    for metrics in policies.values():
        clicks = metrics["ctr"]["mean"] * metrics["depth"]["mean"]
        assert metrics["reward"]["mean"] == pytest.approx(clicks, rel=1e-3)
    shares = json.loads((report / "results.json").read_text())["share_of_optimum"]
    assert "random" not in shares and "optimum" not in shares
    way = reward["optimum"]["mean"] - reward["random"]["mean"]
    myopic = (reward["myopic"]["mean"] - reward["random"]["mean"]) / way
    assert shares["myopic"]["mean"] == pytest.approx(myopic, abs=0.01)


def test_the_pages_and_pictures(report):
    for name in ("report.md", "report.html", "policies.png", "survival.png", "goals.png"):
        assert (report / name).stat().st_size > 1000, name
    text = (report / "report.md").read_text()
    assert "policies.png" in text and "goals.png" in text


def test_a_fitted_world_has_no_optimum_and_no_share(
    embedded_data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "300")  # no wrapped lines
    users, out = tmp_path / "users", tmp_path / "out"
    fit = (f"--data={embedded_data}", f"--out={users}", "--max_epochs=1", "--batch_size=64")
    assert flags.call("launch.fit_simulator", fit) == 0
    arguments = (f"--data={embedded_data}", f"--world={users}", f"--out={out}", "--max_users=5")
    assert evaluate(*arguments) == 0
    document = json.loads((out / "results.json").read_text())
    assert list(document["policies"]) == ["random", "popularity", "myopic", "exit_averse"]
    assert document["share_of_optimum"] == {}
    said = capsys.readouterr().out
    assert "of the way" not in said and "no bound" in said


def test_the_same_command_gives_the_same_numbers(goalrec, tmp_path):
    documents = []
    for name in ("one", "two"):
        arguments = [f"--data={goalrec.data}", "--world=truth", "--sessions_per_user=1"]
        agents = f"--agents=goalrec={goalrec.run / 'agent'}"
        assert evaluate(*arguments, agents, f"--out={tmp_path / name}", "--max_users=5") == 0
        documents.append(json.loads((tmp_path / name / "results.json").read_text()))
    assert documents[0]["policies"] == documents[1]["policies"]
    assert documents[0]["users"] == 5


@pytest.fixture(scope="module")
def other_log(tmp_path_factory):
    """Ratings of films: a log without a ground truth."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "ml-latest").mkdir()
    rows = [f"{user},{movie},4.0,{movie}" for user in range(10) for movie in range(5)]
    content = "\n".join(["userId,movieId,rating,timestamp", *rows])
    (folder / "ml-latest" / "ratings.csv").write_text(content)
    out = folder / "data"
    command = [f"--source={folder / 'ml-latest'}", f"--out={out}"]
    assert flags.call("launch.prepare_data", command) == 0
    return out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data={tmp}/nothing"], "nothing: no prepared data here"),
        (["--world={tmp}/nothing"], "nothing"),
        (["--data={other}"], "has no known ground truth"),
        (["--agents=goalrec"], "--agents=goalrec: expected name=folder"),
        (["--agents=goalrec={tmp}"], "no trained agent here"),
        (["--agents=$x={run}/agent"], "agent name '$x': expected a letter"),
        (["--agents=exit_averse={run}/agent"], "'exit_averse' is the name of a control"),
        (
            ["--agents=a={run}/agent,a={run}/agent_off,b={run}/agent"],
            "as many seeds of each name",
        ),
        (["--agents=a={run}/agent,a={run}/agent"], "expected each once"),
        (["--agents=a={run}/agent,a={run}/agent/"], "given twice under 'a'"),
        (["--seed=-1"], "--seed=-1: seed is -1; expected 0 to 4294967295"),
        (["--sessions_per_user=0"], "--sessions_per_user=0: sessions_per_user is 0; expected"),
        (["--max_users=0"], "--max_users=0"),
    ],
)
def test_mistakes_are_messages_and_leave_nothing(
    goalrec, other_log, tmp_path, arguments, message, capsys
):
    filled = [a.format(tmp=tmp_path, other=other_log, run=goalrec.run) for a in arguments]
    out = tmp_path / "out"
    assert evaluate(f"--data={goalrec.data}", "--world=truth", f"--out={out}", *filled) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not out.exists()


def test_sessions_that_are_not_finite_are_a_message(goalrec, tmp_path, monkeypatch, capsys):
    def broken(played, names):
        raise ValueError("session 0 has a feedback 1 that is not a finite number")

    monkeypatch.setattr("tfrec.metrics.session.per_session", broken)
    out = tmp_path / "out"
    command = [f"--data={goalrec.data}", "--world=truth", f"--out={out}", "--max_users=2"]
    assert evaluate(*command, "--sessions_per_user=1") == 2
    assert "error: random: session 0 has a feedback 1" in capsys.readouterr().err
    assert not (out / "results.json").exists()


def test_an_agent_of_another_log_is_rejected(goalrec, tmp_path, capsys):
    data = tmp_path / "data"
    size = ["--embedded_num_users=30", "--embedded_num_items=15", "--max_steps=12"]
    assert flags.call("launch.prepare_data", [f"--out={data}", *size]) == 0
    agents = f"--agents=goalrec={goalrec.run / 'agent'}"
    assert evaluate(f"--data={data}", "--world=truth", agents, f"--out={tmp_path / 'out'}") == 2
    assert "trained on another log" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
