"""Flags of the scripts that run cells: mistakes end before any work."""

import pytest

from launch import flags


@pytest.mark.parametrize("script", ["run_cell", "run_offline", "run_curve"])
def test_at_least_one_method_is_run(script, tmp_path, capsys):
    assert flags.call(f"launch.{script}", [f"--out={tmp_path / 'out'}", "--method="]) == 2
    assert "--method=: method is (); expected a list of at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["run_cell", "run_offline"])
def test_a_data_set_is_one_of_the_table(script, tmp_path, capsys):
    arguments = [f"--out={tmp_path / 'out'}", "--data_set=shop"]
    assert flags.call(f"launch.{script}", arguments) == 2
    said = capsys.readouterr().err
    assert "--data_set=shop: expected one of " in said and "movielens" in said
    assert not (tmp_path / "out").exists()


def test_named_worlds_belong_to_tables_1_to_3(tmp_path, capsys):
    arguments = [f"--out={tmp_path / 'out'}", "--worlds=moon"]
    assert flags.call("launch.reproduce", arguments) == 2
    assert (
        "--worlds=moon: expected one of held_aside, medium_fatigue" in capsys.readouterr().err
    )
    arguments[1:] = ["--worlds=movielens_scale", "--table=II"]
    assert flags.call("launch.reproduce", arguments) == 2
    assert "expected none: tables 1 to 3 have them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
