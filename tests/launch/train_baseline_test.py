"""launch.train: any method from the log and from play, resumed, saved and evaluated."""

import json
import os
import signal

import numpy as np
import pytest

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec import types
from tfrec.baselines import learning
from tfrec.data import storage
from tfrec.environments import player, user_models, worlds
from tfrec.methods import registry

NARROW = ("--embedding=4", "--units=6", "--state=8", "--hidden=8", "--batch=16",
          "--replay_sessions=128", "--sessions_per_round=32", "--updates_per_round=2",
          "--log_rounds=2", "--play_rounds=2", "--save_every=1",
          "--evaluate_every=2")  # fmt: skip


def train(*arguments):
    return flags.call("launch.train", arguments)


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def shown(folder, data):
    """Returns the items that the saved policy shows to the first users."""
    opened = storage.PreparedData.open(data)
    starts = user_models.starts_of(opened.episodes("validation"))
    environment = worlds.users("truth", opened).environment
    runner = player.Player(environment, registry.load(folder).policy())
    return runner.play(types.rows(starts, np.s_[:20]), seed=1).item


@pytest.fixture(scope="module")
def command(embedded_data):
    return ("--method=wide_and_deep", f"--data={embedded_data}", "--world=truth", *NARROW)


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("baseline") / "run"
    assert train(*command, f"--out={out}") == 0
    return out


def test_the_output_of_a_run(run, embedded_data):
    assert [row["iteration"] for row in rows(run)] == [1, 2, 3, 4]
    played = ["play/reward_clicks" in row for row in rows(run)]
    assert played == [False, False, True, True]
    scored = ["evaluate/reward_clicks" in row for row in rows(run)]
    assert scored == [False, True, False, True]
    assert list((run / "tensorboard").iterdir())
    about = json.loads((run / "agent" / "method.json").read_text())
    assert about["method"] == "wide_and_deep" and about["config"]["hidden"] == 8
    data = storage.PreparedData.open(embedded_data)
    truth = worlds.load("truth", data)
    assert about["about"] == {
        "data": data.fingerprint, "split": data.manifest["split"],
        "world": "truth", "world_fingerprint": truth.fingerprint, "seed": 0,
        storage.UNTRAINED: 0,
    }  # fmt: skip
    assert registry.load(run / "agent").spec == data.spec


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    run, command, embedded_data, tmp_path, monkeypatch
):
    advance = learning.BaselineLearner.advance

    def asked_to_stop(self):
        if int(self.iteration) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(learning.BaselineLearner, "advance", asked_to_stop)
        assert train(*command, f"--out={tmp_path / 'run'}") == 42
    assert len(rows(tmp_path / "run")) == 3 and not (tmp_path / "run" / "agent").exists()
    assert train(*command, f"--out={tmp_path / 'run'}") == 0
    assert rows(tmp_path / "run") == rows(run)
    one, other = (shown(out / "agent", embedded_data) for out in (tmp_path / "run", run))
    np.testing.assert_array_equal(one, other)


def test_training_on_a_log_alone(command, tmp_path):
    assert train(*command, "--world=", f"--out={tmp_path / 'off'}") == 0
    assert [list(row) for row in rows(tmp_path / "off")] and len(rows(tmp_path / "off")) == 2
    assert (tmp_path / "off" / "agent" / "method.json").exists()


def test_a_baseline_is_evaluated_beside_goalrec(run, goalrec, tmp_path):
    agents = f"wide_and_deep={run / 'agent'},goalrec={goalrec.run / 'agent'}"
    assert flags.call("launch.evaluate", [
        f"--data={goalrec.data}", "--world=truth", f"--agents={agents}", "--max_users=5",
        "--sessions_per_user=1", f"--out={tmp_path / 'out'}",
    ]) == 0  # fmt: skip
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"wide_and_deep", "goalrec", "random", "optimum"} <= document["policies"].keys()
    assert all(
        name.startswith(("goalrec, goal", "optimum, goal")) for name in document["goals"]
    )
    assert "wide_and_deep" in document["share_of_optimum_by_column"]["watch_seconds"]
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("script", ["launch.train", "launch.tune"])
@pytest.mark.parametrize("name", registry.names(registry.LOG))
def test_help_lists_the_flags_of_the_method(script, name, capsys):
    assert flags.call(script, [f"--method={name}", "--help"]) == 0
    said = capsys.readouterr().out
    fitted = ("prior_shows",) if name == "item_counts" else ("learning_rate",)
    for flag in ("method", "data", *fitted, "play_rounds"):
        assert f"--{flag}:" in said or f"--[no]{flag}:" in said, flag
    assert ("--hindsight_share" in said) == name.startswith("goalrec")


@pytest.mark.parametrize("script", ["launch.train", "launch.tune"])
def test_scripts_know_every_method(script, capsys):
    assert flags.call(script, ["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())  # help is wrapped
    assert f": {', '.join(registry.names())}; with a method" in said
    assert flags.call(script, []) == 2
    assert "method" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method=sarsa"], "no method 'sarsa'"),
        (["--data=nowhere"], "nowhere: no prepared data here"),
        (["--hidden=many"], "hidden"),
        (["--save_every=0"], "--save_every=0"),
        (["--hindsight_share=0.1"], "hindsight_share"),  # GoalRec's
        (["--nosuch"], "nosuch"),
    ],
)
def test_mistakes_are_messages_and_leave_nothing(command, tmp_path, arguments, message, capsys):
    out = tmp_path / "run"
    assert train(*command, f"--out={out}", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not out.exists()


def test_a_goal_that_does_not_fit_is_a_message(embedded_data, narrow, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = [f"--data={embedded_data}", f"--out={out}", "--method=goalrec", *narrow]
    assert train(*arguments, "--goals=a = 1*click@9") == 2
    assert "goals: goal names 'click@9'" in capsys.readouterr().err
    assert not out.exists()


def test_the_same_folder_with_other_numbers_is_rejected(run, command, capsys):
    assert train(*command, f"--out={run}", "--hidden=9") == 2
    assert "hidden: was 8, is now 9" in capsys.readouterr().err
