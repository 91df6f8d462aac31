"""R10: a NaN stops the run, names the tensor and keeps the batch."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tfrec.training import checkpoint, finite, loop
from tfrec.training import run as runs


def test_a_nan_stops_the_run_and_leaves_its_batch(tiny, tmp_path, capsys):
    run = runs.Run.open(tmp_path, {"width": 4}, seed=3)
    learner = tiny.Regression(nan_at=7)
    with pytest.raises(SystemExit) as stop:
        loop.train(learner, run, total_iterations=20, save_every=5)
    assert stop.value.code == 3
    message = capsys.readouterr().err
    assert "iteration 7: loss is not finite" in message
    assert f"{tmp_path}/non_finite-7.npz" in message
    assert f"{tmp_path}/checkpoints/ckpt-5" in message
    with np.load(tmp_path / "non_finite-7.npz") as batch:
        assert np.isnan(batch["y"]).all() and batch["x"].shape == (8, 4)
    # What is left is sound: the weights before the NaN, and no line of iteration 7.
    assert all(np.isfinite(v.numpy()).all() for v in learner.tower.weights)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["ckpt-5"]
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["iteration"] == 6

    # The cause removed, the same run goes on.
    healed = tiny.Regression()
    loop.train(healed, run, total_iterations=8, save_every=5)
    assert int(healed.iteration) == 8
    assert checkpoint.CheckpointManager(tmp_path / "checkpoints", healed, {}).iterations() == [
        5,
        8,
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_bad_tensor_is_found_in_a_graph(bad):
    @tf.function
    def search(value):
        sparse = tf.IndexedSlices(tf.stack([[1.0], [value]]), tf.constant([4, 2]))
        return finite.first_non_finite(
            {"loss": tf.constant(1.0), "embedding": sparse, "kernel": tf.fill([2, 2], value)}
        )

    assert search(bad) == 1
    assert search(0.5) == -1
    assert search(1e30) == -1, "their joint norm overflows, and they are finite"
    assert finite.first_non_finite({}) == -1


def test_names_that_would_hide_a_tensor_are_rejected():
    assert list(finite.named(["a", "b"], [tf.zeros([]), tf.zeros([])])) == ["a", "b"]
    with pytest.raises(ValueError, match="share the names a"):
        finite.named(["a", "b", "a"], [tf.zeros([])] * 3)
    twins = [tf.Variable(0.0, name="kernel"), tf.Variable(0.0, name="kernel")]
    assert finite.gradient_names(twins) == ["gradient of kernel 0", "gradient of kernel 1"]


def test_an_update_with_a_bad_number_is_not_applied():
    weight = tf.Variable([1.0, 2.0])

    @tf.function
    def update(gradient):
        return finite.guarded(
            {"loss": tf.constant(3.0), "gradient": gradient},
            lambda: weight.assign_sub(gradient),
        )

    assert update(tf.constant([np.nan, 0.5])) == 1
    np.testing.assert_array_equal(weight, [1.0, 2.0])
    assert update(tf.constant([0.5, 0.5])) == -1
    np.testing.assert_array_equal(weight, [0.5, 1.5])


class Pair(NamedTuple):
    rows: dict
    absent: tf.Tensor | None


def test_a_batch_is_taken_apart_by_path_and_put_together_again():
    batch = Pair({"x": tf.constant([1.0, np.nan]), "seeds": [tf.constant(3)]}, None)
    with pytest.raises(finite.NonFiniteError, match="^loss is not finite") as raised:
        finite.check(["loss", "gradient"], tf.constant(0), batch)
    stored = raised.value.batch
    assert list(stored) == ["rows.x", "rows.seeds.0"]
    np.testing.assert_array_equal(stored["rows.x"], [1.0, np.nan])
    like = Pair({"x": tf.zeros([5]), "seeds": [tf.constant(0)]}, None)
    again = finite.packed(stored, like)
    np.testing.assert_array_equal(again.rows["x"], batch.rows["x"])
    assert again.rows["seeds"][0] == 3 and again.absent is None
    finite.check(["loss"], tf.constant(-1), batch)
