"""The graph that paths follow: users, items and entities, each edge in both directions.

Nodes are numbered: 0 is none, 1..N are the items by their dense ids, the X other entities
follow, then the U users. Relations are numbered: 0 stays at a node, 1 leads from a user to an
item of the training events, 2..R those of the knowledge graph; R + r is r in reverse.

Axes: V nodes, M edges, T triples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrec.data import knowledge_graph, sequences

STAY, INTERACTED = 0, 1


class Sizes(NamedTuple):
    """How many there are of everything.

    Attributes:
      items: N.
      entities: X, those that are not items.
      users: U.
      relations: R, of users and items included.
      edges: M, both directions counted.
    """

    items: int
    entities: int
    users: int
    relations: int
    edges: int

    @property
    def nodes(self) -> int:
        """V, node 0 included."""
        return 1 + self.items + self.entities + self.users

    @property
    def first_user(self) -> int:
        """The node of user row 0."""
        return 1 + self.items + self.entities


class WalkingGraph(NamedTuple):
    """Edges ordered by the node that they leave, 8 bytes an edge and 4 a node.

    Attributes:
      sizes: of everything.
      offsets: int32 [V + 1]; edges offsets[v] to offsets[v + 1] - 1 leave node v, those to the
        nodes with most edges first.
      relation: int32 [M], 1..2R.
      tail: int32 [M], the node that the edge leads to.
      triples: int32 [T, 3], head, relation 1..R, tail: each edge once, forward.
    """

    sizes: Sizes
    offsets: np.ndarray
    relation: np.ndarray
    tail: np.ndarray
    triples: np.ndarray


def joined(
    train: sequences.Sequences, knowledge: knowledge_graph.KnowledgeGraph
) -> WalkingGraph:
    """The knowledge graph with the training events as a further relation.

    Args:
      train: training events, a row for each user. An item that a user has twice is one edge.
      knowledge: triples about its items.
    """
    items, entities = train.num_items, len(knowledge.entities)
    relations = 1 + len(knowledge.relations)
    first_user = 1 + items + entities
    pairs = np.unique(train.rows * (items + 1) + train.items)
    user, item = np.divmod(pairs, items + 1)
    events = np.stack([first_user + user, np.full_like(user, INTERACTED), item], axis=1)
    facts = knowledge.triples + np.array([0, INTERACTED + 1, 0])
    triples = np.concatenate([events, facts]).astype(np.int32)  # [T, 3]
    head, relation, tail = triples.T
    source = np.concatenate([head, tail])
    target = np.concatenate([tail, head])
    kind = np.concatenate([relation, relations + relation])
    nodes = first_user + len(train)
    degree = np.bincount(source, minlength=nodes)
    order = np.lexsort((kind, target, -degree[target], source))
    sizes = Sizes(items, entities, len(train), relations, len(source))
    return WalkingGraph(
        sizes,
        np.concatenate([[0], np.cumsum(degree)]).astype(np.int32),
        kind[order],
        target[order],
        triples,
    )


def empty(sizes: Sizes) -> WalkingGraph:
    """An empty graph of given sizes, for a model with restored variables."""
    edges = np.zeros(sizes.edges, np.int32)
    offsets = np.zeros(sizes.nodes + 1, np.int32)
    return WalkingGraph(sizes, offsets, edges, edges, np.zeros([0, 3], np.int32))
