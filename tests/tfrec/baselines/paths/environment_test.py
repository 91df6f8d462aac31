"""Soft rewards, multi-hop scores of edges, pruning and visited nodes, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.paths import village
from tfrec.baselines.paths import environment, walking_graph


def make(max_acts=10, max_degree=10):
    graph = walking_graph.joined(*village.small())
    return graph, environment.Edges(graph, max_acts, max_degree)


def test_the_soft_reward_is_a_share_of_the_best_item_and_never_negative():
    score, largest = tf.constant([2.0, -1.0, 4.0, -1.0, 0.0]), tf.constant([4.0, 4, 4, -2, 0])
    # Where no item has a positive score, -1 / -2 would reward a bad item.
    reward = environment.soft_reward(score, largest).numpy()
    assert reward.tolist() == [0.5, 0.0, 1.0, 0.0, 0.0]


def test_multi_hop_scores_follow_their_definition():
    graph, _ = make()
    rng = np.random.default_rng(0)
    node = rng.normal(size=[9, 3]).astype(np.float32)
    relation = rng.normal(size=[3, 3]).astype(np.float32)
    bias = rng.normal(size=9).astype(np.float32)
    signed = np.concatenate([np.zeros([1, 3], np.float32), relation, -relation])
    offsets = environment.edge_offsets(
        graph.sizes,
        tf.constant(graph.relation),
        tf.constant(graph.tail),
        tf.constant(node),
        tf.constant(signed),
    ).numpy()
    user = node[7]
    common = (user + relation[0]) @ node.T + bias
    for edge, (kind, tail) in enumerate(zip(graph.relation, graph.tail, strict=True)):
        if tail <= 4:
            expected = (user + relation[0]) @ node[tail] + bias[tail]
        elif tail <= 6:
            expected = (user + relation[0] + signed[kind]) @ node[tail] + bias[tail]
        else:
            expected = user @ node[tail] + bias[tail]
        assert common[tail] + offsets[edge] == pytest.approx(expected, abs=1e-5)


def test_actions_are_staying_and_the_best_edges_without_visited_nodes():
    _, edges = make(max_acts=1)
    scores = tf.constant([np.arange(9.0), -np.arange(9.0)], tf.float32)
    # Item 2 leads to author 5 (score 5 or -5) and genre 6 (6 or -6).
    user, node = tf.constant([0, 1, 0]), tf.constant([2, 2, 2])
    visited = tf.constant([[7, 2], [8, 2], [6, 2]])
    result = edges.offered(scores, user, node, visited, 1)
    assert result.node.numpy().tolist() == [[2, 6], [2, 5], [2, 5]]
    assert result.relation.numpy().tolist() == [[0, 3], [0, 2], [0, 2]]
    assert result.score.numpy().tolist() == [[2, 6], [-2, -5], [2, 5]]


def test_missing_actions_are_marked():
    _, edges = make()
    scores = tf.zeros([1, 9])
    nodes, visited = tf.constant([0, 5]), tf.constant([[0, 0], [1, 5]])
    result = edges.offered(scores, tf.constant([0, 0]), nodes, visited, 3)
    # Node 0 has no edge; author 5 leads to item 2 alone, since item 1 was visited.
    assert result.real.numpy().astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert result.node.numpy()[1, :2].tolist() == [5, 2]


def test_edges_beyond_the_degree_are_left_out():
    _, edges = make(max_acts=1, max_degree=1)
    scores = tf.constant([np.arange(9.0)], tf.float32)
    result = edges.offered(scores, tf.constant([0]), tf.constant([2]), tf.constant([[7, 2]]), 1)
    assert result.node.numpy().tolist() == [[2, 5]]  # the first edge, not the best


def test_links():
    _, edges = make()
    result = edges.linked(tf.constant([7, 7, 8, 0]), tf.constant([1, 3, 3, 1]))
    assert result.numpy().tolist() == [True, False, True, False]
