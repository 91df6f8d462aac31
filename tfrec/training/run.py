"""A run: a folder with its configuration, seed and versions, and its logs."""

import functools
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf
import tf_keras
from absl import logging

from tfrec import errors, options, outputs
from tfrec.data import identity

T = TypeVar("T")

_CONFIG = "config.json"
_PACKAGES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-recommenders",
    "tf-agents",
    "numpy",
    "polars",
)


class Run:
    """One run, new or going on. Make it with `Run.open`.

    Attributes:
      directory: its folder.
      config: the resolved configuration: plain nested values.
      seed: of everything random in it.
      extra: what else decides its result; plain values.
      inputs: data and world by name.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        config: Any,
        seed: int,
        extra: Any,
        inputs: identity.Sources | None = None,
    ):
        self.directory = directory
        self.config = config
        self.seed = seed
        self.extra = extra
        self.inputs = inputs or {}

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike,
        config: Any,
        seed: int,
        extra: dict[str, Any] | None = None,
        inputs: identity.Sources | None = None,
    ) -> "Run":
        """Starts a run in a new folder, or goes on with the one that is there.

        Writes `config.json`: configuration, seed, extra, inputs and package versions.

        Args:
          directory: the run's folder.
          config: a dataclass or a dict, which may be nested.
          seed: what the learner was built with, see `seeded`.
          extra: what else decides the run's result; plain values.
          inputs: the data and the world by name. Their content is compared and not their
            paths: a folder may be moved or named otherwise, and may not be replaced.

        Raises:
          UserError: if the folder holds a run with another configuration, seed, extra or
            input; names what differs. Other package versions only warn.
        """
        directory = pathlib.Path(directory)
        path = directory / _CONFIG
        settings = {"config": config, "seed": seed, "extra": extra or {}}
        try:
            now = _compared_or_written(path, settings, inputs or {})
        except OSError as error:
            raise errors.UserError(f"{path}: {error.strerror or error}") from error
        return cls(directory, now["config"], seed, now["extra"], inputs)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint is stamped with: configuration, seed, extra and fingerprints."""
        stamp = {"config": self.config, "seed": self.seed, "extra": self.extra}
        if self.inputs:
            stamp["inputs"] = identity.fingerprints(self.inputs)
        return stamp

    @functools.cached_property
    def writer(self) -> tf.summary.SummaryWriter:
        """TensorBoard's writer, made when it is first used."""
        return tf.summary.create_file_writer(str(self.directory / "tensorboard"))


def seeded(seed: int, build: Callable[[], T], deterministic: bool = True) -> T:
    """Seeds Python, numpy and TensorFlow, and then builds a learner.

    This is the only way to seed a run, so that nothing is built before it is seeded.

    Args:
      seed: the run's.
      build: makes whatever draws at random while it is made.
      deterministic: also make TensorFlow choose operations that give the same bits
        each time, which can be slower on a GPU. It holds for the whole process.

    Returns:
      What `build` returns.
    """
    tf_keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return build()


def _compared_or_written(
    path: pathlib.Path, settings: dict[str, Any], inputs: identity.Sources
) -> dict[str, Any]:
    """Compares a run's settings and inputs with those of its file, or writes the file.

    Args:
      path: of the file; a new run has none yet.
      settings: what decides the run's result.
      inputs: the data and the world by name.

    Returns:
      The resolved settings.

    Raises:
      UserError: naming what differs.
    """
    now, versions = options.resolved(settings), _versions()
    if path.exists():
        try:
            before = json.loads(path.read_text())
            before_versions, before_inputs = before.pop("versions"), before.pop("inputs", None)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.UserError(f"{path} is not a run's configuration: {error!r}") from error
        different = options.differences(before, now)
        different += identity.changes(before_inputs, inputs)
        if different:
            listed = "\n  ".join(different)
            raise errors.UserError(
                f"{path.parent} holds a run with another configuration:\n  {listed}\n"
                "Go on with the same flags and inputs, or choose another folder"
            )
        for line in options.differences(before_versions, versions):
            logging.warning("%s: the run began with another version of %s", path.parent, line)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        saved = {**now, "inputs": identity.recorded(inputs), "versions": versions}
        outputs.write_json(path, saved)
    return now


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions
