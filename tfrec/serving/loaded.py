"""Exported versions, loaded for use from Python."""

import abc
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import errors, model_path
from tfrec.data import state_encoding
from tfrec.serving import asserted, files, requests
from tfrec.serving import descriptions as descriptions_lib
from tfrec.serving import manifest as manifest_lib


class Answer(NamedTuple):
    """A ranked list, best first.

    Attributes:
      item: raw ids, [n] with n at most k.
      score: float32 [n].
      measurements: float32 [n, M], predicted, raw units.
    """

    item: list[requests.RawId]
    score: np.ndarray
    measurements: np.ndarray


class RankingModel(abc.ABC):
    """A model that answers requests with ranked lists, exported or not.

    Attributes:
      columns: names of the M measurement columns.
      units: their units, [M].
      feedback_names: names of the F feedback columns.
      item_dtype: `string` or `int64`.
      state_encoder: encoders of the features of users and contexts that the model reads.
    """

    columns: tuple[str, ...]
    units: tuple[str, ...]
    feedback_names: tuple[str, ...]
    item_dtype: str
    state_encoder: state_encoding.StateEncoder

    @abc.abstractmethod
    def _answer(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature for its named inputs."""

    def rank(self, batch: Sequence[requests.Request]) -> list[Answer]:
        """Ranked lists for a batch of requests, by goal, named goal or weights.

        Raises:
          UserError: if the model rejects a request, with the reason.
        """
        weighted = {bool(request.weights) for request in batch}
        if len(weighted) > 1:
            raise errors.UserError(
                "a batch mixes requests with and without weights; expected two batches"
            )
        answer = self._run("rank_weights" if weighted == {True} else "rank", batch)
        return [
            Answer(
                [self._readable(item) for item in answer["item"][row][valid].tolist()],
                answer["score"][row][valid],
                answer["measurements"][row][valid],
            )
            for row, valid in enumerate(answer["valid"])
        ]

    def unknown(self, items: Iterable[requests.RawId]) -> list[requests.RawId]:
        """The raw ids that are not in the model's vocabulary."""
        items = tuple(dict.fromkeys(items))
        if not items:
            return []
        goal = (1.0,) * len(self.columns)
        request = requests.Request(goal=goal, candidates=items)
        in_vocabulary = self._run("predict_measurements", [request])["known"][0]
        return [
            item
            for item, is_in_vocabulary in zip(items, in_vocabulary, strict=True)
            if not is_in_vocabulary
        ]

    def _run(self, signature: str, batch: Sequence[requests.Request]) -> dict[str, np.ndarray]:
        slots = self.state_encoder.slots
        try:
            inputs = requests.arrays(
                batch, signature, self.item_dtype, len(self.feedback_names), slots
            )
        except ValueError as error:
            raise errors.UserError(str(error)) from error
        return self._answer(signature, inputs)

    def _readable(self, item: bytes | int) -> requests.RawId:
        return item.decode() if isinstance(item, bytes) else item


class ExportedModel(RankingModel):
    """One version of an export directory, its files checked and loaded.

    Args:
      version: the version directory, e.g. `export/1`.

    Attributes:
      manifest: content of manifest.json.
      descriptions: names and features of the items for people; None if the export has none.

    Raises:
      UserError: if there is no export, or its files were changed.
    """

    def __init__(self, version: str | os.PathLike):
        self.version = pathlib.Path(version)
        self.manifest = _manifest(self.version, "ranker")
        self.columns = tuple(row["column"] for row in self.manifest["measurements"])
        self.units = tuple(row["unit"] for row in self.manifest["measurements"])
        self.feedback_names = tuple(column["name"] for column in self.manifest["feedback"])
        self.item_dtype = self.manifest["item_id"]["dtype"]
        self.state_encoder = manifest_lib.state_encoder(self.manifest)
        with model_path.literal(self.version) as path:
            self._loaded = tf.saved_model.load(path)

    @functools.cached_property
    def descriptions(self) -> descriptions_lib.Descriptions | None:
        return descriptions_lib.load(self.version, self.manifest)

    def _answer(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run_signature(str(self.version), self._loaded.signatures[signature], inputs)


class Choice(NamedTuple):
    """A policy's actions, and candidates ranked by them.

    Attributes:
      action: float32 [B, D].
      position: int32 [B, m], positions in the candidates, best first.
      score: float32 [B, m], inner products of action and candidates, in that order.
    """

    action: np.ndarray
    position: np.ndarray
    score: np.ndarray


class ExportedPolicy:
    """One version of a policy's export directory, its files checked and loaded.

    Args:
      version: the version directory, e.g. `export/1`.

    Attributes:
      manifest: content of manifest.json.

    Raises:
      UserError: if there is no export of a policy, or its files were changed.
    """

    def __init__(self, version: str | os.PathLike):
        self.version = pathlib.Path(version)
        self.manifest = _manifest(self.version, "policy")
        with model_path.literal(self.version) as path:
            self._loaded = tf.saved_model.load(path)

    def act(self, observation: np.ndarray, **others: np.ndarray) -> np.ndarray:
        """Actions [B, ...] for observations float32 [B, O], and others by name.

        Raises:
          UserError: if the model rejects a request, with the reason.
        """
        return self._run("act", observation=observation, **others)["action"]

    def choose(self, observation: np.ndarray, candidates: np.ndarray) -> Choice:
        """Ranks candidates, float32 [B, m, D], by their inner product with the action.

        Raises:
          UserError: if the model rejects a request or has no `choose`, with the reason.
        """
        return Choice(**self._run("choose", observation=observation, candidates=candidates))

    def _run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        if signature not in self._loaded.signatures:
            raise errors.UserError(f"{self.version}: it has no signature {signature!r}")
        specs = self.manifest["signatures"][signature]["inputs"]
        if set(inputs) != set(specs):
            raise errors.UserError(
                f"{signature} was given {', '.join(inputs)}; expected {', '.join(specs)}"
            )
        arrays = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
        for name, value in arrays.items():
            shape = tf.TensorShape(specs[name]["shape"])
            if not shape.is_compatible_with(value.shape):
                raise errors.UserError(
                    f"{name}: shape {list(value.shape)}; expected {shape.as_list()}"
                )
        return run_signature(str(self.version), self._loaded.signatures[signature], arrays)


def _manifest(version: pathlib.Path, kind: str) -> dict[str, Any]:
    """The manifest of a version, which must be of a kind."""
    manifest = files.open_manifest(version)
    actual_kind = manifest.get("kind", "ranker")
    if actual_kind != kind:
        raise errors.UserError(f"{version}: an exported {actual_kind}; expected a {kind}")
    return manifest


def run_signature(
    source: str, signature: Callable, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Runs a signature; its rejections become UserErrors."""
    try:
        answer = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    except tf.errors.InvalidArgumentError as error:
        message = asserted.message(error) or error.message
        raise errors.UserError(f"{source}: {message}") from error
    return {name: value.numpy() for name, value in answer.items()}
