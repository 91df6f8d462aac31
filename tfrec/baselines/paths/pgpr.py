"""PGPR: a policy that walks a knowledge graph from a user to the items to recommend.

Xian et al., Reinforcement Knowledge Graph Reasoning for Explainable Recommendation, SIGIR 2019.

1. Embeddings of users, items, entities and relations are trained on the graph of the training
   events and the knowledge graph (`translations`).
2. A policy walks paths of `path_length` steps from a user (`environment`, `policy`). A path
   that ends at an item has the reward max(0, f(u, i) / max_i f(u, i)), where f(u, i) is
   <u + r_1, i> + b_i.
3. For the lists, a beam search follows the `beam` most probable actions of each step. Items at
   the end of a path are ranked by f; the most probable path to an item explains it.

Ours: a path that ends at an item of the user's training events has no reward, since such items
are not recommended; a list that has fewer items with paths than places is completed with the
other items in the order of f. tfrec/baselines/paths/README.md lists every difference.

Axes: U users, B users of a batch, P paths, W paths of a user, L steps of a path, N items, V
nodes, K items of a list, D width of node vectors.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.baselines.paths import environment, policy, translations, walking_graph
from tfrec.baselines.paths.config import PgprKgConfig
from tfrec.data import sequences

_SCORES_AT_ONCE = 1 << 22  # scores of actions in one batch of a beam search: 16 MiB


class Paths(NamedTuple):
    """The paths of a beam search.

    Attributes:
      node: int32 [B, W, L + 1], from the user's node to the last one.
      relation: int32 [B, W, L], by which each node was reached.
      log_prob: float [B, W], of the whole path; minus infinity where there is no path.
    """

    node: tf.Tensor
    relation: tf.Tensor
    log_prob: tf.Tensor


class Lists(NamedTuple):
    """Ranked lists with their paths.

    Attributes:
      items: int32 [B, K], dense ids, best first; padded with 0.
      scores: f(u, i), float [B, K]; padded with minus infinity. Items with a path precede
        those without one, regardless of their scores.
      with_path: bool [B, K], whether a path leads to the item.
      node: int32 [B, K, L + 1], the most probable path to the item; 0 if there is none.
      relation: int32 [B, K, L].
      log_prob: float [B, K], of the path.
    """

    items: np.ndarray
    scores: np.ndarray
    with_path: np.ndarray
    node: np.ndarray
    relation: np.ndarray
    log_prob: np.ndarray


class Rollouts(NamedTuple):
    """Paths that the policy walked, with what its loss needs.

    Attributes:
      log_prob: of the actions, float [B, L].
      entropy: float [B, L], nats.
      value: the critic's, float [B, L].
      reward: float [B].
    """

    log_prob: tf.Tensor
    entropy: tf.Tensor
    value: tf.Tensor
    reward: tf.Tensor


class PathModel(tf.Module):
    """Embeddings, edges and policy.

    Args:
      config: sizes and losses.
      graph: what is walked.
      seed: of the initial weights.
    """

    def __init__(self, config: PgprKgConfig, graph: walking_graph.WalkingGraph, seed: int):
        super().__init__(name="pgpr_kg")
        self.config, self.sizes = config, graph.sizes
        relations = 2 * graph.sizes.relations + 1
        self.translations = translations.Translations(
            graph.sizes.nodes, graph.sizes.relations, config.width, seed
        )
        self.edges = environment.Edges(graph, config.max_acts, config.max_degree)
        self.policy = policy.Policy(
            (2 + 2 * config.history) * config.width,
            config.width,
            relations,
            config.max_acts + 1,
            config.hidden,
            config.dropout,
            config.actor,
            config.keys,
            itertools.count(seed + 1),
        )
        self._search = tf.function(
            self._lists,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, graph.sizes.items], tf.bool),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([], tf.bool),
            ],
        )

    def user_scores(self, user: tf.Tensor) -> tf.Tensor:
        """<u + r_1, v> + b_v of all nodes, float [B, V]. Graph code.

        Args:
          user: int32 [B], nodes.
        """
        parts = self.translations
        source = tf.gather(parts.node, user) + parts.relation[walking_graph.INTERACTED - 1]
        return tf.matmul(source, parts.node, transpose_b=True) + parts.bias

    def score_edges(self) -> None:
        """Computes the part of the multi-hop scores that depends on the edge alone."""
        parts, edges = self.translations, self.edges
        signed = parts.signed_relations()
        edges.score.assign(
            environment.edge_offsets(self.sizes, edges.relation, edges.tail, parts.node, signed)
        )

    def state(self, nodes: list[tf.Tensor], relations: list[tf.Tensor]) -> tf.Tensor:
        """Vectors of the user, the current node and the last hops, float [P, S]. Graph code.

        Args:
          nodes: of the paths so far, int32 [P] each, from the user on.
          relations: by which each node but the first was reached, int32 [P] each.
        """
        table, signed = self.translations.node, self.translations.signed_relations()
        parts = [tf.gather(table, nodes[0]), tf.gather(table, nodes[-1])]  # [P, D]
        for back in range(1, self.config.history + 1):
            if back < len(nodes):
                parts.append(tf.gather(table, nodes[-1 - back]))
                parts.append(tf.gather(signed, relations[-back]))
            else:
                parts += [tf.zeros_like(parts[0])] * 2
        return tf.stop_gradient(tf.concat(parts, axis=1))

    def rollouts(self, user: tf.Tensor, seed: tf.Tensor) -> Rollouts:
        """Walks a path from each user with action dropout. Graph code.

        Args:
          user: int32 [B], nodes.
          seed: int32 [2]; seeds of steps add to its second number.
        """
        config = self.config
        scores = tf.stop_gradient(self.user_scores(user))
        row = tf.range(tf.size(user))
        nodes: list[tf.Tensor] = [user]
        relations: list[tf.Tensor] = []
        log_probs, entropies, values = [], [], []
        for step in range(config.path_length):
            step_seed = seed + [0, 100 * step]
            offered = self.edges.offered(scores, row, nodes[-1], tf.stack(nodes, axis=1), 1)
            retained = policy.retained_actions(offered.real, config.action_dropout, step_seed)
            score = tf.where(retained, offered.score, environment.GONE)
            offered = offered._replace(score=score)
            hidden = self.policy.hidden(self.state(nodes, relations), step_seed + [0, 10])
            vectors = tf.gather(self.translations.node, offered.node)  # [B, A, D]
            key = self.policy.keys(tf.stop_gradient(vectors))
            log_share = tf.nn.log_softmax(self.policy.logits(hidden, offered, key))
            action = tf.random.stateless_categorical(
                log_share, 1, step_seed + [0, 1], dtype=tf.int32
            )[:, 0]
            log_probs.append(tf.gather(log_share, action, batch_dims=1))
            entropies.append(policy.entropy_of(log_share))
            values.append(self.policy.values(hidden))
            nodes.append(tf.gather(offered.node, action, batch_dims=1))
            relations.append(tf.gather(offered.relation, action, batch_dims=1))
        return Rollouts(
            tf.stack(log_probs, axis=1),
            tf.stack(entropies, axis=1),
            tf.stack(values, axis=1),
            self.reward(scores, user, nodes[-1]),
        )

    def reward(self, scores: tf.Tensor, user: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        """The soft reward of a path's last node, float [B]; 0 for training items of the user.

        Args:
          scores: `user_scores` of the users, float [B, V].
          user: int32 [B], nodes.
          end: int32 [B], nodes.
        """
        items = self.sizes.items
        largest = tf.reduce_max(scores[:, 1 : items + 1], axis=1)
        soft = environment.soft_reward(tf.gather(scores, end, batch_dims=1), largest)
        is_new_item = (end >= 1) & (end <= items) & ~self.edges.linked(user, end)
        return tf.where(is_new_item, soft, 0.0)

    def search(self, user: tf.Tensor, scores: tf.Tensor) -> Paths:
        """The most probable paths of B users by beam search. Graph code.

        Args:
          user: int32 [B], nodes.
          scores: `user_scores` of them, float [B, V].
        """
        config, batch = self.config, tf.size(user)
        keys = self.policy.keys(self.translations.node)  # [V, K]
        nodes: list[tf.Tensor] = [user]
        relations: list[tf.Tensor] = []
        log_prob, row = tf.zeros([batch]), tf.range(batch)
        for width in config.beam:
            offered = self.edges.offered(
                scores, row, nodes[-1], tf.stack(nodes, axis=1), max(width - 1, 1)
            )
            hidden = self.policy.hidden(self.state(nodes, relations), None)
            key = tf.gather(keys, offered.node)  # [P, A, K]
            log_share = tf.nn.log_softmax(self.policy.logits(hidden, offered, key))
            best, place = tf.math.top_k(log_share, width)  # [P, width]
            real = tf.gather(offered.real, place, batch_dims=1)
            log_prob = tf.where(real, log_prob[:, None] + best, -math.inf)
            log_prob = tf.reshape(log_prob, [-1])  # [P * width]
            row = tf.repeat(row, width)
            nodes = [tf.repeat(x, width) for x in nodes]
            relations = [tf.repeat(x, width) for x in relations]
            node = tf.gather(offered.node, place, batch_dims=1)  # [P, width]
            relation = tf.gather(offered.relation, place, batch_dims=1)
            nodes.append(tf.reshape(node, [-1]))
            relations.append(tf.reshape(relation, [-1]))
        several = math.prod(config.beam)

        def of_users(columns: list[tf.Tensor]) -> tf.Tensor:
            stacked = tf.stack(columns, axis=1)
            return tf.reshape(stacked, [batch, several, len(columns)])

        return Paths(
            of_users(nodes), of_users(relations), tf.reshape(log_prob, [batch, several])
        )

    def _lists(
        self, user: tf.Tensor, blocked: tf.Tensor, k: tf.Tensor, walk: tf.Tensor
    ) -> Lists:
        scores = self.user_scores(user)
        item_scores = tf.where(blocked, -math.inf, scores[:, 1 : self.sizes.items + 1])
        several, steps = math.prod(self.config.beam), self.config.path_length

        def no_paths() -> Paths:
            nothing = tf.zeros([tf.size(user), several, steps + 1], tf.int32)
            low = tf.fill([tf.size(user), several], -math.inf)
            return Paths(nothing, nothing[..., 1:], low)

        paths = tf.cond(walk, lambda: self.search(user, scores), no_paths)
        return ranked(item_scores, paths, k)

    def lists(
        self, users: np.ndarray, history: sequences.Sequences, k: int, walk: bool = True
    ) -> Lists:
        """Lists of users, without the items of their histories.

        Args:
          users: int [B], rows of the training events.
          history: B rows.
          k: length of the lists.
          walk: whether paths are searched; without, all items stand in the order of f.
        """
        parts = []
        for part in self.parts_of(len(users)):
            rows = np.arange(len(users))[part]
            part_history = history.select(rows)
            blocked = np.zeros([len(rows), self.sizes.items], bool)
            blocked[part_history.rows, part_history.items - 1] = True
            parts.append(self._at_once(self.nodes_of(users[rows]), blocked, k, walk))
        return _concatenated(parts)

    def lists_of_nodes(self, nodes: np.ndarray, blocked: np.ndarray, k: int) -> Lists:
        """Lists of users by their nodes.

        Args:
          nodes: int [B]; 0 for a user whom the training events do not have.
          blocked: bool [B, N], items that may not be listed.
          k: length of the lists.
        """
        parts = self.parts_of(len(nodes))
        return _concatenated([self._at_once(nodes[p], blocked[p], k, True) for p in parts])

    def _at_once(self, nodes: np.ndarray, blocked: np.ndarray, k: int, walk: bool) -> Lists:
        lists = self._search(
            tf.constant(nodes, tf.int32),
            tf.constant(blocked),
            tf.constant(min(k, self.sizes.items)),
            tf.constant(walk),
        )
        return Lists(*(column.numpy() for column in lists))

    def neighbours(self, user: int) -> np.ndarray:
        """Items of a user's training events, dense ids.

        Args:
          user: row of the training events.
        """
        node = self.sizes.first_user + user
        first, end = self.edges.offsets[node : node + 2].numpy()
        return self.edges.tail[first:end].numpy()

    def nodes_of(self, users: np.ndarray) -> np.ndarray:
        """Nodes of user rows, int32 [B]."""
        return (self.sizes.first_user + np.asarray(users)).astype(np.int32)

    def parts_of(self, users: int) -> list[slice]:
        """Batches of users in which lists are made, by the memory of a search."""
        paths = math.prod(self.config.beam[:-1])
        each = max(paths * self.config.max_degree, self.sizes.nodes)
        size = max(1, _SCORES_AT_ONCE // each)
        return [slice(first, first + size) for first in range(0, users, size)]


def _concatenated(parts: list[Lists]) -> Lists:
    return Lists(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def ranked(scores: tf.Tensor, paths: Paths, k: tf.Tensor) -> Lists:
    """Items at the end of a path by their scores, then the other items by theirs. Graph code.

    Args:
      scores: f(u, i), float [B, N]; minus infinity for items that may not be listed.
      paths: of the users; a path that ends elsewhere counts for nothing.
      k: int32 scalar, length of the lists, at most N.

    Returns:
      Lists of tensors.
    """
    batch, items = tf.shape(scores)[0], scores.shape[1]
    end = paths.node[..., -1]  # [B, W]
    reached = tf.math.is_finite(paths.log_prob) & (end >= 1) & (end <= items)
    row = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(end))
    at = tf.stack([row, tf.where(reached, end, 0)], axis=2)  # [B, W, 2]
    hits = tf.scatter_nd(at, tf.cast(reached, tf.int32), [batch, items + 1])
    has_path = hits[:, 1:] > 0  # [B, N]
    with_path = tf.math.top_k(tf.where(has_path, scores, -math.inf), k)
    others = tf.math.top_k(tf.where(has_path, -math.inf, scores), k)
    both = tf.concat([with_path.values, others.values], axis=1)  # [B, 2K]
    item = tf.concat([with_path.indices, others.indices], axis=1) + 1
    listed = tf.math.is_finite(both)
    order = tf.argsort(tf.cast(~listed, tf.int32), axis=1, stable=True)[:, :k]
    both = tf.gather(both, order, batch_dims=1)  # [B, K]
    item = tf.where(tf.math.is_finite(both), tf.gather(item, order, batch_dims=1), 0)
    leads = reached[:, None] & (end[:, None] == item[..., None])  # [B, K, W]
    log_prob = tf.where(leads, paths.log_prob[:, None], -math.inf)
    best = tf.argmax(log_prob, axis=2, output_type=tf.int32)  # [B, K]
    explained = tf.reduce_any(leads, axis=2)
    path_node = tf.gather(paths.node, best, batch_dims=1)  # [B, K, L + 1]
    path_relation = tf.gather(paths.relation, best, batch_dims=1)
    return Lists(
        item,
        both,
        explained,
        tf.where(explained[..., None], path_node, 0),
        tf.where(explained[..., None], path_relation, 0),
        tf.reduce_max(log_prob, axis=2),
    )
