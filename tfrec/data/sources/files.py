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
    path: str | pathlib.Path,
    patterns: Sequence[str] = (),
    encoding: str = "utf-8",
    *,
    several: bool = False,
) -> Iterator[list[pathlib.Path]]:
    """A log as plain UTF-8 files; temporary copies where it was packed or coded otherwise.

    Args:
      path: the file itself (also as .gz), a folder, a .zip or a .tar(.gz).
      patterns: names (`*` allowed) under which the log may lie in a folder or an archive.
        The first pattern that is met decides; the files that meet it are the log.
      encoding: of the text.
      several: whether a log may be more than one file.

    Yields:
      The files to read, at least one, ordered by name; the names are those of the log.

    Raises:
      UserError: if there is no such file, or more than one where `several` is false; or if
        it is empty, truncated, or not text in this encoding.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    with tempfile.TemporaryDirectory(prefix="tfrec-") as folder:
        scratch = pathlib.Path(folder)
        try:
            plain = _unpacked(path, patterns, scratch, several)
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
        yield [_as_utf8(file, encoding, scratch / f"{n}.utf8") for n, file in enumerate(plain)]


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


def has_tabs(path: pathlib.Path) -> bool:
    """Whether a text file's first line that is not blank holds a tab."""
    with path.open("rb") as file:
        while line := file.readline(1 << 16):
            if line.strip():
                return b"\t" in line
    return False


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
    path: pathlib.Path, patterns: Sequence[str], scratch: pathlib.Path, several: bool
) -> list[pathlib.Path]:
    """The log's files outside of their archive and their compression."""
    name = path.name.lower()

    def members(names: Sequence[str], where: str) -> list[str]:
        found = _found(names, patterns)
        if not found:
            wanted = " or ".join(patterns) if patterns else "log known: name the file itself"
            raise UserError(f"{path}: no {wanted} in this {where}")
        if len(found) > 1 and not several:
            raise UserError(
                f"{path}: holds {found[0]} and {found[1]}; name the file that is the log"
            )
        return found

    def place(number: int, member: str) -> pathlib.Path:
        """Where a member goes; two of one name do not meet."""
        folder = scratch / str(number)
        folder.mkdir()
        return folder / pathlib.PurePosixPath(member).name

    if path.is_dir():
        inside = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
        plain = [path / member for member in members(inside, "folder")]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            plain = []
            for number, member in enumerate(members(archive.namelist(), "archive")):
                with archive.open(member) as packed:
                    plain.append(_copy(packed, place(number, member)))
    elif name.endswith(".zip"):
        raise zipfile.BadZipFile("no directory at its end")
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(path) as tar:
            plain = []
            inside = [entry.name for entry in tar.getmembers() if entry.isfile()]
            for number, member in enumerate(members(inside, "archive")):
                content = tar.extractfile(member)
                assert content is not None  # a file has content
                plain.append(_copy(content, place(number, member)))
    else:
        plain = [path]
    return [_gunzipped(file, scratch / f"{n}.gz") for n, file in enumerate(plain)]


def _gunzipped(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    if path.suffix.lower() != ".gz":
        return path
    folder.mkdir()
    with gzip.open(path) as packed:
        return _copy(packed, folder / path.stem)


def _as_utf8(path: pathlib.Path, encoding: str, folder: pathlib.Path) -> pathlib.Path:
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
    folder.mkdir()
    copy = folder / path.name
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
    names = {path: pathlib.PurePath(path).name.removesuffix(".gz") for path in sorted(paths)}
    for pattern in patterns:
        found = [
            path
            for path, name in names.items()
            # macOS puts a file `._log.csv` of its own beside `log.csv` into archives.
            if fnmatch.fnmatchcase(name, pattern) and not name.startswith("._")
        ]
        if found:
            return found
    return []
