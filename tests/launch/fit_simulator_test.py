"""The script on a small embedded log: model and report, and mistakes without tracebacks."""

import pytest

from launch import flags
from tfrec.data import storage
from tfrec.environments import user_models, worlds
from tfrec.environments.fitted import choice_model, recurrent_model

QUICK = ["--max_epochs=2", "--hidden_units=8", "--item_units=4", "--head_units=8", "--rank=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "data"
    arguments = ["--embedded_num_users=60", "--embedded_num_items=30", "--max_steps=20"]
    code = flags.call("launch.prepare_data", [*arguments, f"--out={folder}"])
    assert code == 0
    return folder


def test_fits_calibrates_and_reports(data, tmp_path, capsys):
    arguments = [f"--data={data}", f"--out={tmp_path / 'out'}", *QUICK]
    assert flags.call("launch.fit_simulator", arguments) == 0
    model = recurrent_model.load(tmp_path / "out" / "model")
    assert model.config.hidden_units == 8
    assert model.feedback_offset.numpy().any()
    assert (tmp_path / "out" / "simulator.md").exists()
    said = capsys.readouterr().out
    assert "simulated" in said and "calibration of each logit" in said
    # Nothing is replaced without --overwrite.
    assert flags.call("launch.fit_simulator", arguments) == 2
    assert "pass --overwrite" in capsys.readouterr().err


CHOICES = ["--model=adversarial", "--max_epochs=1", "--adversarial_epochs=1", "--clicks=4",
           "--item_units=4", "--hidden_units=8"]  # fmt: skip


def test_fits_users_who_choose_among_displayed_items(data, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [f"--data={data}", f"--out={out}", *CHOICES, "--split=train"]
    assert flags.call("launch.fit_simulator", arguments) == 0
    said = capsys.readouterr().out
    assert "popularity" in said and "calibration" not in said
    assert "| adversarial |" in (out / "simulator.md").read_text()
    prepared = storage.PreparedData.open(data)
    world = worlds.load(str(out), prepared)
    assert isinstance(world, choice_model.ChoiceModel) and world.config.clicks == 4
    starts = user_models.starts_of(prepared.episodes("test"))
    assert world.reset(starts).clicks.shape[1] == 4
    # Nothing is replaced without --overwrite.
    assert flags.call("launch.fit_simulator", arguments) == 2
    assert "pass --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--target_depth=5", "users of an adversarial model never leave"),
        ("--split=validation", "users cannot be split"),
        ("--state=gru", "state"),
        ("--dropout=0.1", "dropout"),
    ],
)
def test_mistakes_of_the_adversarial_model_are_explained(
    data, tmp_path, capsys, argument, message
):
    arguments = [f"--data={data}", f"--out={tmp_path / 'out'}", *CHOICES, argument]
    arguments += ["--held_out_fraction=0.49"] if "split" in argument else []
    assert flags.call("launch.fit_simulator", arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()


def test_mistakes_are_explained(data, tmp_path, capsys):
    nowhere = [f"--data={tmp_path / 'nothing'}", f"--out={tmp_path / 'out'}"]
    assert flags.call("launch.fit_simulator", nowhere) == 2
    assert "nothing" in capsys.readouterr().err
    bad = [f"--data={data}", f"--out={tmp_path / 'out'}", "--dropout=1.5"]
    assert flags.call("launch.fit_simulator", bad) == 2
    assert "--dropout=1.5" in capsys.readouterr().err
    deep = [f"--data={data}", f"--out={tmp_path / 'out'}", "--target_depth=50", *QUICK]
    assert flags.call("launch.fit_simulator", deep) == 2
    assert "target depth is 50" in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()
