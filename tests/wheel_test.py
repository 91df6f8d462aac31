"""The wheel holds every file of the packages, and works away from the checkout."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

import tfrec

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("tfrec", "tfgoalrec", "tfimrl", "launch")

# Starts the console command as the script that pip writes does.
COMMAND = (
    "import importlib.metadata, sys\n"
    "(entry,) = importlib.metadata.entry_points(group='console_scripts', name='tfrec')\n"
    "sys.exit(entry.load()())"
)
# Has a script run by a child process, as `tfrec reproduce` does.
CHILD = (
    "import pathlib, sys\n"
    "from launch.experiments import pool\n"
    "with pool.Pool('launch.recommend', 1, (), pathlib.Path('logs')) as processes:\n"
    "    failed = processes.run('help', [pool.Job('help', ('--help',))])\n"
    "sys.exit(len(failed))"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-index", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}")
    build = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert build.returncode == 0, build.stdout + build.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def command(unpacked, tmp_path):
    """Runs `tfrec` of the unpacked wheel in an empty folder and a bare environment."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = inherited | {"PYTHONPATH": str(unpacked), "PYTHONIOENCODING": "utf-8"}

    def run(*arguments, code=COMMAND):
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    return run


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.name != "BUILD" and "__pycache__" not in path.parts
    }
    assert {"tfrec/py.typed", "tfgoalrec/py.typed", "tfimrl/py.typed"} < expected
    assert "tfrec/serving/page_files/index.html" in expected
    about = f"tfrec-{tfrec.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{about}/METADATA").decode()
        entry_points = archive.read(f"{about}/entry_points.txt").decode()
    assert {name for name in names if not name.startswith(f"{about}/")} == expected
    assert f"{about}/licenses/LICENSE" in names
    assert "Requires-Python: <3.14,>=3.11\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "tfrec = launch.command:main" in entry_points


def test_the_installed_command_answers_in_an_empty_folder(command, tmp_path):
    run = command("--help")
    assert run.returncode == 0, run.stderr
    assert "train-sequential" in run.stdout
    assert command("--version").stdout == f"tfrec {tfrec.__version__}\n"
    assert not list(tmp_path.iterdir())


def test_an_installed_script_works_in_an_empty_folder(command, tmp_path):
    size = ("--embedded_num_users=30", "--embedded_num_items=20", "--max_steps=6")
    run = command("prepare-data", *size)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "runs" / "data" / "manifest.json").exists()


def test_child_processes_run_the_installed_scripts(command, tmp_path):
    # Modules of the user's with the names of some that a child process imports.
    for name in ("launch.py", "random.py"):
        (tmp_path / name).write_text("raise RuntimeError('not this one')")
    run = command(code=CHILD)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "--model:" in (tmp_path / "logs" / "help.txt").read_text()
