"""The environment of paths: at a node, the edges to choose from, pruned for the user.

A path begins at a user's node. An action is an edge (relation, node) that leaves the current
node, or to stay. Of more than `max_acts` edges those with the highest multi-hop score stay
(Xian et al., SIGIR 2019, section 3.3): with r_1 the relation from users to items,

    user node u'                <u, u'> + b_u'
    item i                      <u + r_1, i> + b_i
    entity e by relation r      <u + r_1 + r, e> + b_e

which is <u + r_1, v> + b_v for every node v, plus a number that depends on the edge alone.
The first is one matrix product for a batch of users, so that pruning gathers numbers and no
vectors.

Axes: B users of a batch, P paths (several a user), A actions with `stay` at position 0, V
nodes, M edges, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrec.baselines.paths import walking_graph

GONE = -1e9  # score and logit of an action that cannot be taken


class Actions(NamedTuple):
    """What P paths can do next.

    Attributes:
      relation: int32 [P, A].
      node: int32 [P, A], where the action leads.
      score: float [P, A], the multi-hop score; `GONE` where there is no action.
    """

    relation: tf.Tensor
    node: tf.Tensor
    score: tf.Tensor

    @property
    def real(self) -> tf.Tensor:
        """Whether there is such an action, bool [P, A]."""
        return self.score > GONE / 2


def soft_reward(score: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    """max(0, f(u, i) / max_i f(u, i)), float [P]; 0 where no item has a positive score.

    Args:
      score: f(u, i) of the item at the end of a path, float [P].
      largest: the user's highest score of an item, float [P].
    """
    share = tf.math.divide_no_nan(score, largest)
    return tf.where(largest > 0, tf.maximum(share, 0.0), 0.0)


def edge_offsets(
    sizes: walking_graph.Sizes,
    relation: tf.Tensor,
    tail: tf.Tensor,
    node: tf.Tensor,
    signed: tf.Tensor,
) -> tf.Tensor:
    """What an edge adds to <u + r_1, v> + b_v, float [M].

    Args:
      sizes: of the graph.
      relation: int32 [M].
      tail: int32 [M].
      node: float [V, D], vectors of nodes.
      signed: float [2R + 1, D], vectors of relations.
    """
    # <r, v> for all relations and nodes at once takes less memory than [M, D] numbers.
    product = tf.matmul(node, signed, transpose_b=True)  # [V, 2R + 1]
    entity = (tail > sizes.items) & (tail < sizes.first_user)
    by_relation = tf.gather_nd(product, tf.stack([tail, relation], axis=1))  # [M]
    by_user = -tf.gather(product[:, walking_graph.INTERACTED], tail)  # [M]
    others = tf.where(tail >= sizes.first_user, by_user, 0.0)
    return tf.where(entity, by_relation, others)


class Edges(tf.Module):
    """The edges of a graph as variables, which are saved with the model.

    Args:
      graph: the graph.
      max_acts: edges that a path chooses among at most.
      max_degree: edges of a node that are scored at most: those to the nodes with most edges.
    """

    def __init__(self, graph: walking_graph.WalkingGraph, max_acts: int, max_degree: int):
        super().__init__(name="edges")
        self._max_acts, self._max_degree = max_acts, max_degree

        def constant(values: object, name: str) -> tf.Variable:
            return tf.Variable(values, trainable=False, dtype=tf.int32, name=name)

        self.offsets = constant(graph.offsets, "offsets")
        self.relation = constant(graph.relation, "relation_of_edge")
        self.tail = constant(graph.tail, "tail")
        self.score = tf.Variable(
            tf.zeros([graph.sizes.edges]), trainable=False, name="score_of_edge"
        )

    def linked(self, node: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Whether an edge leads from a node to the other one, bool [P]. Graph code.

        Args:
          node: int32 [P].
          other: int32 [P].
        """
        first = tf.gather(self.offsets, node)
        degree = tf.gather(self.offsets, node + 1) - first
        columns = tf.range(tf.reduce_max(degree))
        real = columns < degree[:, None]  # [P, C]
        tail = tf.gather(self.tail, tf.where(real, first[:, None] + columns, 0))
        return tf.reduce_any(real & (tail == other[:, None]), axis=1)

    def offered(
        self,
        scores: tf.Tensor,
        user: tf.Tensor,
        node: tf.Tensor,
        visited: tf.Tensor,
        least: int,
    ) -> Actions:
        """The actions of P paths, stay first and then by descending score. Graph code.

        Args:
          scores: <u + r_1, v> + b_v, float [B, V].
          user: int32 [P], the row of `scores`.
          node: int32 [P], where each path is.
          visited: int32 [P, h], the nodes of the path so far, which it does not visit again.
          least: A is at least this number and one.
        """
        width = tf.shape(scores)[1]
        flat = tf.reshape(scores, [-1])
        first = tf.gather(self.offsets, node)  # [P]
        degree = tf.minimum(tf.gather(self.offsets, node + 1) - first, self._max_degree)
        columns = tf.range(tf.maximum(tf.reduce_max(degree), least))
        real = columns < degree[:, None]  # [P, C]
        edge = tf.where(real, first[:, None] + columns, 0)
        tail = tf.gather(self.tail, edge)
        score = tf.gather(flat, user[:, None] * width + tail)
        score += tf.gather(self.score, edge)
        for step in range(visited.shape[1]):
            real &= tail != visited[:, step, None]
        score = tf.where(real, score, GONE)
        best, place = tf.math.top_k(score, tf.minimum(self._max_acts, tf.shape(columns)[0]))
        edge = tf.gather(edge, place, batch_dims=1)  # [P, A - 1]
        stay = tf.zeros_like(node)[:, None] + walking_graph.STAY
        return Actions(
            tf.concat([stay, tf.gather(self.relation, edge)], axis=1),
            tf.concat([node[:, None], tf.gather(self.tail, edge)], axis=1),
            tf.concat([tf.gather(flat, user * width + node)[:, None], best], axis=1),
        )
