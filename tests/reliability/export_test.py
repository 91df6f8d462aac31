"""R6: an export killed at any moment leaves no version, and the next one cleans up."""

import signal
import subprocess
import sys

import pytest

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.serving import export, files, golden, numbered

pytestmark = pytest.mark.slow

# The child exports for real; at the named point it says so on a pipe and waits to be killed.
CHILD = """
import sys

import tfrec  # sets up Keras 2
import tensorflow as tf

from tests.tfrec.serving import fake_ranker
from tfrec.serving import export, golden, numbered

directory, point = sys.argv[1:]


def halt(*args, **kwargs):
    print("here", flush=True)
    sys.stdin.read()


if point == "vocabulary written":
    tf.saved_model.save = halt
elif point == "graph half written":
    # SavedModel writes variables/ first and saved_model.pb last.
    from tensorflow.python.saved_model import save
    save.file_io.atomic_write_string_to_file = halt
elif point == "model written":
    golden.write = halt
elif point == "before the rename":
    numbered.os.rename = halt
export.export(fake_ranker.FakeRanker(), directory)
print("not halted", flush=True)
"""
POINTS = ("vocabulary written", "graph half written", "model written", "before the rename")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Export directories by the point at which their exporter was killed."""
    directories = {point: tmp_path_factory.mktemp("export") for point in POINTS}
    children = {
        point: subprocess.Popen(
            [sys.executable, "-c", CHILD, directory, point],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for point, directory in directories.items()
    }
    for point, child in children.items():
        with child:
            assert child.stdout.readline() == "here\n", point
            with pytest.raises(errors.UserError, match="another export is being written"):
                export.export(fake_ranker.FakeRanker(), directories[point])
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
    return directories


@pytest.mark.parametrize("point", POINTS)
def test_no_half_model_is_visible_and_the_next_export_cleans_up(killed, point):
    directory = killed[point]
    assert numbered.versions(directory) == []
    left = [path for path in directory.iterdir() if path.is_dir()]
    assert [path.name for path in left] == [".unfinished-1"], "the child was not where it said"
    assert export.export(fake_ranker.FakeRanker(), directory) == directory / "1"
    assert sorted(path.name for path in directory.iterdir()) == [".lock", "1"]
    files.open_manifest(directory / "1")
    golden.verify(directory / "1")
