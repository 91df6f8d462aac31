"""launch.tune: a study from end to end, resumed, and mistakes."""

import json

import optuna
import pytest

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec.baselines import wide_and_deep
from tfrec.data import storage
from tfrec.environments import scoring
from tfrec.training import finite

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

NARROW = ("--embedding=4", "--units=6", "--state=8", "--hidden=8", "--batch=16",
          "--replay_sessions=128", "--sessions_per_round=32", "--updates_per_round=2",
          "--log_rounds=1", "--play_rounds=1", "--max_users=10", "--sessions_per_user=1",
          "--evaluate_every=1", "--fields=learning_rate,batch")  # fmt: skip


def tune(*arguments):
    return flags.call("launch.tune", arguments)


@pytest.fixture(scope="module")
def command(embedded_data):
    return ("--method=wide_and_deep", f"--data={embedded_data}", "--world=truth", *NARROW)


@pytest.fixture(scope="module")
def study(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuning") / "wide_and_deep"
    assert tune(*command, f"--out={out}", "--trials=2") == 0
    return out


def test_a_study_is_saved_and_continued(study, command, capsys, embedded_data):
    best = json.loads((study / "best.json").read_text())
    assert best["method"] == "wide_and_deep"
    assert (best["trials"], best["updates"]) == (2, 2 * 2 * 2)  # 2 rounds of 2 updates
    assert best["overrides"].keys() == {"learning_rate", "batch"}
    assert best["config"] | best["overrides"] == best["config"]
    assert best["config"]["hidden"] == 8  # from the command line
    assert best["score"] >= best["default_score"] > 0
    optuna_study = optuna.load_study(
        study_name="wide_and_deep", storage=f"sqlite:///{study / 'study.db'}"
    )
    first = optuna_study.trials[0]
    assert first.params == {"learning_rate": 1e-3, "batch": 16}  # the command line's
    assert sorted(first.intermediate_values) == [1, 2]
    assert first.value == best["default_score"] == first.intermediate_values[2]
    assert "2 trials" in (study / "tuning.md").read_text()
    assert (study / "tuning.png").stat().st_size > 5000
    assert list((study / "tensorboard").glob("trial-*/events*"))

    assert tune(*command, f"--out={study}", "--trials=3") == 0
    said = capsys.readouterr().out
    assert "trial 2: " in said and "trial 1: " not in said  # only the new one
    assert json.loads((study / "best.json").read_text())["trials"] == 3
    # The best score is that of a run with the best configuration.
    best = json.loads((study / "best.json").read_text())
    winner = next(t for t in optuna_study.trials if t.params == best["overrides"])
    assert winner.value == best["score"]


def test_a_log_that_the_replay_does_not_hold_is_said(command, tmp_path, capsys):
    others = command[1:]
    small = ("--method=rainbow", *others, "--replay_sessions=8", "--sessions_per_round=8")
    assert tune(*small, f"--out={tmp_path / 'out'}", "--trials=1") == 0
    said = capsys.readouterr().err
    assert said.count("learning reads at most 8 of the log's") == 1


def test_a_method_that_diverges_is_a_message(command, tmp_path, monkeypatch, capsys):
    learner = wide_and_deep.WideAndDeepLearner

    def broken(self):
        raise finite.NonFiniteError("loss", {})

    monkeypatch.setattr(learner, "advance", broken)
    assert tune(*command, f"--out={tmp_path / 'out'}", "--trials=1") == 2
    said = capsys.readouterr().err
    assert "none of 1 trials was completed" in said and "Traceback" not in said


def test_a_score_that_is_not_finite_is_a_message(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scoring.Score, "__call__", lambda self: float("nan"))
    assert tune(*command, f"--out={tmp_path / 'out'}", "--trials=1") == 2
    said = capsys.readouterr().err
    assert "none of 1 trials was completed" in said and "Traceback" not in said


def test_a_stopped_study_continues(command, tmp_path, monkeypatch, capsys):
    learner = wide_and_deep.WideAndDeepLearner

    def asked_to_stop(self):
        raise KeyboardInterrupt

    journal = f"--storage={tmp_path / 'shared.journal'}"
    arguments = (*command, f"--out={tmp_path / 'out'}", journal, "--trials=1")
    with monkeypatch.context() as patch:
        patch.setattr(learner, "advance", asked_to_stop)
        assert tune(*arguments) == 42
    assert "Run it again to continue" in capsys.readouterr().out
    assert not (tmp_path / "out" / "best.json").exists()
    assert tune(*arguments) == 0
    assert json.loads((tmp_path / "out" / "best.json").read_text())["trials"] == 1


def test_the_score_is_that_of_validation_users_and_repeats(embedded_data):
    data = storage.PreparedData.open(embedded_data)
    starts = scoring.validation_starts(data, max_users=3, sessions_per_user=2)
    users = data.episodes("validation").user
    assert len(starts.user) == 6 and set(starts.user) <= set(users)
    assert not set(starts.user) & set(data.episodes("test").user)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method=sarsa"], "no method 'sarsa'"),
        (["--data=nowhere"], "nowhere: no prepared data here"),
        (["--world=nowhere"], "nowhere"),
        (["--trials=0"], "--trials=0"),
        (["--log_rounds=0", "--play_rounds=0"], "expected at least one round to tune"),
        (["--sampler=best"], "sampler"),
        (["--fields=colour"], "colour: not in the space of wide_and_deep, which is learning_"),
        (["--storage=oracle9://x"], "cannot open the storage of the study"),
    ],
)
def test_mistakes_are_messages_and_leave_nothing(command, tmp_path, arguments, message, capsys):
    out = tmp_path / "out"
    assert tune(*command, f"--out={out}", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not out.exists()


def test_a_choice_under_which_the_goal_ranks_nothing_is_rejected(
    embedded_data, tmp_path, capsys
):
    out = tmp_path / "out"
    command = (
        "--method=goalrec", f"--data={embedded_data}", "--world=truth", f"--out={out}",
        "--measurements=click@0..,exit@0", "--goals=total = 1*click@0..",
    )  # fmt: skip
    assert tune(*command) == 2
    said = capsys.readouterr().err
    assert "--fields: far_windows='exit' cannot be tried: goals: goal 'total' weighs" in said
    assert not out.exists()


def test_another_study_of_the_same_name_is_rejected(study, command, capsys):
    assert tune(*command, f"--out={study}", "--hidden=9") == 2
    assert "hidden: was 8, is now 9" in capsys.readouterr().err
