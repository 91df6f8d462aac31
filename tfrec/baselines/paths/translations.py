"""Embeddings of a knowledge graph in which relations are translations.

TransE (Bordes et al., NIPS 2013) in the form of PGPR (Xian et al., SIGIR 2019, equations 3, 10
and 11): the score of a triple is

    f(h, r, t) = <h + r, t> + b_t

and embeddings maximise log sigmoid(f) of the triples and log sigmoid(-f) of triples with a
negative tail. As in the paper's code, negatives of users' items are sampled uniformly from all
items, including those without a training event; those of other relations are the relation's
tails in proportion to count^0.75.

Axes: T triples, B triples of a batch, K negatives of a triple, D width, V nodes, Q pairs of a
relation and one of its tails.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types

_POWER = 0.75  # of the count of a tail, as in word2vec


class Tails(NamedTuple):
    """The distribution of negatives of each relation.

    Attributes:
      cumulative: float64 [Q]; the pairs of relation r, one after the other, rise to r.
      tail: int32 [Q].
    """

    cumulative: np.ndarray
    tail: np.ndarray


def tails_of(triples: np.ndarray, items: int) -> Tails:
    """The distribution of negatives: all items alike for relation 1, see above for the others.

    Args:
      triples: int [T, 3], head, relation from 1 on, tail.
      items: N; nodes 1..N are items.
    """
    others = triples[triples[:, 1] > 1, 1:]
    pairs, counts = np.unique(others, axis=0, return_counts=True)
    every = np.stack([np.ones(items, np.int64), np.arange(1, items + 1)], axis=1)
    pairs = np.concatenate([every, pairs])
    relation, weight = pairs[:, 0], np.concatenate([np.ones(items), counts**_POWER])
    share = weight / np.bincount(relation, weight)[relation]
    # Sums within each relation, so that rounding does not add up over relations.
    first = np.flatnonzero(np.diff(relation, prepend=0))
    parts = [np.cumsum(part) for part in np.split(share, first[1:])]
    within = np.minimum(np.concatenate(parts), 1.0)
    last = np.append(first[1:], len(relation)) - 1
    within[last] = 1.0
    return Tails(relation - 1 + within, pairs[:, 1].astype(np.int32))


def drawn(
    cumulative: tf.Tensor, tail: tf.Tensor, relation: tf.Tensor, count: int, seed: tf.Tensor
) -> tf.Tensor:
    """Negative tails of each triple, int32 [B, K]. Graph code.

    Args:
      cumulative: float64 [Q], see `Tails`.
      tail: int32 [Q].
      relation: int32 [B], from 1 on; each has a tail.
      count: K.
      seed: int32 [2].
    """
    uniform = tf.random.stateless_uniform([tf.size(relation), count], seed, dtype=tf.float64)
    place = tf.cast(relation - 1, tf.float64)[:, None] + uniform  # [B, K]
    position = tf.searchsorted(cumulative, tf.reshape(place, [-1]), side="right")
    return tf.reshape(tf.gather(tail, position), tf.shape(place))  # [B, K]


def score(source: tf.Tensor, tail: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """<h + r, t> + b_t, float [...].

    Args:
      source: h + r, float [..., D].
      tail: t, float [..., D].
      bias: b_t, float [...].
    """
    return tf.reduce_sum(source * tail, axis=-1) + bias


def sampled_loss(positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """-log sigmoid(f) of the triples and -log sigmoid(-f) of negatives; mean over B.

    Args:
      positive: f of the triples, float [B].
      negative: f of the negatives, float [B, K].
    """
    losses = tf.nn.softplus(-positive) + tf.reduce_sum(tf.nn.softplus(negative), axis=1)
    return tf.reduce_mean(losses)


class Translations(tf.Module):
    """Embeddings of nodes and relations.

    Args:
      nodes: V; node 0 stays at zero.
      relations: R.
      width: D.
      seed: of the initial values, uniform in [-0.5 / D, 0.5 / D].

    Attributes:
      node: float [V, D].
      bias: float [V].
      relation: float [R, D]; relation r stands at row r - 1.
    """

    def __init__(self, nodes: int, relations: int, width: int, seed: int):
        super().__init__(name="translations")
        self.width = width

        def uniform(rows: int, number: int) -> tf.Tensor:
            bound = 0.5 / width
            pair = types.seed_pair(seed, number)
            return tf.random.stateless_uniform([rows, width], pair, -bound, bound)

        some = tf.cast(tf.range(nodes) > 0, tf.float32)[:, None]
        self.node = tf.Variable(uniform(nodes, 0) * some, name="node")
        self.bias = tf.Variable(tf.zeros([nodes]), name="node_bias")
        self.relation = tf.Variable(uniform(relations, 1), name="relation")

    def signed_relations(self) -> tf.Tensor:
        """Vectors of all relations, float [2R + 1, D]: stay is 0, r in reverse is -r."""
        stay = tf.zeros([1, self.width])
        return tf.concat([stay, self.relation, -self.relation], axis=0)

    def loss(self, triples: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
        """Loss of a batch. Graph code; the gradients of nodes are sparse.

        Args:
          triples: int32 [B, 3], head, relation from 1 on, tail.
          negative: int32 [B, K], tails.
        """
        head, relation, tail = tf.unstack(triples, axis=1)
        source = tf.gather(self.node, head) + tf.gather(self.relation, relation - 1)  # [B, D]
        # One look-up of all tails, so that the table has one sparse gradient for them.
        every = tf.concat([tail[:, None], negative], axis=1)  # [B, 1 + K]
        vectors, bias = tf.gather(self.node, every), tf.gather(self.bias, every)
        scores = score(source[:, None], vectors, bias)  # [B, 1 + K]
        return sampled_loss(scores[:, 0], scores[:, 1:])
