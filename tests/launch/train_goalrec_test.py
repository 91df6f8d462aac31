"""launch.train: what it writes, how it goes on, and what it rejects."""

import json
import os
import signal

import numpy as np
import pytest

from launch import flags
from tfgoalrec import learner as goalrec_learner
from tfgoalrec import trained

pytestmark = pytest.mark.slow


def train(*arguments):
    return flags.call("launch.train", ("--method=goalrec", *arguments))


def iterations(run):
    return [json.loads(line)["iteration"] for line in (run / "metrics.jsonl").open()]


def same(one, other):
    pairs = zip(one.world_model.variables, other.world_model.variables, strict=True)
    return all((a.numpy() == b.numpy()).all() for a, b in pairs)


def test_play_leaves_both_agents(goalrec):
    off, on = (trained.load(goalrec.run / name) for name in ("agent_off", "agent"))
    assert list(off.named_goals) == list(on.named_goals) == ["click", "watch_seconds"]
    assert (off.about["updates"], on.about["updates"]) == (6, 12)  # 3 in each of 2 + 2 rounds
    assert off.about["world"] == "truth"
    assert not same(off, on)
    assert iterations(goalrec.run) == [1, 2, 3, 4]
    rows = [json.loads(line) for line in (goalrec.run / "metrics.jsonl").open()]
    assert ["play/reward_clicks" in row for row in rows] == [False, False, True, True]
    assert {"error/click@0", "sigma/click@0", "loss"} <= rows[0].keys()
    assert list((goalrec.run / "tensorboard").iterdir())
    assert json.loads((goalrec.run / "config.json").read_text())["config"]["log_rounds"] == 2


def test_a_log_alone_gives_goalrec_off(embedded_data, narrow, tmp_path, goalrec, capsys):
    arguments = [f"--data={embedded_data}", f"--out={tmp_path / 'off'}", *narrow]
    assert train(*arguments, "--log_rounds=2", "--play_rounds=2") == 0
    assert iterations(tmp_path / "off") == [1, 2]
    assert not (tmp_path / "off" / "agent").exists()
    # What is learned before play does not depend on the world that waits.
    alone = trained.load(tmp_path / "off" / "agent_off")
    assert same(alone, trained.load(goalrec.run / "agent_off"))
    assert "agent_off" in capsys.readouterr().out


def test_an_interrupted_run_ends_as_if_it_had_not_been(goalrec, tmp_path, monkeypatch):
    iteration = 3  # the first round of play
    advance = goalrec_learner.GoalRecLearner.advance

    def asked_to_stop(self):
        if int(self.iteration) == iteration - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(self)

    command = (*goalrec.arguments, f"--out={tmp_path / 'run'}")
    with monkeypatch.context() as patch:
        patch.setattr(goalrec_learner.GoalRecLearner, "advance", asked_to_stop)
        assert train(*command) == 42
    assert iterations(tmp_path / "run") == list(range(1, iteration + 1))
    assert not (tmp_path / "run" / "agent").exists()
    assert train(*command) == 0
    assert iterations(tmp_path / "run") == [1, 2, 3, 4]
    for name in ("agent_off", "agent"):
        resumed, whole = (trained.load(run / name) for run in (tmp_path / "run", goalrec.run))
        assert same(resumed, whole), name


def test_a_finished_run_stays_as_it_is(goalrec):
    before = (goalrec.run / "metrics.jsonl").read_text()
    agent = trained.load(goalrec.run / "agent")
    assert train(*goalrec.arguments, f"--out={goalrec.run}") == 0
    assert (goalrec.run / "metrics.jsonl").read_text() == before
    assert same(trained.load(goalrec.run / "agent"), agent)


@pytest.mark.parametrize("change", ["--stream=9", "--seed=4", "--world="])
def test_another_configuration_in_the_same_folder_is_rejected(goalrec, change, capsys):
    before = (goalrec.run / "config.json").read_text()
    assert train(*goalrec.arguments, f"--out={goalrec.run}", change) == 2
    said = capsys.readouterr().err
    assert "holds a run with another configuration" in said
    assert change[2:].split("=")[0] in said
    assert (goalrec.run / "config.json").read_text() == before


def test_declared_measurements_and_goals(embedded_data, narrow, tmp_path):
    assert train(
        f"--data={embedded_data}", f"--out={tmp_path / 'run'}", *narrow, "--log_rounds=1",
        "--measurements=click@0,step@1..,embedding(click)",
        "--goals=stay = 1*step@1..,both = 1*click@0 + 0.5*step@1..", "--advantage=mlp",
    ) == 0  # fmt: skip
    agent = trained.load(tmp_path / "run" / "agent_off")
    assert agent.measurements.names == ("click@0", "step@1..", "embedding(click)")
    np.testing.assert_allclose(agent.goal("stay"), [0, 1, 0, 0])
    assert list(agent.named_goals) == ["stay", "both"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=nowhere"], "nowhere: no prepared data here"),
        (["--world=nowhere"], "nowhere"),
        (["--measurements=clicks@0"], "--measurements: measurement 'clicks@0': no column"),
        (["--goals=clicks"], "--goals: goal 'clicks'; expected e.g."),
        (["--goals=a = 1*click@9"], "--goals: goal names 'click@9'; the measurements are"),
        (["--goals=a = 1*click@0,a = 1*exit@0"], "goal 'a' is given twice"),
        (["--goals=a/b = 1*click@0"], "goal name 'a/b': expected a letter"),
        (["--measurements=exit@0,exit@0"], "--measurements=exit@0,exit@0: measurements is"),
        (["--goals=a = 0*click@0"], "--goals: goal {'click@0': 0.0} weighs nothing"),
        (
            [
                "--far_windows=exit",
                "--measurements=click@0..,exit@0,mean(click)",
                "--goals=total = 1*click@0..",
            ],
            "--goals: goal 'total' weighs click@0..: far_windows=exit gives",
        ),
        (
            ["--far_windows=exit", "--measurements=click@0,click@1.."],
            "--goals: goal 'click' weighs click@1..: far_windows=exit gives",
        ),
        (["--advantage=linear"], "--advantage=linear"),
        (["--hindsight_share=2"], "--hindsight_share=2.0: hindsight_share is 2.0"),
        (["--log_rounds=many"], "log_rounds"),
        (["--seed=-1"], "--seed=-1: seed is -1; expected 0 to 4294967295"),
        (["--seed=99999999999"], "--seed=99999999999: seed is 99999999999; expected 0 to"),
        (["--dropout=1"], "--dropout=1.0: dropout is 1.0; expected at least 0, below 1"),
        (["--save_every=0"], "--save_every=0: save_every is 0; expected at least 1"),
        (["--learning_rate=-1"], "--learning_rate=-1.0: learning_rate is -1.0; expected above"),
        (["--learning_rate=nan"], "--learning_rate=nan: learning_rate is nan; expected a fin"),
        (["--held_out=2"], "--held_out=2.0: held_out is 2.0; expected at least 0, below 1"),
        (["--play_rounds=-1"], "--play_rounds=-1: play_rounds is -1; expected at least 0"),
        (["--goals=a=1*click@0,a=1*watch_seconds@0"], "goal 'a' is given twice"),
    ],
)
def test_mistakes_are_messages_and_leave_nothing(
    embedded_data, narrow, tmp_path, arguments, message, capsys
):
    out = tmp_path / "run"
    assert train(f"--data={embedded_data}", f"--out={out}", *narrow, *arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not out.exists()
