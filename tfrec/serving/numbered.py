"""Numbered version directories, which are complete or absent and never overwritten.

    export/
      1/  2/  ...

A version is written to a hidden sibling folder and then renamed. TensorFlow Serving and other
readers of version directories consider only names that are numbers.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from tfrec import errors, outputs

_UNFINISHED = ".unfinished-"
_LOCK = ".lock"


def write(
    directory: str | os.PathLike,
    version: int | None,
    fill: Callable[[pathlib.Path, int], None],
) -> pathlib.Path:
    """Writes one version.

    Args:
      directory: folder of the versions; created if missing.
      version: number of the version, from 1; the next free one if None.
      fill: writes all files of a version to an empty directory, given its number, and
        raises if they are not valid.

    Returns:
      The version directory.

    Raises:
      UserError: if the version exists, or the directory cannot be written or another process
        writes to it. No partial output is left, nor when `fill` raises.
    """
    directory = pathlib.Path(directory)
    if version is not None and version < 1:
        raise errors.UserError(f"version {version}: expected a number from 1")
    with _locked(directory):
        # This process holds the lock, so the process that wrote these has ended.
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
        with outputs.writing(final):
            try:
                unfinished.mkdir()
                fill(unfinished, version)
                _flush(unfinished)
                os.rename(unfinished, final)
                _flush_one(directory)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return final


def versions(directory: str | os.PathLike) -> list[int]:
    """Numbers of the finished versions in an export directory, smallest first."""
    names = [path.name for path in pathlib.Path(directory).iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[None]:
    """Locks a directory for one export; the lock ends with the process."""
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
    """Flushes a tree to disk, so that no crash leaves a renamed but empty file."""
    for path in [*directory.rglob("*"), directory]:
        _flush_one(path)


def _flush_one(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
