"""Imports before a script does its work: TensorFlow is not among them."""

import os
import pathlib
import subprocess
import sys

import pytest

from launch import flags

LAUNCH = pathlib.Path(flags.__file__).parent
SCRIPTS = sorted(
    p.stem for p in LAUNCH.glob("*.py") if "\n    flags.run(main)\n" in p.read_text()
)
HEAVY = {"tensorflow", "tf_keras", "tf_agents", "keras", "matplotlib", "scipy", "optuna"}
COMMAND = "import sys; from launch import command; sys.exit(command.main())"


def imported(*arguments):
    """Returns the modules that a Python process imported, from its import times."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    lines = run.stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if "import time:" in line}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_of_a_script_imports_no_tensorflow(script):
    modules = imported("-m", f"launch.{script}", "--help")
    assert "absl.flags" in modules
    assert not modules & HEAVY


def test_help_of_every_method_in_every_environment_imports_no_tensorflow():
    """All pairs in one process, one after the other."""
    run(f"""
import contextlib, io, sys
from launch import startup

startup.defer_imports()  # as a process of a script does
from launch import flags, methods
from tfrec.environments import registry as environments
from tfrec.methods import registry

for script in ("launch.train", "launch.tune"):
    for name in registry.names():
        for place in ("log", *environments.ENVIRONMENTS):
            text = io.StringIO()
            selection = [f"--method={{name}}", f"--environment={{place}}"]
            with contextlib.redirect_stdout(text):
                code = flags.call(script, [*selection, "--help"])
            loaded = sorted({HEAVY!r} & set(sys.modules))
            assert not loaded, (script, name, place, loaded)
            assert code == 0, (script, name, place, code)
            if place in registry.get(name).environments:
                assert "--learning_rate" in text.getvalue(), (script, name, place)
""")


def test_help_of_every_sequential_method_imports_no_tensorflow():
    """All methods in one process, one after the other."""
    run(f"""
import contextlib, io, sys
from launch import startup

startup.defer_imports()  # as a process of a script does
from launch import flags
from tfrec.baselines.sequential import methods

for name in methods.METHODS:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = flags.call("launch.train_sequential", [f"--method={{name}}", "--help"])
    loaded = sorted({HEAVY!r} & set(sys.modules))
    assert not loaded, (name, loaded)
    assert code == 0, (name, code)
    assert "--learning_rate" in text.getvalue(), name
""")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["evaluate", "--help"]])
def test_the_command_imports_no_tensorflow_to_explain_itself(arguments):
    modules = imported("-c", COMMAND, *arguments)
    assert "tfrec" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("package", ["tfrec", "tfgoalrec", "tfimrl"])
def test_a_library_is_imported_without_tensorflow(package):
    modules = imported("-c", f"import {package}")
    assert package in modules
    assert not modules & HEAVY


def test_a_log_is_described_without_tensorflow():
    modules = imported("-c", "from tfrec.data import episodes, schema, synthetic, vocabulary")
    assert "tfrec.data.synthetic" in modules
    assert "tensorflow" not in modules


def run(code):
    """Runs code with assertions in a new process."""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_deferred_modules_are_loaded_when_used_or_before_main():
    run("""
import sys, types
from launch import startup

startup.defer_imports()
from tfrec import names, outputs

def is_loaded(module):
    return object.__getattribute__(module, "__class__") is types.ModuleType

assert not is_loaded(names) and not is_loaded(outputs)
assert callable(names.check_label)  # its use loads it
assert is_loaded(names) and not is_loaded(outputs)
finders = len(sys.meta_path)
startup.load_deferred()
assert is_loaded(outputs)
assert len(sys.meta_path) == finders - 1
from tfrec import model_path  # an ordinary import again
assert is_loaded(model_path)
""")


def test_a_program_that_imports_launch_defers_nothing():
    run("""
import types
from launch import flags
from tfrec import names

assert object.__getattribute__(names, "__class__") is types.ModuleType
""")
