"""Where a log lies: a plain file, a folder, or an archive -> plain text files, or streams.

Everything is read piece by piece, so that memory stays small whatever the size of the file.
"""

import codecs
import contextlib
import dataclasses
import fnmatch
import functools
import gzip
import pathlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from tfrec.errors import UserError

_CHUNK = 1 << 22  # bytes
_BLOCK = 1 << 25  # bytes of lines that are parsed at once
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
    with tempfile.TemporaryDirectory(prefix="tfrec-") as folder:
        scratch = pathlib.Path(folder)
        with _damage_named(path), _members(path, patterns, several) as members:
            plain = [
                member.plain or _copy(member, scratch / f"{n}.unpacked")
                for n, member in enumerate(members)
            ]
        for file in plain:
            if file.stat().st_size == 0:
                raise _empty(file.name)
        yield [_as_utf8(file, encoding, scratch / f"{n}.utf8") for n, file in enumerate(plain)]


@dataclasses.dataclass(frozen=True)
class Stream:
    """A file of a log that is read from its beginning to its end.

    Attributes:
      name: the file's name, without `.gz`.
      open: opens it; the bytes come unpacked.
      path: where it lies, compressed or not, if it is not in an archive.
    """

    name: str
    open: Callable[[], IO[bytes] | gzip.GzipFile]
    path: pathlib.Path | None = None

    @property
    def plain(self) -> pathlib.Path | None:
        """Where it lies if it is neither compressed nor in an archive."""
        return self.path if self.path and self.path.name == self.name else None


@contextlib.contextmanager
def streams(
    path: str | pathlib.Path, patterns: Sequence[str] = (), *, several: bool = False
) -> Iterator[list[Stream]]:
    """A log as streams of bytes: nothing is unpacked to the disk.

    Args:
      path: as for `opened`, and so are the others.
      patterns: names under which the log may lie in a folder or an archive.
      several: whether a log may be more than one file.

    Yields:
      The files to read within the context, at least one, ordered by name.

    Raises:
      UserError: as `opened`; also for a truncated file, once the block reads that far.
    """
    path = pathlib.Path(path)
    with _damage_named(path), _members(path, patterns, several) as members:
        yield members


def blocks_of_lines(stream: Stream) -> Iterator[tuple[int, bytes]]:
    """Whole lines of UTF-8 text, some megabytes at a time.

    Args:
      stream: the file.

    Yields:
      The number of the first of the lines, and the lines; a byte order mark is left out.

    Raises:
      UserError: if the file is empty or not UTF-8 text, naming the row.
    """
    row, empty = 1, True
    with stream.open() as file:
        while lines := file.read(_BLOCK) + file.readline():
            if empty:
                if lines.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UserError(
                        f"{stream.name}, row 1: the file begins like UTF-16; expected UTF-8"
                    )
                lines = lines.removeprefix(codecs.BOM_UTF8)
            try:
                lines.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = row + lines.count(b"\n", 0, error.start)
                raise UserError(
                    f"{stream.name}, row {bad}: not UTF-8 text ({error.reason}); expected UTF-8"
                ) from error
            empty = False
            yield row, lines
            row += lines.count(b"\n")
    if empty:
        raise _empty(stream.name)


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


@contextlib.contextmanager
def _damage_named(path: pathlib.Path) -> Iterator[None]:
    """Turns the errors of damaged compressed files and archives into a message."""
    try:
        yield
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


@contextlib.contextmanager
def _members(
    path: pathlib.Path, patterns: Sequence[str], several: bool
) -> Iterator[list[Stream]]:
    """The log's files, which can be read while the context is open."""
    name = path.name.lower()
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")

    def chosen(names: Sequence[str], where: str) -> list[str]:
        found = _found(names, patterns)
        if not found:
            wanted = " or ".join(patterns) if patterns else "log known: name the file itself"
            raise UserError(f"{path}: no {wanted} in this {where}")
        if len(found) > 1 and not several:
            raise UserError(
                f"{path}: holds {found[0]} and {found[1]}; name the file that is the log"
            )
        return found

    if path.is_dir():
        inside = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
        yield [_stream(path / member) for member in chosen(inside, "folder")]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield [
                _packed(member, functools.partial(archive.open, member))
                for member in chosen(archive.namelist(), "archive")
            ]
    elif name.endswith(".zip"):
        raise zipfile.BadZipFile("no directory at its end")
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(path) as tar:
            entries = {entry.name: entry for entry in tar.getmembers() if entry.isfile()}
            yield [
                _packed(member, functools.partial(_extracted, tar, entries[member]))
                for member in chosen(list(entries), "archive")
            ]
    else:
        yield [_stream(path)]


def _stream(path: pathlib.Path) -> Stream:
    """A file that lies in a folder, perhaps compressed."""
    if path.suffix.lower() != ".gz":
        return Stream(path.name, lambda: path.open("rb"), path)
    return Stream(path.stem, lambda: gzip.open(path), path)


def _packed(member: str, opened: Callable[[], IO[bytes]]) -> Stream:
    """A file of an archive, perhaps compressed once more."""
    name = pathlib.PurePosixPath(member)
    if name.suffix.lower() != ".gz":
        return Stream(name.name, opened)
    return Stream(name.stem, lambda: gzip.open(opened()))


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # a file has content
    return content


def _copy(member: Stream, folder: pathlib.Path) -> pathlib.Path:
    """Unpacks a file into a new folder of its own: two of one name do not meet."""
    folder.mkdir()
    target = folder / member.name
    with member.open() as packed, target.open("wb") as out:
        shutil.copyfileobj(packed, out, _CHUNK)
    return target


def _empty(name: str) -> UserError:
    return UserError(f"{name}: the file is empty; expected a log")


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
