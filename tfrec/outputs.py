"""Output files and folders: checks before a run, and atomic replacement."""

import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from tfrec.errors import UserError

# Errors of the file system, as opposed to programming errors.
_CODES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
    errno.EIO,
)
# Libraries that wrap such errors in exception classes of theirs, and the texts of SQLite.
_LIBRARIES = ("tensorflow", "polars", "sqlalchemy", "sqlite3", "optuna")
_TEXTS = (
    *map(os.strerror, _CODES),
    "database or disk is full",
    "attempt to write a readonly database",
    "unable to open database file",
)

_OPERATION = re.compile(
    r"\{\{.*?\}\} | \[Op:\w*\]$"
)  # the graph node in messages of TensorFlow


def reason(error: BaseException) -> str | None:
    """Returns the reason of a file-system error in words; None for any other error.

    Args:
      error: an OSError, or an error of a library that writes files.
    """
    if isinstance(error, OSError) and error.errno in _CODES:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if type(error).__module__.partition(".")[0].lstrip("_") in _LIBRARIES:
        if any(text in str(error) for text in _TEXTS):
            return _OPERATION.sub("", str(error).strip().splitlines()[0])
    return None


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns file-system errors of the block into a UserError.

    Args:
      path: the file or folder that the block writes, for the message.

    Raises:
      UserError: naming the path and the reason.
    """
    try:
        yield
    except Exception as error:
        why = error.strerror if isinstance(error, OSError) else reason(error)
        if why is None:
            raise
        raise UserError(f"{path}: cannot be written: {why}") from error


def check_folder(directory: str | os.PathLike, flag: str = "--out") -> None:
    """Checks that a folder can be made and written to; leaves everything as it is.

    Scripts call it before hours of work.

    Args:
      directory: an output folder, which may not exist yet.
      flag: the flag with the folder, for the message.

    Raises:
      UserError: naming the flag, the path and the reason.
    """
    _check(pathlib.Path(directory), f"{flag}={directory}", "folder")


def check_file(path: str | os.PathLike, flag: str = "--out") -> None:
    """Checks that a file can be written, as `check_folder` does; leaves everything as it is.

    Raises:
      UserError: naming the flag, the path and the reason.
    """
    _check(pathlib.Path(path).parent, f"{flag}={path}", "file")


def _check(directory: pathlib.Path, given: str, kind: str) -> None:
    for attempt in (1, 2, 3):
        try:
            _try_folder(directory)
            return
        except OSError as error:
            # Another process that checks the same folder may just have removed it again.
            if isinstance(error, FileNotFoundError) and attempt < 3:
                continue
            raise UserError(
                f"{given}: cannot be written: {error.strerror} ({error.filename}); choose "
                f"another {kind}"
            ) from error


def _try_folder(directory: pathlib.Path) -> None:
    made: list[pathlib.Path] = []
    try:
        for folder in reversed((directory, *directory.parents)):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                made.append(folder)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(bytes(4096))  # on a full disk a file can be made but not filled
            probe.flush()
            os.fsync(probe.fileno())
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # another process has put something there
                folder.rmdir()


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary file, which replaces `path` when the block succeeds.

    Raises:
      UserError: if the file cannot be written; an existing file stays unchanged.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    with writing(path):
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):  # the error of the block matters more
                temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], document: Any) -> None:
    """Writes a document as JSON, whole or not at all.

    Raises:
      UserError: if the file cannot be written; an existing file stays unchanged.
      ValueError: if a number is not finite.
    """
    text = json.dumps(document, indent=1, allow_nan=False)
    with replacing_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing_folder(directory: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a hidden folder, which replaces `directory` when the block succeeds.

    Leftovers of an interrupted run are removed first. An existing folder is replaced; it stays
    if the block raises.

    Raises:
      UserError: if the folder cannot be written.
    """
    directory = pathlib.Path(directory)
    partial = directory.with_name(f".{directory.name}.partial")
    replaced = directory.with_name(f".{directory.name}.replaced")
    with writing(directory):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            if directory.exists():
                directory.rename(replaced)
            partial.rename(directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            if replaced.exists() and not directory.exists():
                replaced.rename(directory)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
