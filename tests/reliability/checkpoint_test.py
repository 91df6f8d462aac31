"""R3 and R4: a checkpoint is complete or passed over, and restoring is strict."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tf_keras

from tfrec import errors
from tfrec.training import checkpoint

CONFIG = {"model": {"units": (8, 1)}, "rate": 0.01}


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """Checkpoints after units 1, 2 and 3, and what each of them holds."""
    directory = tmp_path_factory.mktemp("saved")
    learner = tiny.Regression()
    manager = checkpoint.CheckpointManager(directory, learner, CONFIG)
    contents = {}
    for iteration in (1, 2, 3):
        learner.advance()
        manager.save(iteration)
        contents[iteration] = values(learner)
    return directory, contents


@pytest.fixture
def directory(saved, tmp_path):
    """A copy of them to damage."""
    return shutil.copytree(saved[0], tmp_path / "checkpoints")


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(
        checkpoint.logging, "warning", lambda text, *values: said.append(text % values)
    )
    return said


def values(module):
    return {name: v.numpy() for name, v in checkpoint.named_variables(module).items()}


def assert_holds(module, expected):
    found = values(module)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["variables.npz", "manifest.json"])
@pytest.mark.parametrize("damage", [truncate, zero, flip, pathlib.Path.unlink])
def test_a_damaged_checkpoint_is_passed_over(tiny, saved, directory, warnings, damage, file):
    damage(directory / "ckpt-3" / file)
    learner = tiny.Regression()
    manager = checkpoint.CheckpointManager(directory, learner, CONFIG)
    assert manager.restore_latest() == 2
    assert_holds(learner, saved[1][2])
    assert len(warnings) == 1
    assert f"{directory}/ckpt-3 is" in warnings[0] and file in warnings[0]
    assert f"using {directory}/ckpt-2" in warnings[0]
    # The work is done again and the damaged one replaced.
    learner.advance()
    manager.save(3)
    again = tiny.Regression()
    assert checkpoint.CheckpointManager(directory, again, CONFIG).restore_latest() == 3
    assert_holds(again, saved[1][3])
    assert len(warnings) == 1


def test_leftovers_of_a_killed_save_are_cleared_and_strangers_stay(tiny, directory, warnings):
    for name in (".tmp-ckpt-4", ".tmp-removed-ckpt-0"):
        shutil.copytree(directory / "ckpt-3", directory / name)
    (directory / "ckpt-notes").mkdir()
    (directory / "ckpt-4").mkdir()  # no save of ours leaves this; a copy by hand may
    manager = checkpoint.CheckpointManager(directory, tiny.Regression(), CONFIG)
    assert manager.restore_latest() == 3
    assert "ckpt-4 is no complete checkpoint: manifest.json is missing" in warnings[0]
    left = sorted(path.name for path in directory.iterdir())
    assert left == ["ckpt-1", "ckpt-2", "ckpt-3", "ckpt-4", "ckpt-notes"]


def test_with_every_checkpoint_damaged_nothing_starts_over_unasked(tiny, directory):
    for iteration in (1, 2, 3):
        truncate(directory / f"ckpt-{iteration}" / "variables.npz")
    manager = checkpoint.CheckpointManager(directory, tiny.Regression(), CONFIG)
    with pytest.raises(errors.UserError, match="no good checkpoint is left.*ckpt-3.*ckpt-1"):
        manager.restore_latest()


def test_without_checkpoints_the_module_stays_as_it_is(tiny, tmp_path):
    learner = tiny.Regression()
    before = values(learner)
    manager = checkpoint.CheckpointManager(tmp_path / "none", learner, CONFIG)
    assert manager.restore_latest() is None
    assert_holds(learner, before)


def other_width(tiny):
    return tiny.Regression(width=6)


def one_variable_more(tiny):
    learner = tiny.Regression()
    learner.extra = tf_keras.metrics.Mean()
    return learner


def one_variable_less(tiny):
    learner = tiny.Regression()
    del learner.mean
    return learner


def another_type(tiny):
    learner = tiny.Regression()
    learner.iteration = checkpoint.tf.Variable(0, dtype="int32")
    return learner


def optimizer_not_built(tiny):
    learner = tiny.Regression()
    learner.optimizer = tf_keras.optimizers.Adam(0.01)
    return learner


@pytest.mark.parametrize(
    "build, complaint",
    [
        (other_width, "variable tower/layer-0/kernel has shape [4, 8] saved, [6, 8] here"),
        (other_width, "variable replay/x has shape [64, 4] saved, [64, 6] here"),
        (one_variable_more, "variable extra/total is in the module and not in the checkpoint"),
        (one_variable_less, "variable mean/total is in the checkpoint and not in the module"),
        (another_type, "variable iteration is int64 saved, int32 here"),
        (optimizer_not_built, "variable optimizer/_momentums/0 is in the checkpoint and not"),
    ],
)
def test_a_checkpoint_of_other_variables_is_rejected(tiny, saved, build, complaint):
    learner = build(tiny)
    before = values(learner)
    manager = checkpoint.CheckpointManager(saved[0], learner, CONFIG)
    with pytest.raises(errors.UserError) as error:
        manager.restore_latest()
    assert complaint in str(error.value) and "ckpt-3" in str(error.value)
    assert_holds(learner, before)  # not half restored


def test_a_checkpoint_of_another_configuration_is_rejected(tiny, saved):
    other = {"model": {"units": (16, 1)}, "rate": 0.01, "clip": 1.0}
    manager = checkpoint.CheckpointManager(saved[0], tiny.Regression(), other)
    with pytest.raises(errors.UserError) as error:
        manager.restore_latest()
    assert "model.units: was [8, 1], is now [16, 1]" in str(error.value)
    assert "clip: was absent, is now 1.0" in str(error.value)
    assert "rate" not in str(error.value)


def test_a_damaged_final_model_is_an_error(tiny, directory):
    flip(directory / "ckpt-1" / "variables.npz")
    with pytest.raises(errors.UserError, match="variables.npz does not have its checksum"):
        checkpoint.read(directory / "ckpt-1", tiny.Regression())
    with pytest.raises(errors.UserError, match="manifest.json is missing"):
        checkpoint.read(directory / "ckpt-9", tiny.Regression())


def test_a_save_that_fails_leaves_nothing_and_keeps_what_was(tiny, directory, monkeypatch):
    manager = checkpoint.CheckpointManager(directory, tiny.Regression(), CONFIG)
    before = json.loads((directory / "ckpt-3/manifest.json").read_text())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(errors.UserError, match="ckpt-3: cannot write.*No space left"):
        manager.save(3)
    assert sorted(path.name for path in directory.iterdir()) == ["ckpt-1", "ckpt-2", "ckpt-3"]
    assert json.loads((directory / "ckpt-3/manifest.json").read_text()) == before
