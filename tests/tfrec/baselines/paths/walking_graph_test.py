"""The joint graph: every edge in both directions, by the node that it leaves."""

import numpy as np

from tests.tfrec.baselines.paths import village
from tfrec.baselines.paths import walking_graph


def test_edges_by_hand():
    graph = walking_graph.joined(*village.small())
    assert graph.sizes == (4, 2, 2, 3, 16)
    assert (graph.sizes.nodes, graph.sizes.first_user) == (9, 7)
    # Users have item 4 once, whatever the number of events.
    assert sorted(map(tuple, graph.triples.tolist())) == [
        (1, 2, 5), (2, 2, 5), (2, 3, 6), (3, 3, 6), (7, 1, 1), (7, 1, 4), (8, 1, 3), (8, 1, 4),
    ]  # fmt: skip
    edges = [
        list(zip(graph.relation[a:b].tolist(), graph.tail[a:b].tolist(), strict=True))
        for a, b in zip(graph.offsets, graph.offsets[1:], strict=False)
    ]
    # Relation 3 + r is r in reverse. Every node but 0 has two edges, so that ties go by node.
    assert edges == [
        [], [(2, 5), (4, 7)], [(2, 5), (3, 6)], [(3, 6), (4, 8)], [(4, 7), (4, 8)],
        [(5, 1), (5, 2)], [(6, 2), (6, 3)], [(1, 1), (1, 4)], [(1, 3), (1, 4)],
    ]  # fmt: skip


def test_edges_to_nodes_with_most_edges_come_first():
    train = village.of_rows([[1, 2], [2], [2]], 2)
    graph = walking_graph.joined(train, village.knowledge([(1, 0, 3)], ["x"], ["r"]))
    user = slice(*graph.offsets[4:6])
    assert graph.tail[user].tolist() == [2, 1]


def test_an_empty_graph_has_the_same_shapes():
    graph = walking_graph.joined(*village.small())
    other = walking_graph.empty(graph.sizes)
    for name in ("offsets", "relation", "tail"):
        one, two = getattr(graph, name), getattr(other, name)
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        assert one.dtype == np.int32
