"""A run: a folder with configuration, seed, package versions and logs."""

import functools
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf
import tf_keras
from absl import logging

from tfrec import errors, options
from tfrec.data import identity
from tfrec.training import records

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
    """One run, new or resumed, made by `Run.open`.

    Attributes:
      directory: folder of the run.
      config: the resolved configuration: plain nested values.
      seed: seed of all random numbers.
      extra: further settings that determine the result; plain values.
      inputs: data and simulator by name.
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
        """Starts a run in a new folder, or resumes the run in the folder.

        Writes `config.json`: configuration, seed, extra, inputs and package versions.

        Args:
          directory: the run's folder.
          config: a dataclass or a dict, which may be nested.
          seed: seed of the learner, see `seeded`.
          extra: further settings that determine the result; plain values.
          inputs: data and simulator by name. Their content is compared, not their paths: a
            folder may be moved or renamed, but not replaced.

        Raises:
          UserError: if the folder holds a run with another configuration, seed, extra or
            input; lists the differences. Other package versions cause a warning.
        """
        directory = pathlib.Path(directory)
        path = directory / _CONFIG
        settings = {"config": config, "seed": seed, "extra": extra or {}}
        try:
            resolved = _compared_or_written(path, settings, inputs or {})
        except OSError as error:
            raise errors.UserError(f"{path}: {error.strerror or error}") from error
        return cls(directory, resolved["config"], seed, resolved["extra"], inputs)

    @property
    def identity(self) -> dict[str, Any]:
        """Identity in checkpoints: configuration, seed, extra and fingerprints."""
        stamp = {"config": self.config, "seed": self.seed, "extra": self.extra}
        if self.inputs:
            stamp["inputs"] = identity.fingerprints(self.inputs)
        return stamp

    @functools.cached_property
    def writer(self) -> tf.summary.SummaryWriter:
        """Writer of TensorBoard summaries, opened on first use."""
        return tf.summary.create_file_writer(str(self.directory / "tensorboard"))


def seeded(seed: int, build: Callable[[], T], deterministic: bool = True) -> T:
    """Seeds Python, numpy and TensorFlow, and then builds a learner.

    Runs are seeded only by this function, so that nothing is built before.

    Args:
      seed: seed of the run.
      build: makes the learner; may draw random numbers.
      deterministic: whether TensorFlow uses only bitwise reproducible operations, which can
        be slower on a GPU. The setting applies to the whole process.

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
      path: path of the file; missing for a new run.
      settings: settings that determine the run's result.
      inputs: data and simulator by name.

    Returns:
      The resolved settings.

    Raises:
      UserError: with the differences.
    """
    resolved, versions = options.resolved(settings), _versions()

    def differences(saved: dict[str, Any]) -> list[str]:
        settings_before = dict(saved)
        del settings_before["versions"]  # other versions are a warning
        changed = identity.changes(settings_before.pop("inputs", None), inputs)
        return options.differences(settings_before, resolved) + changed

    saved = records.keep(
        path,
        {**resolved, "inputs": identity.recorded(inputs), "versions": versions},
        differences,
        f"{path.parent} holds a run with another configuration",
        "Resume with the same flags and inputs, or choose another folder",
        "a run's configuration",
    )
    for line in options.differences(saved["versions"], versions):
        logging.warning("%s: the run began with another version of %s", path.parent, line)
    return resolved


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions
