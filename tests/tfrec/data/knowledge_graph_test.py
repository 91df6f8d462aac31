"""Knowledge graphs from files and folders, in the ids of a log, and files that are damaged."""

import numpy as np
import polars as pl
import pytest

from tfrec.data import knowledge_graph
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError

IDS = vocabulary_lib.Vocabulary(
    vocabulary_lib.Ids(np.array(["dune", "emma", "it"])), vocabulary_lib.Ids(np.arange(2))
)
ROWS = [
    ("emma", "author", "austen"),
    ("dune", "author", "herbert"),
    ("austen", "born_in", "uk"),
    ("dune", "before", "it"),
]


def write(path, rows=ROWS, header="head,relation,tail"):
    separator = "\t" if path.suffix == ".tsv" else ","
    lines = [header.replace(",", separator), *(separator.join(row) for row in rows)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def triples(graph):
    """The triples in names."""
    names = ["", *IDS.items, *graph.entities]
    return sorted((names[h], graph.relations[r], names[t]) for h, r, t in graph.triples)


@pytest.mark.parametrize("name", ["graph.csv", "graph.tsv", "graph.parquet"])
def test_each_form_gives_the_same_triples(name, tmp_path):
    path = tmp_path / name
    if path.suffix == ".parquet":
        pl.DataFrame(ROWS, schema=["head", "relation", "tail"], orient="row").write_parquet(
            path
        )
    else:
        write(path)
    graph = knowledge_graph.read(path, IDS)
    assert graph.entities.tolist() == ["austen", "herbert", "uk"]
    assert graph.relations.tolist() == ["author", "before", "born_in"]
    assert triples(graph) == sorted(ROWS)
    # Items are their dense ids, entities follow: dune 1, emma 2, it 3, austen 4, ...
    assert graph.triples.tolist() == [[1, 0, 5], [1, 1, 3], [2, 0, 4], [4, 2, 6]]
    assert graph.linked_items(3) == 3
    other = knowledge_graph.read(write(tmp_path / "other.csv", ROWS[::-1]), IDS)
    assert other.source.fingerprint == graph.source.fingerprint
    less = knowledge_graph.read(write(tmp_path / "less.csv", ROWS[:3]), IDS)
    assert less.source.fingerprint != graph.source.fingerprint


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_a_folder_has_a_file_for_each_relation(separator, tmp_path):
    (tmp_path / "author.edgelist").write_text(
        f"emma{separator}austen\ndune{separator}herbert\n"
    )
    (tmp_path / "before.edgelist").write_text(f"dune{separator}it\n")
    (tmp_path / "readme.txt").write_text("no edges")
    graph = knowledge_graph.read(tmp_path, IDS)
    assert triples(graph) == [
        ("dune", "author", "herbert"), ("dune", "before", "it"), ("emma", "author", "austen"),
    ]  # fmt: skip


def test_repeated_triples_and_loops_are_counted(tmp_path):
    rows = [*ROWS, ROWS[0], ("dune", "before", "dune")]
    graph = knowledge_graph.read(write(tmp_path / "graph.csv", rows), IDS)
    assert (graph.repeated, graph.loops) == (1, 1)
    assert triples(graph) == sorted(ROWS)


def test_item_ids_that_are_numbers_are_compared_as_text(tmp_path):
    ids = vocabulary_lib.Vocabulary(
        vocabulary_lib.Ids(np.array([7, 12])), vocabulary_lib.Ids(np.arange(2))
    )
    rows = [("7", "genre", "poem"), ("007", "genre", "film")]
    graph = knowledge_graph.read(write(tmp_path / "graph.csv", rows), ids)
    assert graph.entities.tolist() == ["007", "film", "poem"]
    assert graph.triples.tolist() == [[1, 0, 5], [3, 0, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "graph.csv: the file is empty"),
        ("head,relation,tail\n", "graph.csv: no rows after the header"),
        ("head,kind,tail\na,b,c\n", "graph.csv, row 1: no column 'relation'"),
        ("head,relation,tail\ndune,author,x\ndune,,y\n", "graph.csv, row 3: relation"),
        ("head,relation,tail\ndune,author\n", "graph.csv, row 2: tail"),
        ("head,relation,tail\ndune,author,x,y\n", "graph.csv, row 2.*4 fields"),
        ("head,relation,tail\ndune,interacted,x\n", "row 2: relation is 'interacted'"),
        ("head,relation,tail\ndune,stay,x\n", "row 2: relation is 'stay'"),
        (f"head,relation,tail\ndune,author,{'x' * 300}\n", "row 2: tail.*1 to 256 bytes"),
        ("head,relation,tail\nubik,author,dick\n", "none of its 2 entities is an item"),
        ("head,relation,tail\ndune,before,dune\n", "the head of each row is its tail"),
    ],
)
def test_a_damaged_file_is_a_message(text, message, tmp_path):
    path = tmp_path / "graph.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        knowledge_graph.read(path, IDS)


def test_other_damage_is_a_message(tmp_path):
    with pytest.raises(UserError, match="absent.csv: no such file"):
        knowledge_graph.read(tmp_path / "absent.csv", IDS)
    with pytest.raises(UserError, match=r"no file \*.edgelist in this folder"):
        knowledge_graph.read(tmp_path, IDS)
    (tmp_path / "author.edgelist").write_text("dune herbert\nemma jane austen\n")
    with pytest.raises(UserError, match="author.edgelist, row 2.*3 fields"):
        knowledge_graph.read(tmp_path, IDS)
    (tmp_path / "author.edgelist").write_text("dune herbert\nemma\n")
    with pytest.raises(UserError, match="author.edgelist, row 2: tail"):
        knowledge_graph.read(tmp_path, IDS)
    path = tmp_path / "graph.parquet"
    pl.DataFrame({"head": ["dune"], "relation": [1.5], "tail": ["x"]}).write_parquet(path)
    with pytest.raises(UserError, match="graph.parquet: column 'relation' holds Float64"):
        knowledge_graph.read(path, IDS)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="graph.parquet: not a readable table"):
        knowledge_graph.read(path, IDS)
