"""launch.tune: a study in a live simulator from end to end, resumed, and mistakes."""

import json

import optuna
import pytest

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec.environments import registry as environments
from tfrec.errors import UserError
from tfrec.methods import presets, registry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

TINY = (
    "--environment=recsim", "--method=slateq", "--hidden=8", "--batch=16", "--sessions=8",
    "--rollout_steps=4", "--updates=2", "--warm_up=40", "--total_iterations=4",
    "--evaluate_every=2", "--score_sessions=8", "--final_sessions=20",
    "--fields=learning_rate,batch",
)  # fmt: skip


def tune(*arguments):
    return flags.call("launch.tune", arguments)


def test_a_study_is_saved_and_continued(tmp_path, capsys):
    out = tmp_path / "slateq"
    assert tune(*TINY, f"--out={out}", "--trials=2") == 0
    best = json.loads((out / "best.json").read_text())
    assert best["method"] == "slateq"
    assert (best["trials"], best["updates"]) == (2, 2 * 4 * 2)  # 4 iterations of 2 updates
    assert best["config"]["hidden"] == [8]
    assert best["score"] >= best["default_score"] > 0
    stored = f"sqlite:///{out / 'study.db'}"
    optuna_study = optuna.load_study(study_name="slateq", storage=stored)
    first = optuna_study.trials[0]
    assert first.params == {"learning_rate": 1e-3, "batch": 16}  # the command line's
    assert sorted(first.intermediate_values) == [2, 4]
    assert first.value == best["default_score"] == first.intermediate_values[4]
    assert "reward in RecSim" in (out / "tuning.md").read_text()
    assert list((out / "tensorboard").glob("trial-*/events*"))

    assert tune(*TINY, f"--out={out}", "--trials=3") == 0
    said = capsys.readouterr().out
    assert said.count(": complete") == 3, "the first two are not done again"
    assert json.loads((out / "best.json").read_text())["trials"] == 3


def test_every_method_has_a_space():
    for place in environments.ENVIRONMENTS:
        for method in registry.names(place):
            config = presets.config_class(method, place)()
            space = presets.space(method, place)
            assert "learning_rate" in space
            for field, choices in space.items():
                assert hasattr(config, field) and len(choices) > 1
    assert "vectors" in presets.space("td3", "recogym")
    assert "vectors" not in presets.space("imrl", "recogym")
    with pytest.raises(UserError, match="colour: not in the space"):
        presets.space("td3", "recsim", ("colour",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method=sarsa"], "sarsa"),
        (["--environment=recsym"], "recsym"),
        (["--trials=0"], "trials is 0; expected at least 1"),
        (["--final_sessions=1"], "final_sessions is 1; expected at least 2"),
        (["--fields=colour"], "colour: not in the space"),
        (["--storage=oracle9://x"], "cannot open the storage of the study"),
    ],
)
def test_mistakes_are_messages_and_leave_nothing(tmp_path, arguments, message, capsys):
    out = tmp_path / "out"
    assert tune(*TINY, f"--out={out}", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("method", "environment"), [("deers", "gymnasium"), ("dyna_q", "recsim"), ("imrl", "log")]
)
def test_a_method_that_does_not_learn_there_is_named(tmp_path, method, environment, capsys):
    where = (f"--environment={environment}", f"--method={method}", "--batch=16")
    assert tune(*where, f"--out={tmp_path / 'out'}") == 2
    assert f"--environment={environment}: {method} learns in" in capsys.readouterr().err
