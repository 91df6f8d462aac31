"""Exports a ranker as a versioned SavedModel that needs no Python of this project.

    export/
      1/  saved_model.pb  variables/  assets/  manifest.json  model_card.md
          assets.extra/golden/rank.npz  assets.extra/tf_serving_warmup_requests
      2/  ...

A version is complete or absent: it is written in a hidden sibling, loaded afresh and
compared with the agent, and only then renamed. It is never written over. TensorFlow
Serving and other readers of version directories see only names that are numbers.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrec import errors
from tfrec.serving import files, golden, model, recall, tables, warmup
from tfrec.serving import manifest as manifest_lib
from tfrec.serving import ranker as ranker_lib

_UNFINISHED = ".unfinished-"
_LOCK = ".lock"
_NOT_RECORDED = manifest_lib.Metadata()


def export(
    ranker: ranker_lib.Ranker,
    directory: str | os.PathLike,
    version: int | None = None,
    metadata: manifest_lib.Metadata = _NOT_RECORDED,
    table: str = "float32",
) -> pathlib.Path:
    """Writes one version and verifies it.

    Args:
      ranker: a trained agent.
      directory: where versions lie; made if missing.
      version: its number, from 1; the next free one by default.
      metadata: where the model comes from.
      table: precision of the item table, one of tables.PRECISIONS. A reduced one finds the
        shortlist and the world model scores it, so that answers are as exact; that it
        misses none of the best is measured and recorded.

    Returns:
      The version directory.

    Raises:
      UserError: if the version exists, the directory cannot be written or is being
        exported to, an item id cannot be served, the agent has no table of the precision
        asked for, or the saved model does not answer what the agent answers. Nothing is
        left behind then.
    """
    item_dtype = check(ranker)
    if table not in tables.PRECISIONS:
        raise errors.UserError(f"table {table!r}: expected {', '.join(tables.PRECISIONS)}")
    if table != "float32" and not ranker.world_model.bilinear:
        raise errors.UserError(
            f"table {table!r}: this agent's head is fully connected and has no item table; "
            "leave it at float32"
        )
    directory = pathlib.Path(directory)
    if version is not None and version < 1:
        raise errors.UserError(f"version {version}: expected a number from 1")
    with _locked(directory):
        # The lock is ours, so whoever left these is dead.
        for leftover in directory.glob(_UNFINISHED + "*"):
            shutil.rmtree(leftover)
        if version is None:
            version = max(versions(directory), default=0) + 1
        final = directory / str(version)
        if final.exists():
            raise errors.UserError(
                f"{final}: this version exists and is never written over; "
                "export another version"
            )
        unfinished = directory / f"{_UNFINISHED}{version}"
        try:
            _write(ranker, unfinished, version, item_dtype, metadata, table)
            _flush(unfinished)
            os.rename(unfinished, final)
            _flush_one(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return final


def versions(directory: str | os.PathLike) -> list[int]:
    """Version numbers in an export directory, smallest first; nothing unfinished."""
    names = [path.name for path in pathlib.Path(directory).iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def check(ranker: ranker_lib.Ranker) -> str:
    """Whether a ranker can be exported; `string` or `int64`, the type of its item ids.

    Raises:
      UserError: naming the item id or the goal that cannot be served.
    """
    items = ranker.vocabulary.items.tolist()
    if len(items) != ranker.spec.num_items or not items:
        raise errors.UserError(
            f"vocabulary: {len(items)} item ids, but the data has {ranker.spec.num_items} items"
        )
    strings = isinstance(items[0], str)
    seen = set()
    for place, item in enumerate(items):
        if isinstance(item, str) != strings or not isinstance(item, str | int):
            raise errors.UserError(
                f"vocabulary, item {place + 1}: {item!r}; expected all ids to be strings, or "
                "all integers"
            )
        if item in ("", -1) or not str(item).isprintable():
            raise errors.UserError(
                f"vocabulary, item {place + 1}: the id {item!r} cannot be served: it is empty, "
                "-1, or has a line break or another unprintable character"
            )
        if item in seen:
            raise errors.UserError(f"vocabulary, item {place + 1}: the id {item!r} is repeated")
        seen.add(item)
    width = len(ranker.measurements.columns)
    for name, goal in ranker.named_goals.items():
        goal = np.asarray(goal, float)
        if not name or goal.shape != (width,) or not np.isfinite(goal).all() or not goal.any():
            raise errors.UserError(
                f"goal {name!r}: {goal.tolist()}; expected {width} finite weights, one not 0"
            )
    return "string" if strings else "int64"


def _write(
    ranker: ranker_lib.Ranker,
    version: pathlib.Path,
    number: int,
    item_dtype: str,
    metadata: manifest_lib.Metadata,
    table: str,
) -> None:
    """Everything of a version, verified."""
    version.mkdir()
    vocabulary = version / "items.txt"
    items = ranker.vocabulary.items.tolist()
    vocabulary.write_text("".join(f"{item}\n" for item in items), encoding="utf-8")
    graph = model.ServingModel(ranker, str(vocabulary), tf.as_dtype(item_dtype), table)
    signatures = graph.signatures()
    tf.saved_model.save(graph.trackable(), str(version), signatures)
    vocabulary.unlink()  # its copy is in assets/

    asked = golden.questions(ranker)
    golden.write(ranker, asked, version)
    golden.verify(version)
    spec, measurements = ranker.spec, ranker.measurements
    warmup.write(asked, version, item_dtype, len(spec.feedback), len(measurements.columns))

    manifest = manifest_lib.describe(ranker, number, item_dtype, signatures, metadata)
    if graph.table is not None:
        manifest["table"] = {"precision": table, "bytes": graph.table.nbytes}
        if table != "float32":
            asked = [request for request in asked if not request.candidates]
            manifest["table"] |= recall.measure(ranker, signatures["rank"], asked, item_dtype)
    (version / "model_card.md").write_text(manifest_lib.card(manifest), encoding="utf-8")
    manifest["files"] = files.checksums(version)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (version / files.MANIFEST).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[None]:
    """One export at a time in a directory; a dead process holds no lock."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / _LOCK).open("w")
    except OSError as error:
        raise errors.UserError(f"{directory}: cannot export there: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.UserError(
                f"{directory}: another export is being written there; wait for it to end"
            ) from error
        yield


def _flush(directory: pathlib.Path) -> None:
    """Puts a tree on disk, so that no crash leaves a renamed but empty file."""
    for path in [*directory.rglob("*"), directory]:
        _flush_one(path)


def _flush_one(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
