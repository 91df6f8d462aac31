"""Opens a log in a plain file, a folder or an archive, as plain text files or as streams.

All files are read in pieces, so that memory does not depend on their size.
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
    """Opens a log as plain UTF-8 files; packed or otherwise encoded files are copied.

    Args:
      path: the file itself (also as .gz), a folder, a .zip or a .tar(.gz).
      patterns: file names of the log in a folder or an archive; `*` is allowed. The log is
        all files that match the first pattern with a match.
      encoding: encoding of the text.
      several: whether a log may be more than one file.

    Yields:
      The files to read, at least one, ordered by name and named as in the log.

    Raises:
      UserError: if there is no such file, or more than one where `several` is false; or if
        it is empty, truncated, or not text in this encoding.
    """
    path = pathlib.Path(path)
    with tempfile.TemporaryDirectory(prefix="tfrec-") as folder:
        scratch = pathlib.Path(folder)
        with _naming_damage(path), _members(path, patterns, several) as members:
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
      open: opens the file, decompressed.
      path: path of the file, compressed or not; None in an archive.
    """

    name: str
    open: Callable[[], IO[bytes] | gzip.GzipFile]
    path: pathlib.Path | None = None

    @property
    def plain(self) -> pathlib.Path | None:
        """Path of the file if it is neither compressed nor in an archive."""
        return self.path if self.path and self.path.name == self.name else None


@contextlib.contextmanager
def streams(
    path: str | pathlib.Path, patterns: Sequence[str] = (), *, several: bool = False
) -> Iterator[list[Stream]]:
    """Opens a log as streams of bytes, without unpacked copies on disk.

    Args:
      path: as for `opened`, like all arguments.
      patterns: file names of the log in a folder or an archive.
      several: whether a log may be more than one file.

    Yields:
      The files to read within the context, at least one, ordered by name.

    Raises:
      UserError: as `opened`; for a truncated file only when its end is read.
    """
    path = pathlib.Path(path)
    with _naming_damage(path), _members(path, patterns, several) as members:
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
    """Yields the path of a temporary copy, with the same file name."""
    with tempfile.TemporaryDirectory(prefix="tfrec-") as scratch:
        yield pathlib.Path(scratch) / path.name


def contains(path: str | pathlib.Path, patterns: Sequence[str]) -> bool:
    """Whether a path is a log with one of these names, or a folder or archive with one."""
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            return bool(_matching([str(file) for file in path.rglob("*")], patterns))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return bool(_matching(archive.namelist(), patterns))
        if path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                return bool(_matching(archive.getnames(), patterns))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError):
        return False
    return bool(_matching([str(path)], patterns))


def has_tabs(path: pathlib.Path) -> bool:
    """Whether the first line that is not blank holds a tab."""
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
def _naming_damage(path: pathlib.Path) -> Iterator[None]:
    """Turns errors of damaged compressed files and archives into a UserError."""
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

    def matching_names(names: Sequence[str], where: str) -> list[str]:
        matching = _matching(names, patterns)
        if not matching:
            if not patterns:
                raise UserError(f"{path}: expected a file, not a {where}; name the file itself")
            raise UserError(f"{path}: no {' or '.join(patterns)} in this {where}")
        if len(matching) > 1 and not several:
            raise UserError(
                f"{path}: holds {matching[0]} and {matching[1]}; name the file that is the log"
            )
        return matching

    if path.is_dir():
        inside = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
        yield [_stream(path / member) for member in matching_names(inside, "folder")]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield [
                _packed(member, functools.partial(archive.open, member))
                for member in matching_names(archive.namelist(), "archive")
            ]
    elif name.endswith(".zip"):
        raise zipfile.BadZipFile("no directory at its end")
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(path) as tar:
            entries = {entry.name: entry for entry in tar.getmembers() if entry.isfile()}
            yield [
                _packed(member, functools.partial(_extracted, tar, entries[member]))
                for member in matching_names(list(entries), "archive")
            ]
    else:
        yield [_stream(path)]


def _stream(path: pathlib.Path) -> Stream:
    """A file in a folder, perhaps compressed."""
    if path.suffix.lower() != ".gz":
        return Stream(path.name, lambda: path.open("rb"), path)
    return Stream(path.stem, lambda: gzip.open(path), path)


def _packed(member: str, opened: Callable[[], IO[bytes]]) -> Stream:
    """A file in an archive, perhaps compressed again."""
    name = pathlib.PurePosixPath(member)
    if name.suffix.lower() != ".gz":
        return Stream(name.name, opened)
    return Stream(name.stem, lambda: gzip.open(opened()))


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # a file has content
    return content


def _copy(member: Stream, folder: pathlib.Path) -> pathlib.Path:
    """Unpacks a file into a new folder, so that files of equal name do not collide."""
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
            "pass the encoding of the file with --encoding"
        ) from error
    return copy


def _matching(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The paths with a file name, without .gz, that matches the first pattern with a match."""
    names = {path: pathlib.PurePath(path).name.removesuffix(".gz") for path in sorted(paths)}
    for pattern in patterns:
        matching = [
            path
            for path, name in names.items()
            # macOS adds a file `._log.csv` beside `log.csv` to archives.
            if fnmatch.fnmatchcase(name, pattern) and not name.startswith("._")
        ]
        if matching:
            return matching
    return []
