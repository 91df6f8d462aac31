"""TensorBoard's readers read the written summaries."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import plugin_data_pb2

from tfrec.training import run as runs
from tfrec.training import summaries


def read(directory):
    accumulator = event_accumulator.EventAccumulator(str(directory), {"tensors": 0})
    accumulator.Reload()
    return accumulator


def test_scalars_and_histograms(tmp_path):
    run = runs.Run.open(tmp_path, {}, 1)
    for iteration in (1, 2):
        results = {"loss": tf.constant(iteration / 2), "n": 3, "hist/sigma": np.arange(4.0)}
        summaries.write(run.writer, results, iteration)
    run.writer.flush()
    events = read(tmp_path / "tensorboard")
    assert sorted(events.Tags()["tensors"]) == ["loss", "n", "sigma"]
    losses = [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events.Tensors("loss")]
    assert losses == [(1, 0.5), (2, 1.0)]
    buckets = tf.make_ndarray(events.Tensors("sigma")[0].tensor_proto)  # [buckets, 3]
    assert buckets[:, 2].sum() == 4


def test_hparams(tmp_path):
    run = runs.Run.open(tmp_path, {}, 1)
    config = {"model": {"units": [4, 2], "fast": True}, "rate": 0.5, "limit": None}
    summaries.write_hparams(run.writer, config, "one")
    run.writer.flush()
    contents = read(tmp_path / "tensorboard").PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(
        contents["_hparams_/session_start_info"]
    ).session_start_info
    values = {name: value for name, value in start.hparams.items()}
    assert values["rate"].number_value == 0.5 and values["model.fast"].bool_value is True
    assert values["model.units"].string_value == "[4, 2]"
    assert values["limit"].string_value == "None"
    assert "_hparams_/session_end_info" in contents


def test_projector(tmp_path):
    vectors = np.array([[1.0, 0.25], [-2.0, 3.0], [0.0, 0.5]])
    summaries.write_projector(tmp_path / "tensorboard", vectors, ["a b", "tab\tline\n", ""])
    folder = tmp_path / "tensorboard"
    config = projector.ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    assert embedding.tensor_name == "items"
    np.testing.assert_array_equal(np.loadtxt(folder / embedding.tensor_path), vectors)
    labels = (folder / embedding.metadata_path).read_text()
    assert labels == "a b\ntab line\n(blank)\n"


def test_projector_wants_a_label_for_each_vector(tmp_path):
    with pytest.raises(ValueError, match="3 vectors and 2 labels"):
        summaries.write_projector(tmp_path, np.zeros([3, 2]), ["a", "b"])
