"""Knowledge graphs beside a log: entities, relations and triples, in the ids of the log.

    head,relation,tail          a .csv, .tsv or .parquet file with these columns, or
    <relation>.edgelist         a folder of files with lines `head tail`, one file a relation

An entity whose name is the id of an item is that item.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec.data import identity, parquet
from tfrec.data import schema as schema_lib
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.data.sources import delimited, files
from tfrec.errors import UserError

COLUMNS = ("head", "relation", "tail")
INTERACTED = "interacted"  # the relation from a user to an item of the training events
STAY = "stay"  # the relation of a path that remains where it is

_EDGES = "*.edgelist"
_EXAMPLES = 3


class KnowledgeGraph(NamedTuple):
    """Triples about the items of a log, N items.

    Attributes:
      entities: str [X], names of the entities that are not items, ascending.
      relations: str [R], names of the relations, ascending.
      triples: int32 [T, 3], head, relation, tail, each once and in ascending order. An item is
        its dense id 1..N, entity x is N + 1 + x, relation r its index 0..R - 1.
      source: path and fingerprint of the content.
      repeated: rows that repeat a triple.
      loops: rows whose head is their tail; they are left out.
    """

    entities: np.ndarray
    relations: np.ndarray
    triples: np.ndarray
    source: identity.Source
    repeated: int
    loops: int

    def linked_items(self, num_items: int) -> int:
        """The number of items that stand in a triple."""
        nodes = np.unique(self.triples[:, [0, 2]])
        return int((nodes <= num_items).sum())


def read(path: str | pathlib.Path, vocabulary: vocabulary_lib.Vocabulary) -> KnowledgeGraph:
    """Reads the graph of a file or of a folder of edge lists.

    Args:
      path: a text file (also .gz) or a Parquet file with the columns head, relation and tail;
        tabs separate the columns of a .tsv file, commas those of any other text file. Or a
        folder with a file `<relation>.edgelist` for each relation, without a header; a tab, or
        else a space, separates head and tail.
      vocabulary: raw ids of the log. Names are compared with item ids as text.

    Raises:
      UserError: naming file, row, column and value; or if no name is an item of the log.
    """
    path = pathlib.Path(path)
    frame = _of_folder(path) if path.is_dir() else _of_file(path)
    items = pl.Series(vocabulary.items.tolist()).cast(pl.String)
    nodes = pl.concat([frame["head"], frame["tail"]]).unique().sort()
    others = nodes.filter(~nodes.is_in(items.implode()))
    if len(others) == len(nodes):
        raise UserError(
            f"{path}: none of its {len(nodes):,} entities is an item of the log; it has "
            f"{_examples(nodes)}, the log has {_examples(items)}"
        )
    relations = frame["relation"].unique().sort()
    number = vocabulary_lib.Ids(vocabulary_lib.as_array(pl.concat([items, others])))
    kinds = vocabulary_lib.Ids(vocabulary_lib.as_array(relations))
    columns = (
        number.encode(frame["head"]),
        kinds.encode(frame["relation"]) - 1,
        number.encode(frame["tail"]),
    )
    rows = np.stack(columns, axis=1).astype(np.int32)
    rows = rows[rows[:, 0] != rows[:, 2]]
    if not len(rows):
        raise UserError(f"{path}: the head of each row is its tail; expected links of two")
    triples = np.unique(rows, axis=0)
    content = {
        "items": vocabulary.items,
        "entities": vocabulary_lib.as_array(others),
        "relations": kinds.raw,
        "triples": triples,
    }
    return KnowledgeGraph(
        content["entities"],
        kinds.raw,
        triples,
        identity.Source(str(path), identity.fingerprint(content)),
        repeated=len(rows) - len(triples),
        loops=frame.height - len(rows),
    )


def _of_file(path: pathlib.Path) -> pl.DataFrame:
    """The columns head, relation and tail of one file, as text."""
    with files.opened(path) as (file,):
        if parquet.is_parquet(file):
            frame = _of_parquet(file)
        else:
            separator = "\t" if file.suffix.lower() == ".tsv" else ","
            frame = delimited.read(
                file,
                dict.fromkeys(COLUMNS, pl.String),
                schema_lib.BadRows(skippable=False),
                separator=separator,
            )
        # The header is row 1 of a text file; a Parquet file has none.
        return _checked(frame, file, 1 if parquet.is_parquet(file) else 2)


def _of_parquet(path: pathlib.Path) -> pl.DataFrame:
    try:
        frame = parquet.read(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path.name}: not a readable table ({error})") from error
    for name in COLUMNS:
        if name not in frame.columns:
            raise UserError(
                f"{path.name}: no column {name!r}; the file has {', '.join(frame.columns)}"
            )
        dtype = frame.schema[name]
        if not vocabulary_lib.is_text(dtype) and not dtype.is_integer():
            raise UserError(
                f"{path.name}: column {name!r} holds {dtype}; expected text or integers"
            )
    if not frame.height:
        raise UserError(f"{path.name}: no rows; expected at least one triple")
    text = frame.select(pl.col(name).cast(pl.String) for name in COLUMNS)
    return text.with_columns(pl.all().str.strip_chars())


def _of_folder(path: pathlib.Path) -> pl.DataFrame:
    """The triples of a folder of edge lists; the name of a file is the relation."""
    parts = []
    for file in sorted(path.glob(_EDGES)):
        frame = delimited.read(
            file,
            {"head": pl.String, "tail": pl.String},
            schema_lib.BadRows(skippable=False),
            separator="\t" if files.has_tabs(file) else " ",
            quoting="none",
            names=("head", "tail"),
        )
        frame = frame.with_columns(pl.lit(file.stem).alias("relation"))
        parts.append(_checked(frame, file, 1))
    if not parts:
        raise UserError(
            f"{path}: no file {_EDGES} in this folder; expected one a relation, with lines "
            "`head tail`, or the path of a file with the columns head, relation and tail"
        )
    return pl.concat(parts)


def _checked(frame: pl.DataFrame, path: pathlib.Path, first_row: int) -> pl.DataFrame:
    """The three columns of a frame whose names can be stored and shown.

    Raises:
      UserError: for the first row that breaks a rule.
    """
    bad_rows = schema_lib.BadRows(skippable=False)
    rules = [
        (name, rule, expected)
        for name in COLUMNS
        for rule, expected in vocabulary_lib.id_rules(name, pl.String())
    ]
    reserved = f"a relation other than {INTERACTED} and {STAY}, which every graph has"
    rules.append(("relation", ~pl.col("relation").is_in([INTERACTED, STAY]), reserved))
    for name, rule, expected in rules:
        frame = schema_lib.check(
            frame, name, rule, expected, path, bad_rows, first_row=first_row
        )
    return frame.select(COLUMNS)


def _examples(names: pl.Series) -> str:
    more = ", ..." if len(names) > _EXAMPLES else ""
    return ", ".join(map(repr, names.head(_EXAMPLES))) + more
