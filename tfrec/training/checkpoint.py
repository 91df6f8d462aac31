"""Checkpoints of a run's whole state: complete, checked and strict.

A checkpoint is a folder of two files. `variables.npz` holds every variable under
its path in the module (`world_model/gru/kernel`); `numpy.load` opens it.
`manifest.json` holds names, shapes, dtypes, the configuration, the checksum of
`variables.npz` and that of the manifest. The folder is written as `.tmp-<name>`, flushed to
disk and renamed, so that a folder with the final name is complete.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

from tfrec import errors, options, weights

_VARIABLES = "variables.npz"
_MANIFEST = "manifest.json"
_TEMPORARY = ".tmp-"


class DamagedError(Exception):
    """A checkpoint is damaged: truncated, zeroed or incomplete."""


def named_variables(module: tf.Module) -> dict[str, tf.Variable]:
    """Every variable reachable from a module, under its shortest path of attributes.

    Follows the objects that TensorFlow tracks: modules, Keras layers, optimisers and metrics,
    random generators, and variables in lists, tuples and dicts. A variable that is
    reachable along several paths is named once.

    Args:
      module: the root. All its variables must exist, including the optimiser's slots.

    Raises:
      TypeError: if it holds state other than variables (a dataset iterator, a mutable
        table).
    """
    view = tf.train.TrackableView(module)
    named: dict[str, tf.Variable] = {}
    seen = {id(module)}
    queue: collections.deque[tuple[str, Any]] = collections.deque([("", module)])
    while queue:  # breadth first: the shortest path names a variable
        path, node = queue.popleft()
        children = dict(view.children(node))
        if isinstance(node, tf_keras.optimizers.legacy.Optimizer):
            # Slots are not attributes.
            children |= {f"weights/{i}": slot for i, slot in enumerate(node.weights)}
        for name in sorted(children, key=_name_order):
            child = children[name]
            if id(child) in seen:
                continue
            seen.add(id(child))
            child_path = f"{path}/{name}" if path else name
            if isinstance(child, tf.Variable):
                named[child_path] = child
            elif isinstance(child, tf.data.Iterator | tf.lookup.experimental.MutableHashTable):
                raise TypeError(
                    f"{child_path}: a {type(child).__name__} cannot be saved exactly; "
                    "keep its state in variables"
                )
            else:
                queue.append((child_path, child))
    return named


def write(path: str | os.PathLike, module: tf.Module, config: Any) -> None:
    """Writes one checkpoint; replaces one of the same name.

    Args:
      path: the folder to write.
      module: module with the variables to save.
      config: a dataclass or a nest of plain values, saved with them.

    Raises:
      NonFiniteWeightsError: if a variable is not finite; nothing is written.
      UserError: if it cannot be written; no partial output is left.
    """
    path = pathlib.Path(path)
    variables = named_variables(module)
    weights.check(variables.items(), f"{path}: not written")
    temporary = path.with_name(_TEMPORARY + path.name)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write_files(temporary, variables, options.resolved(config))
        _remove(path)
        temporary.rename(path)
        _flush(path.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise errors.UserError(f"{path}: cannot write the checkpoint: {error}") from error


def read(
    path: str | os.PathLike,
    module: tf.Module,
    config: Any = None,
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Restores all of a module's variables, or none in case of an error.

    Args:
      path: a folder that `write` wrote.
      module: has exactly the variables that were saved.
      config: if given, must equal the saved configuration.
      only: names of variables; the others are neither compared nor restored. None for all.

    Returns:
      The saved configuration.

    Raises:
      UserError: if the checkpoint is missing or damaged, or a variable is missing,
        extra, not finite or of another shape or dtype, or the configuration differs; names
        them.
    """
    try:
        manifest = _verified_manifest(pathlib.Path(path))
    except DamagedError as error:
        raise errors.UserError(str(error)) from error
    _restore(pathlib.Path(path), manifest, module, config, only)
    return manifest["config"]


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """The configuration saved with a checkpoint, to build the module from.

    Raises:
      UserError: if the checkpoint is missing or damaged.
    """
    try:
        return _manifest(pathlib.Path(path))["config"]
    except DamagedError as error:
        raise errors.UserError(str(error)) from error


def iterations(directory: str | os.PathLike) -> list[int]:
    """The iterations of the checkpoints in a run's folder of them, oldest first."""
    folders = pathlib.Path(directory).glob("ckpt-*")
    names = (re.fullmatch(r"ckpt-(\d+)", path.name) for path in folders)
    return sorted(int(name[1]) for name in names if name)


class CheckpointManager:
    """The checkpoints of one run: the latest `ckpt-<iteration>` folders."""

    def __init__(
        self, directory: str | os.PathLike, module: tf.Module, config: Any, keep: int = 3
    ):
        """Opens a folder of checkpoints and removes leftovers of a killed save.

        Args:
          directory: folder of the checkpoints; may be missing.
          module: module with the variables to save and restore.
          config: the run's configuration; restoring under another is an error.
          keep: number of checkpoints to keep.
        """
        self._directory = pathlib.Path(directory)
        self._module = module
        self._config = options.resolved(config)
        self._keep = keep
        for leftover in self._directory.glob(_TEMPORARY + "*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def iterations(self) -> list[int]:
        """The iterations at which checkpoints exist, oldest first."""
        return iterations(self._directory)

    def path(self, iteration: int) -> pathlib.Path:
        """The folder of the checkpoint after `iteration` iterations."""
        return self._directory / f"ckpt-{iteration}"

    def save(self, iteration: int) -> pathlib.Path:
        """Saves the module's variables, then removes checkpoints beyond the last few.

        Raises:
          NonFiniteWeightsError: if a variable is not finite; the earlier checkpoints stay.
          UserError: if it cannot be written; the earlier checkpoints stay.
        """
        write(self.path(iteration), self._module, self._config)
        for old in self.iterations()[: -self._keep]:
            _remove(self.path(old))
        return self.path(iteration)

    def restore_latest(self) -> int | None:
        """Restores the newest valid checkpoint, with a warning for each invalid one.

        A checkpoint is invalid if it is damaged or holds variables that are not finite.

        Returns:
          Its iteration; None if there is no checkpoint and the module is unchanged.

        Raises:
          UserError: if no checkpoint is valid, or the valid one belongs to another module
            or configuration.
        """
        damaged: list[Exception] = []
        for iteration in reversed(self.iterations()):
            try:
                manifest = _verified_manifest(self.path(iteration))
                _restore(self.path(iteration), manifest, self._module, self._config)
            except (DamagedError, weights.NonFiniteWeightsError) as error:
                damaged.append(error)
                continue
            for damage in damaged:
                logging.warning("%s; using %s, the one before", damage, self.path(iteration))
            return iteration
        if damaged:
            raise errors.UserError(
                f"no good checkpoint is left: {'; '.join(map(str, damaged))}. "
                f"Remove {self._directory} to start from the beginning"
            )
        return None


def _name_order(name: str) -> tuple[bool, bool, str]:
    """Sorts public attributes first, and last the list of all slots in an optimiser."""
    return name.startswith("_"), name == "_variables", name


def _write_files(
    folder: pathlib.Path, variables: dict[str, tf.Variable], config: dict[str, Any]
) -> None:
    # One variable in memory at a time: a replay buffer can be most of the state.
    # ZipInfo has a fixed date, so that equal states have equal files.
    with zipfile.ZipFile(folder / _VARIABLES, "w") as archive:
        for name, variable in variables.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(
                    file, np.asarray(variable.numpy()), allow_pickle=False
                )
    _flush(folder / _VARIABLES)
    body = {
        "variables": {
            name: {"shape": variable.shape.as_list(), "dtype": variable.dtype.name}
            for name, variable in variables.items()
        },
        "config": config,
        "sha256": {_VARIABLES: _checksum(folder / _VARIABLES)},
    }
    manifest = {"checksum": _checksum_of(body), **body}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    _flush(folder / _MANIFEST)
    _flush(folder)


def _manifest(path: pathlib.Path) -> dict[str, Any]:
    """The manifest, after a check of its checksum."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        checksum = manifest.pop("checksum")
    except FileNotFoundError as error:
        raise DamagedError(
            f"{path} is no complete checkpoint: {_MANIFEST} is missing"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DamagedError(f"{path} is damaged: {_MANIFEST} cannot be read") from error
    if checksum != _checksum_of(manifest):
        raise DamagedError(f"{path} is damaged: {_MANIFEST} does not have its checksum")
    return manifest


def _verified_manifest(path: pathlib.Path) -> dict[str, Any]:
    """The manifest, after a check of all checksums."""
    manifest = _manifest(path)
    for name, checksum in manifest["sha256"].items():
        try:
            actual = _checksum(path / name)
        except OSError as error:
            raise DamagedError(f"{path} is damaged: {name} cannot be read") from error
        if actual != checksum:
            raise DamagedError(f"{path} is damaged: {name} does not have its checksum")
    return manifest


def _restore(
    path: pathlib.Path,
    manifest: dict[str, Any],
    module: tf.Module,
    config: Any,
    only: Collection[str] | None = None,
) -> None:
    """Assigns every variable, or `only` those named, after all checks have passed."""
    mismatches = []
    if config is not None:
        mismatches += options.differences(manifest["config"], options.resolved(config))
    variables, written = named_variables(module), manifest["variables"]
    if only is not None:
        variables = {name: variables[name] for name in only}
        written = {name: shape for name, shape in written.items() if name in only}
    for name in sorted(written.keys() | variables.keys()):
        saved = written.get(name)
        if name not in variables:
            mismatches.append(f"variable {name} is in the checkpoint and not in the module")
        elif saved is None:
            mismatches.append(f"variable {name} is in the module and not in the checkpoint")
        elif (shape := variables[name].shape.as_list()) != saved["shape"]:
            mismatches.append(f"variable {name} has shape {saved['shape']} saved, {shape} here")
        elif (dtype := variables[name].dtype.name) != saved["dtype"]:
            mismatches.append(f"variable {name} is {saved['dtype']} saved, {dtype} here")
    if mismatches:
        listed = "\n  ".join(mismatches)
        raise errors.UserError(
            f"{path} was saved by another configuration or code:\n  {listed}"
        )
    with np.load(path / _VARIABLES) as archive:

        def saved(name: str) -> np.ndarray:
            # numpy has no bfloat16 and returns raw bytes, which are viewed as the saved type.
            return archive[name].view(variables[name].dtype.as_numpy_dtype)

        for name, variable in variables.items():  # checks all before the first assignment
            if variable.dtype.is_floating:
                weights.check([(name, saved(name))], str(path))
        for name, variable in variables.items():
            variable.assign(saved(name))


def _remove(path: pathlib.Path) -> None:
    """Removes a checkpoint; a partly removed one never has its name."""
    if path.exists():
        removed = path.with_name(f"{_TEMPORARY}removed-{path.name}")
        shutil.rmtree(removed, ignore_errors=True)
        path.rename(removed)
        shutil.rmtree(removed)


def _checksum(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _flush(path: pathlib.Path) -> None:
    """Flushes a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
