"""Reader of the text forms in which sequential benchmarks publish logs.

    rows     `user item` or `user item time`, an event a line
    lines    `user item item ...`, a user a line, oldest event first

Fields are separated by blanks or tabs; there is no header. Without times the lines of a user
are in time order; with times, events of equal time keep the order of the file.
"""

import pathlib
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from tfrec.data import identity, sequences, text_columns
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.data.sources import files
from tfrec.errors import UserError

Form = Literal["rows", "lines"]
Format = Literal["rows", "lines", "prepared"]


class SequenceLog(NamedTuple):
    """A log as sequences, with its raw ids.

    Attributes:
      sequences: row u is user `vocabulary.users[u]`.
      vocabulary: items most frequent first, users ascending.
      source: path and fingerprint of the content.
    """

    sequences: sequences.Sequences
    vocabulary: vocabulary_lib.Vocabulary
    source: identity.Source


def open_log(path: str | pathlib.Path, kind: Format) -> SequenceLog:
    """Reads a log of one of the text forms, or all sessions of prepared data.

    Args:
      path: the file, or the folder of prepared data.
      kind: what it is.

    Raises:
      UserError: if it is not that, or is damaged.
    """
    if kind == "prepared":
        from tfrec.data import storage  # imports TensorFlow, which text files need not

        data = storage.PreparedData.open(path)
        return SequenceLog(sequences.of_prepared(data), data.vocabulary, data.source)
    return read(path, kind)


def read(path: str | pathlib.Path, form: Form) -> SequenceLog:
    """Reads a log of one of the text forms, also gzipped.

    Args:
      path: the file.
      form: how its lines are written.

    Raises:
      UserError: naming the file and the line, if the file is absent, empty or not text, or a
        line is not of the form.
    """
    with files.opened(path) as (file,):
        fields = _fields(file)
    name = pathlib.Path(path).name
    events = _rows(name, fields) if form == "rows" else _lines(name, fields)
    vocabulary = vocabulary_lib.Vocabulary(
        _most_frequent_first(_ids(name, events, "item")), _ascending(_ids(name, events, "user"))
    )
    times = events["time"].to_numpy() if "time" in events.columns else None
    found = sequences.of_events(
        vocabulary.user_ids.encode(_ids(name, events, "user")) - 1,
        vocabulary.encode(_ids(name, events, "item")),
        len(vocabulary.users),
        len(vocabulary.items),
        times,
    )
    ids = {"raw_items": vocabulary.items, "raw_users": vocabulary.users}
    content = {"items": found.items, "offsets": found.offsets, "times": found.times, **ids}
    fingerprint = identity.fingerprint(content)
    return SequenceLog(found, vocabulary, identity.Source(str(path), fingerprint))


def _fields(file: pathlib.Path) -> pl.DataFrame:
    """Columns `line` (from 1) and `fields` (list of text); blank lines are left out."""
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        row = files.undecodable_row(file, "utf-8")
        raise UserError(f"{file.name}, row {row}: not UTF-8 text") from None
    lines = pl.Series("text", text.split("\n"), dtype=pl.String)
    words = lines.str.replace_all(r"[ \t\r]+", " ").str.strip_chars(" ")
    frame = pl.DataFrame({"line": np.arange(1, len(lines) + 1), "text": words})
    frame = frame.filter(pl.col("text") != "")
    if frame.height == 0:
        raise UserError(f"{file.name}, row 1: every line is blank; expected events")
    return frame.select("line", pl.col("text").str.split(" ").alias("fields"))


def _rows(name: str, lines: pl.DataFrame) -> pl.DataFrame:
    counts = lines["fields"].list.len()
    width = int(counts[0])
    wrong = lines.filter(counts != width)
    if width not in (2, 3) or wrong.height:
        line, found = (wrong if width in (2, 3) else lines).row(0)
        expected = (
            f"{width}, as in the first line"
            if width in (2, 3)
            else "`user item` or `user item time`"
        )
        raise UserError(
            f"{name}, row {line}: {len(found)} fields; expected {expected}. A file with a user "
            "a line, `user item item ...`, is of the form lines"
        )
    columns = ("user", "item", "time")[:width]
    events = lines.select(
        "line", *(pl.col("fields").list.get(i).alias(c) for i, c in enumerate(columns))
    )
    if width == 3:
        times = events["time"].cast(pl.Float64, strict=False)
        bad = events.filter(~times.is_finite().fill_null(False))
        if bad.height:
            raise UserError(
                f"{name}, row {bad['line'][0]}: time is {bad['time'][0]!r}; expected a number"
            )
        events = events.with_columns(time=times)
    return events


def _lines(name: str, lines: pl.DataFrame) -> pl.DataFrame:
    short = lines.filter(pl.col("fields").list.len() < 2)
    if short.height:
        raise UserError(
            f"{name}, row {short['line'][0]}: one field; expected `user item item ...`"
        )
    users = lines.select("line", pl.col("fields").list.get(0).alias("user"))
    again = users.filter(pl.col("user").is_duplicated())
    if again.height:
        user = again["user"][0]
        both = again.filter(pl.col("user") == user)["line"].to_list()[:2]
        raise UserError(
            f"{name}, row {both[1]}: user {user!r} stands in row {both[0]} too; expected one "
            "line a user. A file with an event a line, `user item`, is of the form rows"
        )
    items = lines.select("line", pl.col("fields").list.slice(1).alias("item"))
    return users.with_columns(items["item"]).explode("item")


def _ids(name: str, events: pl.DataFrame, column: str) -> pl.Series:
    raw = text_columns.as_ids(events[column])
    for good, expected in vocabulary_lib.id_rules(column, raw.dtype):
        frame = pl.DataFrame({"line": events["line"], column: raw})
        bad = frame.filter(~good)
        if bad.height:
            line, value = bad.row(0)
            raise UserError(f"{name}, row {line}: {column} is {value!r}; expected {expected}")
    return raw


def _ascending(raw: pl.Series) -> vocabulary_lib.Ids:
    return vocabulary_lib.ids_of(raw)


def _most_frequent_first(raw: pl.Series) -> vocabulary_lib.Ids:
    counts = raw.rename("raw").value_counts(name="count")
    ordered = counts.sort(["count", "raw"], descending=[True, False])["raw"]
    return vocabulary_lib.Ids(vocabulary_lib.as_array(ordered))
