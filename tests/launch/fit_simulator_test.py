"""The script on a small embedded log: model and report, and mistakes without tracebacks."""

import pytest

from launch import flags
from tfrec.environments.fitted import user_model

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
    model = user_model.load(tmp_path / "out" / "model")
    assert model.config.hidden_units == 8
    assert model.feedback_offset.numpy().any()
    assert (tmp_path / "out" / "simulator.md").exists()
    said = capsys.readouterr().out
    assert "simulated" in said and "calibration made" in said
    # Nothing is replaced without being asked.
    assert flags.call("launch.fit_simulator", arguments) == 2
    assert "pass --overwrite" in capsys.readouterr().err


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
