"""Keras 2 is selected before TensorFlow is imported, or the import says what is wrong.

Each case runs in a new process with an unchanged environment, since both modules decide once.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python(code, **variables):
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=bare | variables,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "module",
    [
        "tfrec.baselines.rainbow",
        "tfgoalrec.losses",
        "tfgoalrec.world_model",
        "tfimrl.agent",
        "benchmarks.world_model",
        "launch.demo",
    ],
)
def test_an_import_selects_keras_2(module):
    code = (
        f"import {module}, tensorflow as tf; from tensorflow.keras import layers;"
        "print(tf.keras.layers.Dense.__module__, layers.Dense.__module__)"
    )
    run = python(code)
    assert run.returncode == 0, run.stderr
    attribute, module_path = run.stdout.split()[-2:]
    assert attribute.startswith("tf_keras.") and module_path.startswith("tf_keras.")


@pytest.mark.parametrize("package", ["tfrec", "tfgoalrec", "tfimrl"])
def test_tensorflow_with_keras_3_is_rejected(package):
    run = python(f"import tensorflow\nimport {package}")
    assert run.returncode == 1
    assert "ImportError: TensorFlow was imported before this package" in run.stderr


def test_a_variable_set_too_late_is_rejected():
    code = "import os, tensorflow; os.environ['TF_USE_LEGACY_KERAS'] = '1'; import tfrec"
    run = python(code)
    assert run.returncode == 1
    assert "set TF_USE_LEGACY_KERAS=1 in its environment" in run.stderr


def test_tensorflow_with_keras_2_is_accepted():
    run = python("import tensorflow, tfrec.baselines.td3", TF_USE_LEGACY_KERAS="1")
    assert run.returncode == 0, run.stderr


def test_an_environment_that_asks_for_keras_3_is_rejected():
    run = python("import tfrec", TF_USE_LEGACY_KERAS="0")
    assert run.returncode == 1
    assert "TF_USE_LEGACY_KERAS=0 asks TensorFlow for Keras 3" in run.stderr
