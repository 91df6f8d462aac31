"""The demo from end to end at a small size: all files that it names exist."""

import json
import re

import pytest

from launch import flags
from tfrec.serving import loaded, requests

pytestmark = pytest.mark.slow

SMALL = ("--users=200", "--seeds=1", "--epochs=1", "--log_rounds=1", "--play_rounds=1",
         "--updates_per_round=2", "--baselines=rainbow,td3")  # fmt: skip


@pytest.mark.exhaustive  # continuous integration runs the demo itself
def test_the_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # no wrapped lines
    out = tmp_path / "demo"
    assert flags.call("launch.demo", (f"--out={out}", *SMALL)) == 0
    said = capsys.readouterr().out

    document = json.loads((out / "results.json").read_text())
    assert set(document["policies"]) == {
        "goalrec", "goalrec_off", "rainbow", "td3", "random", "popularity", "myopic", "optimum",
    }  # fmt: skip
    for policy, metrics in document["policies"].items():
        assert {"reward", "ctr", "depth"} <= set(metrics), policy
        for name, interval in metrics.items():
            assert set(interval) == {"mean", "low", "high"}, f"{policy} {name}"
            assert all(isinstance(number, float) for number in interval.values())
            assert interval["low"] <= interval["mean"] <= interval["high"]
    assert document["world"] == "EmbeddedWorld"

    # The files of the last lines exist.
    named = re.findall(r"^  (\S+?)/?,? ", said.partition("All results are in")[2], re.MULTILINE)
    named = [name for name in [*named, "results.json", "report.html"] if name != "tensorboard"]
    assert {"fitted/report.html", "simulator/simulator.md", "export/1"} <= set(named)
    for name in named:
        assert list(out.glob(name)), name
    assert list(out.glob("goalrec-seed*/tensorboard/*"))
    assert list(out.glob("*.png"))
    assert (out / "report.md").exists()

    # The table was printed, and the exported model ranked under two goals.
    for policy in (
        "Random", "Popularity", "Best myopic", "GoalRec-off", "GoalRec", "Rainbow", "optimum",
    ):  # fmt: skip
        assert policy in said
    model = loaded.ExportedModel(out / "export" / "1")
    items = []
    for goal in ("click", "watch_seconds"):
        (answer,) = model.rank([requests.Request(goal_name=goal, k=5)])
        items.append(answer.item)
        assert len(set(answer.item)) == 5
        assert set(answer.item) <= {f"i{n}" for n in range(1, 121)}
    assert "--compare_goal=watch_seconds" in said


def test_a_step_that_fails_ends_the_demo(tmp_path, capsys):
    assert flags.call("launch.demo", (f"--out={tmp_path / 'demo'}", "--users=1")) == 2
    said = capsys.readouterr().err
    assert "error: an interval over users needs at least 2 users" in said
    assert "error: launch.fit_simulator ended with exit code 2" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "demo").glob("goalrec*"))


def test_a_bad_flag_is_a_message(tmp_path, capsys):
    assert flags.call("launch.demo", (f"--out={tmp_path / 'demo'}", "--play_in=heaven")) == 2
    assert "play_in" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
