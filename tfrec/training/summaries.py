"""TensorBoard summaries: scalars, histograms, hyperparameters, item embeddings."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary

HISTOGRAM = "hist/"  # prefix of results that are arrays for histograms


def write(writer: tf.summary.SummaryWriter, results: Mapping[str, Any], iteration: int) -> None:
    """Writes an iteration's results: scalars, and histograms for keys `hist/...`.

    Args:
      writer: writer of the run.
      results: name -> number, or `hist/...` -> array of any shape.
      iteration: position on the horizontal axis.
    """
    with writer.as_default(step=iteration):
        for name, value in results.items():
            if name.startswith(HISTOGRAM):
                tf.summary.histogram(name.removeprefix(HISTOGRAM), value)
            else:
                tf.summary.scalar(name, value)


def write_hparams(writer: tf.summary.SummaryWriter, config: Any, name: str) -> None:
    """Writes the run's row of TensorBoard's HParams table.

    Args:
      writer: writer of the run.
      config: resolved configuration; nested fields become `outer.inner`, lists text.
      name: name of the run, the title of the row.
    """
    flat = dict(_flattened(config))
    with writer.as_default(step=0):
        hparams_api.hparams(flat, trial_id=name)
        end = hparams_summary.session_end_pb(api_pb2.STATUS_SUCCESS)
        tf.summary.experimental.write_raw_pb(end.SerializeToString())


def write_projector(
    directory: str | os.PathLike,
    vectors: np.ndarray,
    labels: Sequence[Any],
    name: str = "items",
) -> None:
    """Writes embeddings for TensorBoard's projector, one point for each item.

    Args:
      directory: TensorBoard's folder, `tensorboard` in the run's.
      vectors: float [N, D].
      labels: N raw item ids.
      name: name of the tensor in the projector.

    Raises:
      ValueError: if there are not as many labels as vectors.
    """
    if len(labels) != len(vectors):
        raise ValueError(f"{len(vectors)} vectors and {len(labels)} labels")
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    np.savetxt(directory / f"{name}.tsv", vectors, fmt="%.6g", delimiter="\t")
    # A label must be one line and one column for any id.
    lines = (" ".join(str(label).split()) or "(blank)" for label in labels)
    (directory / f"{name}_labels.tsv").write_text("".join(f"{line}\n" for line in lines))
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = name
    embedding.tensor_path = f"{name}.tsv"
    embedding.metadata_path = f"{name}_labels.tsv"
    projector.visualize_embeddings(str(directory), config)


def _flattened(config: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(config, dict):
        return [
            pair
            for key, value in config.items()
            for pair in _flattened(value, f"{path}.{key}" if path else str(key))
        ]
    return [(path, config if isinstance(config, bool | int | float | str) else str(config))]
