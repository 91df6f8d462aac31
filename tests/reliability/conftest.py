"""The tiny run as a process: start it, read where it is, end it."""

import contextlib
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).with_name("tiny_run.py")


class TinyRun:
    """One process of `tiny_run.py`; the folder outlives it."""

    def __init__(self, directory, **planted):
        environment = {f"TINY_{name.upper()}": str(value) for name, value in planted.items()}
        self.log = pathlib.Path(f"{directory}.stderr")
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(directory)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=os.environ | environment,
            )  # fmt: skip
        self.lines = []

    def wait_for(self, line):
        """Reads its output up to this line; it has come that far, and maybe further."""
        for found in self.process.stdout:
            self.lines.append(found.rstrip("\n"))
            if self.lines[-1] == line:
                return
        pytest.fail(f"never said {line!r}, but {self.lines}; stderr: {self.log.read_text()}")

    def end(self):
        """Waits for its end; the exit code, negative for a signal."""
        rest, _ = self.process.communicate(timeout=60)
        self.lines += rest.splitlines()
        return self.process.returncode

    def kill(self):
        self.process.kill()
        assert self.end() == -9


@pytest.fixture(scope="session")
def tiny_run():
    """A function that starts the run in a folder, with something planted."""
    with contextlib.ExitStack() as stack:

        def start(directory, **planted):
            run = TinyRun(directory, **planted)
            stack.callback(run.process.wait)
            stack.callback(run.process.kill)
            return run

        yield start


def state(directory):
    """The bits that a run is: every saved variable, and every logged number."""
    files = [*sorted(directory.glob("checkpoints/ckpt-*/*")), directory / "metrics.jsonl"]
    return {
        str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@pytest.fixture(scope="session")
def uninterrupted(tiny_run, tmp_path_factory):
    """The state that the run ends in when nothing happens to it."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    assert tiny_run(directory).end() == 0
    found = state(directory)
    assert sorted(found) == [
        *(f"checkpoints/ckpt-{n}/{name}" for n in (10, 15, 20)
          for name in ("manifest.json", "variables.npz")),
        "metrics.jsonl",
    ]  # fmt: skip
    return found


@pytest.fixture(name="state", scope="session")
def state_fixture():
    return state


@pytest.fixture(scope="session")
def tiny():
    """The program as a module, for what needs no process of its own."""
    spec = importlib.util.spec_from_file_location("tiny_run", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
