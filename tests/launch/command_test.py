"""The command `tfrec`: its subcommands are the launch scripts."""

import ast
import pathlib
import sys

import pytest

import tfrec
from launch import command, flags

LAUNCH = pathlib.Path(flags.__file__).parent
SCRIPTS = {p.stem for p in LAUNCH.glob("*.py") if "\n    flags.run(main)\n" in p.read_text()}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tfrec", *arguments])
    return command.main()


def test_help_lists_every_script_with_the_first_line_of_its_docstring(monkeypatch, capsys):
    assert len(SCRIPTS) > 12
    assert run(monkeypatch, "--help") == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    for script in SCRIPTS:
        docstring = ast.get_docstring(ast.parse((LAUNCH / f"{script}.py").read_text()))
        assert [script.replace("_", "-"), docstring.splitlines()[0]] in lines
    assert set(command.scripts()) == {script.replace("_", "-") for script in SCRIPTS}


def test_the_version_is_printed(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"tfrec {tfrec.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepair-data",), "tfrec prepair-data: no such command; did you mean prepare-data?"),
        (
            ("fit_simulator",),
            "tfrec fit_simulator: no such command; did you mean fit-simulator?",
        ),
        (("xyzzy", "--out=runs"), "tfrec xyzzy: no such command; tfrec --help lists all"),
        (("flags",), "tfrec flags: no such command; tfrec --help lists all"),
        (("--out=runs",), "tfrec --out=runs: expected a command first; tfrec --help lists all"),
        ((), "tfrec: expected a command first; tfrec --help lists all"),
    ],
)
def test_what_is_no_command_is_one_line_and_exit_code_2(
    monkeypatch, capsys, arguments, message
):
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1


def test_a_subcommand_is_the_script(monkeypatch, capsys, tmp_path):
    missing = f"--model={tmp_path / 'missing'}"
    assert flags.call("launch.recommend", [missing]) == 2
    expected = capsys.readouterr()
    assert str(tmp_path) in expected.err
    assert run(monkeypatch, "recommend", missing) == 2
    assert capsys.readouterr() == expected


def test_a_subcommand_explains_its_flags(monkeypatch, capsys):
    assert run(monkeypatch, "recommend", "--help") == 0
    assert "--model:" in capsys.readouterr().out
