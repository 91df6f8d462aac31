"""The rows of a delimited text file, as Python's csv module reads them."""

import csv
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal

from tfrec.data import text_columns
from tfrec.data.sources import files
from tfrec.errors import UserError
from tfrec.options import Options, option

_BYTES_AT_ONCE = 1 << 22

Quoting = Literal["doubled", "backslash", "none"]


@dataclasses.dataclass(frozen=True)
class TextFormat(Options):
    """Separator, encoding and quoting of text files."""

    separator: str = option(",", r"character between columns; \t for a tab")
    encoding: str = option("utf-8", "encoding of the text, e.g. latin-1 or utf-16")
    quoting: Quoting = option(
        "doubled",
        'how a quote is written within a quoted field: doubled (""), after a backslash '
        r"(\"), or none: quotes are ordinary characters and no field is quoted",
    )

    def __post_init__(self):
        super().__post_init__()
        if len(self.separator.replace("\\t", "\t")) != 1:
            raise ValueError(f"separator is {self.separator!r}; expected one character")
        if self.separator in ('"', "\\", "\n", "\r"):
            raise ValueError(
                f"separator is {self.separator!r}; expected no quote, backslash or line end"
            )

    def separator_of(self, path: pathlib.Path) -> str:
        """The separator's character; a tab for a .tsv file unless another one is given."""
        if path.suffix.lower() == ".tsv" and self.separator == ",":
            return "\t"
        return self.separator.replace("\\t", "\t")


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A text file and the names of its columns.

    Attributes:
      path: the file.
      separator: one character.
      quoting: as in `TextFormat`.
      names: names of all columns, in order.
      header_lines: lines before the first row: the header and blank lines before it.
    """

    path: pathlib.Path
    separator: str
    quoting: Quoting
    names: Sequence[str]
    header_lines: int


def with_header(path: pathlib.Path, separator: str, quoting: Quoting) -> TextFile:
    """Finds the names of the columns: the first row that is not blank.

    Raises:
      UserError: if there is no such row, or the text is not UTF-8.
    """
    file = TextFile(path, separator, quoting, (), header_lines=0)
    for row, record, lines in records(file):
        if isinstance(record, Damaged):
            raise UserError(f"{path.name}, row {row}: no readable header line ({record.why})")
        if not is_blank(record):
            names = tuple(text_columns.strip(name) for name in record)
            return dataclasses.replace(file, names=names, header_lines=row - 1 + lines)
    raise UserError(f"{path.name}, row 1: no readable header line; every line is blank")


def is_plain(file: TextFile) -> bool:
    """Whether all rows have as many fields as there are names, and nothing is quoted.

    The special characters of csv form the same sequence in each line of a plain file,
    so all other bytes are removed and the rest is compared with repetitions of it.
    """
    marks = {file.separator, "\n", "\r"}
    marks |= set() if file.quoting == "none" else {'"'}
    marks |= {"\\"} if file.quoting == "backslash" else set()
    special = "".join(marks).encode()
    if not all(mark.isascii() for mark in marks):
        return False
    ordinary = bytes(set(range(256)) - set(special))
    with file.path.open("rb") as lines:
        skipped = b"".join(lines.readline() for _ in range(file.header_lines))
        if b"\r" in skipped.replace(b"\r\n", b""):
            return False
        start = lines.tell()
        end = b"\r\n" if lines.readline().endswith(b"\r\n") else b"\n"
        pattern = file.separator.encode() * (len(file.names) - 1) + end
        lines.seek(start)
        while chunk := lines.read(_BYTES_AT_ONCE) + lines.readline():
            marks_of_chunk = chunk.translate(None, ordinary)
            if not chunk.endswith(b"\n"):  # the last line may lack its end
                marks_of_chunk += end
            if marks_of_chunk != pattern * (len(marks_of_chunk) // len(pattern)):
                return False
    return True


class _Lines(Iterator[str]):
    """Iterator over lines that can repeat those of the current row."""

    def __init__(self, file: IO[str]):
        self._file = file
        self._again: list[str] = []  # last line first
        self.current: list[str] = []

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._file)
        self.current.append(line)
        return line

    def repeat_after_first(self) -> None:
        """Repeats the lines of the current row except the first."""
        self._again += self.current[:0:-1]


@dataclasses.dataclass(frozen=True)
class Damaged:
    """First line of a row that the csv module cannot read, and the reason."""

    line: str
    why: str


def records(file: TextFile) -> Iterator[tuple[int, list[str] | Damaged, int]]:
    """Each row's number, its fields and how many lines it takes; the header included.

    A damaged row takes one line, so that a missing closing quote does not affect later rows.

    Raises:
      UserError: for text that is not UTF-8.
    """
    dialect: dict[str, Any] = {"delimiter": file.separator, "strict": True}
    if file.quoting == "none":
        dialect["quoting"] = csv.QUOTE_NONE
    elif file.quoting == "backslash":
        dialect["escapechar"] = "\\"
    row = 1
    with file.path.open(encoding="utf-8-sig", newline="") as text:
        lines = _Lines(text)
        reader = csv.reader(lines, **dialect)
        while True:
            lines.current = []
            try:
                record = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                raise _not_utf8(file.path) from error
            except csv.Error as error:
                yield row, Damaged(lines.current[0], str(error)), 1
                lines.repeat_after_first()
                reader = csv.reader(lines, **dialect)
                row += 1
                continue
            taken = len(lines.current)
            yield row, record, taken
            row += taken


def is_blank(record: list[str]) -> bool:
    """Whether the fields are those of a line with nothing but whitespace."""
    return len(record) < 2 and not any(map(text_columns.strip, record))


def _not_utf8(path: pathlib.Path) -> UserError:
    return UserError(
        f"{path.name}, row {files.undecodable_row(path, 'utf-8')}: not UTF-8 text. Pass the "
        "file's --encoding, for example --encoding=latin-1."
    )
