"""A small graph by hand, and logs in which users like items of one author."""

import numpy as np

from tfrec.data import identity
from tfrec.data.knowledge_graph import KnowledgeGraph
from tfrec.data.sequences import Sequences


def of_rows(rows, num_items):
    """Sequences of lists of items."""
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(items, np.cumsum([0, *map(len, rows)]), num_items)


def knowledge(triples, entities, relations):
    """A graph of numbers, see `KnowledgeGraph`."""
    return KnowledgeGraph(
        np.array(entities),
        np.array(relations),
        np.array(sorted(triples), np.int32),
        identity.Source("graph.csv", "abc"),
        0,
        0,
    )


def small():
    """Items 1 to 4, author 5 of items 1 and 2, genre 6 of items 2 and 3; two users, 7 and 8.

    User 7 has items 1 and 4, user 8 items 3 and 4. Item 4 stands in no triple.
    """
    train = of_rows([[1, 4, 4], [3, 4]], 4)
    triples = [(1, 0, 5), (2, 0, 5), (2, 1, 6), (3, 1, 6)]
    return train, knowledge(triples, ["anna", "crime"], ["author", "genre"])


def tastes(users, authors, each, seed, shuffled=False):
    """A log whose users read items of one author each, and its graph.

    Every item is as frequent as the others, and no two users of an author need to share an
    item, so that the graph alone tells what belongs together.

    Args:
      users: how many.
      authors: how many.
      each: items of an author.
      seed: of the draws.
      shuffled: whether the authors of the graph are drawn anew, so that they say nothing.

    Returns:
      Sequences of the users, 4 items each, and the graph.
    """
    rng = np.random.default_rng(seed)
    items = authors * each
    rows = []
    for _ in range(users):
        author = rng.integers(authors)
        rows.append((author * each + rng.permutation(each)[:4] + 1).tolist())
    author_of = np.arange(items) // each
    if shuffled:
        author_of = rng.permutation(author_of)
    triples = [(item + 1, 0, items + 1 + author) for item, author in enumerate(author_of)]
    names = [f"author{number}" for number in range(authors)]
    return of_rows(rows, items), knowledge(triples, names, ["author"])
