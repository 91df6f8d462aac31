"""What a checkpoint holds, and under which names. Damage: tests/reliability."""

import typing

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrec import errors
from tfrec.training import checkpoint


class Pair(typing.NamedTuple):
    first: tf.Variable
    second: tf.Variable


class Everything(tf.Module):
    """One of each kind of state, and one variable reachable along two paths."""

    def __init__(self, value=0.0):
        super().__init__()
        self.gru = tf_keras.layers.GRU(2)
        self.gru.build((None, None, 3))
        self.weights = self.gru.trainable_variables
        self.optimizer = tf_keras.optimizers.Adam(0.1)
        self.optimizer.build(self.gru.trainable_variables)
        self.legacy = tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9)
        self.legacy.apply_gradients([(tf.ones([2, 6]), self.gru.cell.recurrent_kernel)])
        self.random = tf.random.Generator.from_seed(1)
        self.metric = tf_keras.metrics.Mean()
        self.tables = {
            "b": [tf.Variable(value)],
            "a": (tf.Variable(tf.cast([value], tf.int32)),),
        }
        self.pair = Pair(tf.Variable(value), tf.Variable(value, dtype=tf.bfloat16))
        self.flag = tf.Variable(value > 0)

    @tf.function
    def again(self):
        return self.tables["b"][0]


def test_variables_are_named_by_their_shortest_path():
    module = Everything()
    module.again()
    names = list(checkpoint.named_variables(module))
    assert names == [
        "flag",
        "legacy/decay",
        "legacy/iter",
        "legacy/learning_rate",
        "legacy/momentum",
        "legacy/weights/1",
        "metric/count",
        "metric/total",
        "optimizer/_iterations",
        "optimizer/_learning_rate",
        "pair/0",
        "pair/1",
        "random/_state_var",
        "weights/0",
        "weights/1",
        "weights/2",
        "optimizer/_momentums/0",
        "optimizer/_momentums/1",
        "optimizer/_momentums/2",
        "optimizer/_velocities/0",
        "optimizer/_velocities/1",
        "optimizer/_velocities/2",
        "tables/a/0",
        "tables/b/0",
    ]
    assert names == list(checkpoint.named_variables(Everything()))
    named = {v.ref() for v in checkpoint.named_variables(module).values()}
    assert {v.ref() for v in module.variables} <= named


def test_everything_comes_back_bit_for_bit(tmp_path):
    saved = Everything(1.5)
    saved.random.normal([3])
    saved.metric.update_state(7.0)
    saved.optimizer.apply_gradients(
        [
            (tf.random.stateless_normal(v.shape, [1, 2]), v)
            for v in saved.gru.trainable_variables
        ]
    )
    saved.legacy.apply_gradients([(tf.ones([2, 6]) / 3, saved.gru.cell.recurrent_kernel)])
    checkpoint.write(tmp_path / "final", saved, {"units": (2,)})
    module = Everything()
    assert checkpoint.read(tmp_path / "final", module, {"units": [2]}) == {"units": [2]}
    named = checkpoint.named_variables(module)
    for name, variable in checkpoint.named_variables(saved).items():
        assert named[name].numpy().tobytes() == variable.numpy().tobytes(), name
    np.testing.assert_array_equal(module.random.normal([5]), saved.random.normal([5]))
    assert checkpoint.read_config(tmp_path / "final") == {"units": [2]}


def test_equal_states_make_equal_files_that_numpy_opens(tmp_path):
    module = tf.Module()
    module.rows = {"item": tf.Variable([3, 5])}
    for name in ("a", "b"):
        checkpoint.write(tmp_path / name, module, {})
    for file in ("variables.npz", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert np.load(tmp_path / "a/variables.npz")["rows/item"].tolist() == [3, 5]


def test_a_later_write_replaces_the_earlier(tmp_path):
    module = tf.Module()
    module.x = tf.Variable(1.0)
    checkpoint.write(tmp_path / "final", module, {})
    module.x.assign(2.0)
    checkpoint.write(tmp_path / "final", module, {})
    module.x.assign(3.0)
    checkpoint.read(tmp_path / "final", module)
    assert module.x.numpy() == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_the_last_few_checkpoints_stay(tmp_path):
    module = tf.Module()
    module.x = tf.Variable(0)
    manager = checkpoint.CheckpointManager(tmp_path, module, {}, keep=2)
    for iteration in (5, 10, 100, 20):  # by number, not by text
        module.x.assign(iteration)
        manager.save(iteration)
    assert manager.iterations() == [20, 100]
    assert manager.restore_latest() == 100 and module.x.numpy() == 100


def test_state_that_is_no_variable_is_rejected(tmp_path):
    module = tf.Module()
    module.data = iter(tf.data.Dataset.range(3))
    with pytest.raises(TypeError, match="data: a OwnedIterator cannot be saved exactly"):
        checkpoint.write(tmp_path / "final", module, {})


def test_a_missing_final_model_is_the_user_s_error(tmp_path):
    with pytest.raises(errors.UserError, match="nowhere is no complete checkpoint"):
        checkpoint.read_config(tmp_path / "nowhere")


def test_variables_that_are_not_finite_are_neither_written_nor_read(tmp_path, monkeypatch):
    module = tf.Module()
    module.kernel = tf.Variable([1.0, 2.0])
    manager = checkpoint.CheckpointManager(tmp_path, module, {}, keep=3)
    manager.save(1)
    module.kernel.assign([1.0, np.nan])
    with pytest.raises(errors.UserError, match="ckpt-2: not written: 1 of 2 numbers of kernel"):
        manager.save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt-1"]
    with monkeypatch.context() as patch:  # one that was written before there was a check
        patch.setattr(checkpoint.weights, "check", lambda *_: None)
        manager.save(2)
    module.kernel.assign([5.0, 6.0])
    with pytest.raises(errors.UserError, match="ckpt-2: 1 of 2 numbers of kernel are NaN"):
        checkpoint.read(manager.path(2), module)
    np.testing.assert_array_equal(module.kernel, [5.0, 6.0])
    assert manager.restore_latest() == 1
    np.testing.assert_array_equal(module.kernel, [1.0, 2.0])
