"""Warm-up requests: TensorFlow Serving replays them before a version takes traffic."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tfrec.serving import requests

WARMUP = pathlib.Path("assets.extra", "tf_serving_warmup_requests")


def write(
    rank_requests: Sequence[requests.Request],
    version: pathlib.Path,
    item_dtype: str,
    num_feedback: int,
    weights: Sequence[float],
    context_slots: int = 0,
) -> None:
    """Records a ranker's warm-up requests: each signature, one request and a batch.

    Args:
      rank_requests: requests for `rank`; the other signatures get the same histories.
      version: the version directory.
      item_dtype: `string` or `int64`.
      num_feedback: F.
      weights: weight of each measurement column in requests for `rank_weights`, [M].
      context_slots: K, numbers of the features of a user and a context; 0 if the model reads
        none.
    """
    some_item = next(request.candidates[:1] for request in rank_requests if request.candidates)
    logs = []
    for signature in ("serving_default", *requests.SIGNATURES):
        named = "rank" if signature == "serving_default" else signature
        for batch in (rank_requests[:1], rank_requests):
            inputs = requests.arrays(batch, named, item_dtype, num_feedback, context_slots)
            if "weights" in inputs:
                row = np.asarray(weights, np.float32)
                inputs["weights"] = np.tile(row, (len(batch), 1))  # [B, M]
            if named == "predict_measurements":
                ids = [requests.Request(candidates=some_item)] * len(batch)
                candidates = requests.arrays(ids, named, item_dtype, num_feedback)
                inputs["candidates"] = candidates["candidates"]
            logs.append((signature, inputs))
    record(version, logs)


def record(
    version: pathlib.Path, logged: Iterable[tuple[str, Mapping[str, np.ndarray]]]
) -> None:
    """Writes a TFRecord of PredictionLog, each with a signature and its named inputs."""
    path = version / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in logged:
            writer.write(_log(signature, inputs).SerializeToString())


def read(version: pathlib.Path) -> list[tuple[str, dict[str, tf.Tensor]]]:
    """The warm-up requests of a version: signature and named inputs of each."""
    logged = []
    for record in tf.data.TFRecordDataset(str(version / WARMUP)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {
            name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()
        }
        logged.append((request.model_spec.signature_name, inputs))
    return logged


def _log(signature: str, inputs: Mapping[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(signature_name=signature)
    )
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
