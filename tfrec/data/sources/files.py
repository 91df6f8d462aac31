"""Where a log lies: a plain file, a folder, or an archive -> one plain UTF-8 text file.

Everything is streamed, so that memory stays small whatever the size of the file.
"""

import codecs
import contextlib
import fnmatch
import gzip
import pathlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

from tfrec.errors import UserError

_CHUNK = 1 << 22  # bytes
_UTF8_NAMES = ("utf-8", "utf8", "utf-8-sig")


@contextlib.contextmanager
def opened(
    path: str | pathlib.Path, patterns: Sequence[str] = (), encoding: str = "utf-8"
) -> Iterator[list[pathlib.Path]]:
    """A log as plain UTF-8 files; temporary copies where it was packed or coded otherwise.

    Args:
      path: the file itself (also as .gz), a folder, a .zip or a .tar(.gz).
      patterns: names (`*` allowed) under which the log may lie in a folder or an archive.
        The first pattern that is met decides; all files that meet it are the log.
      encoding: of the text.

    Yields:
      The files to read, at least one, ordered by name; the names are those of the log.

    Raises:
      UserError: if there is no such file, it is empty, truncated, or not text in this
        encoding.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    with tempfile.TemporaryDirectory(prefix="tfrec-") as folder:
        scratch = pathlib.Path(folder)
        try:
            plain = _unpacked(path, patterns, scratch)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(
                f"{path.name}: truncated or damaged compressed file ({error}). "
                "Nothing was written. Fetch the file again."
            ) from error
        except (zipfile.BadZipFile, tarfile.TarError) as error:
            raise UserError(
                f"{path.name}: truncated or damaged archive ({error}). "
                "Nothing was written. Fetch the file again."
            ) from error
        for file in plain:
            if file.stat().st_size == 0:
                raise UserError(f"{file.name}: the file is empty; expected a log")
        yield [_as_utf8(file, encoding, scratch) for file in plain]


@contextlib.contextmanager
def scratch_copy(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where to write a changed copy of a file; it has its name and goes away at the end."""
    with tempfile.TemporaryDirectory(prefix="tfrec-") as scratch:
        yield pathlib.Path(scratch) / path.name


def contains(path: str | pathlib.Path, patterns: Sequence[str]) -> bool:
    """Whether a file, folder or archive is or holds a log of one of these names."""
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            return bool(_found([str(file) for file in path.rglob("*")], patterns))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return bool(_found(archive.namelist(), patterns))
        if path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                return bool(_found(archive.getnames(), patterns))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError):
        return False
    return bool(_found([str(path)], patterns))


def undecodable_row(path: pathlib.Path, encoding: str) -> int | None:
    """The number of the first line that is not text in this encoding, or None."""
    decoder = codecs.getincrementaldecoder(encoding)()
    row = 1
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            try:
                row += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                return row + error.object[: error.start].count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return row
    return None


def _unpacked(
    path: pathlib.Path, patterns: Sequence[str], scratch: pathlib.Path
) -> list[pathlib.Path]:
    """The log's files outside of their archive and their compression."""
    name = path.name.lower()
    if path.is_dir():
        members = [str(file) for file in path.rglob("*") if file.is_file()]
        plain = [pathlib.Path(file) for file in _found(members, patterns)]
        where = "folder"
    elif zipfile.is_zipfile(path):
        where = "archive"
        with zipfile.ZipFile(path) as archive:
            plain = []
            for member in _found(archive.namelist(), patterns):
                with archive.open(member) as packed:
                    plain.append(_copy(packed, scratch / pathlib.PurePosixPath(member).name))
    elif name.endswith(".zip"):
        raise zipfile.BadZipFile("no directory at its end")
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        where = "archive"
        with tarfile.open(path) as archive:
            plain = []
            for member in _found(archive.getnames(), patterns):
                inside = archive.extractfile(member)
                if inside is not None:
                    plain.append(_copy(inside, scratch / pathlib.PurePosixPath(member).name))
    else:
        plain, where = [path], "file"
    if not plain:
        wanted = " or ".join(patterns) if patterns else "log known: name the file itself"
        raise UserError(f"{path}: no {wanted} in this {where}")
    return [_gunzipped(file, scratch) for file in plain]


def _gunzipped(path: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    if path.suffix.lower() != ".gz":
        return path
    with gzip.open(path) as packed:
        return _copy(packed, scratch / path.stem)


def _as_utf8(path: pathlib.Path, encoding: str, scratch: pathlib.Path) -> pathlib.Path:
    with path.open("rb") as file:
        begin = file.read(4)
    if path.suffix.lower() == ".parquet" or begin == b"PAR1":
        return path
    if encoding.lower() in _UTF8_NAMES:
        if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UserError(
                f"{path.name}, row 1: the file begins like UTF-16 text; expected UTF-8. "
                "Pass --encoding=utf-16."
            )
        return path
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise UserError(
            f"encoding is {encoding!r}; expected a name that Python knows, such as latin-1"
        ) from None
    (scratch / "utf8").mkdir()
    copy = scratch / "utf8" / path.name
    try:
        with (
            path.open(encoding=encoding, newline="") as text,
            copy.open("w", newline="") as out,
        ):
            while chunk := text.read(_CHUNK):
                out.write(chunk)
    except UnicodeError as error:
        row = undecodable_row(path, encoding)
        raise UserError(
            f"{path.name}, row {row}: not text in {encoding} ({error}); "
            "pass the file's own --encoding"
        ) from error
    return copy


def _copy(packed: IO[bytes] | gzip.GzipFile, target: pathlib.Path) -> pathlib.Path:
    with target.open("wb") as out:
        shutil.copyfileobj(packed, out, _CHUNK)
    return target


def _found(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The paths whose last part meets the first pattern that any of them meets (or + .gz)."""
    for pattern in patterns:
        found = [
            path
            for path in sorted(paths)
            if fnmatch.fnmatch(pathlib.PurePath(path).name.removesuffix(".gz"), pattern)
        ]
        if found:
            return found
    return []
