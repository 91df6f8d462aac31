"""Every script that writes says so at once when it cannot write there."""

import pathlib

import pytest

from launch import flags

SCRIPTS = {
    "check_leak": (),
    "check_world": (),
    "demo": (),
    "evaluate": (),
    "export_model": ("--agent=agent",),
    "fit_simulator": ("--data=data",),
    "prepare_beam": ("--source=amazon", "--path=log"),
    "prepare_data": (),
    "recommend_all": ("--agent=agent", "--data=log.txt"),
    "compare_features": (),
    "compare_new_items": ("--data=log",),
    "compare_offline": ("--data=log",),
    "reproduce": (),
    "run_cell": (),
    "run_curve": (),
    "run_offline": (),
    "train": ("--method=rainbow",),
    "train_sequential": ("--method=sasrec", "--data=log.txt"),
    "tune": ("--method=rainbow",),
    "update_items": ("--agent=agent", "--items=items.csv"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_output_folder_that_cannot_be_made(script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where default inputs are not there
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert flags.call(f"launch.{script}", [*SCRIPTS[script], f"--out={out}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --out={out}: cannot be written: Not a directory")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_download_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    command = ["--download=ml-latest-small", f"--downloads={tmp_path / 'file' / 'archives'}"]
    assert flags.call("launch.prepare_data", [*command, f"--out={tmp_path / 'out'}"]) == 2
    assert "error: --downloads=" in capsys.readouterr().err


def test_no_script_with_an_output_folder_is_left_out():
    launch = pathlib.Path(flags.__file__).parent
    writing = {p.stem for p in launch.glob("*.py") if "    out: str = " in p.read_text()}
    assert writing == set(SCRIPTS)
