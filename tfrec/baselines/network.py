"""Networks of the baselines: the state tower, the item side and the candidate set.

Each item's K outputs are an inner product of a projection of the state with the item's
vector, so that all candidates of a batch of states cost one matrix product, and the next
item's maximum over ten thousand candidates stays affordable. Crosses of the history with the
item, where columns declare them, are further columns of both (`tfrec.nn.history_crosses`).
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.nn import history_crosses, networks
from tfrec.nn.dien import DienTower, History
from tfrec.nn.item_embedding import ItemEmbedding


class StateItemNetwork(tf.Module):
    """State tower, item vectors and a head with K outputs for each item.

    Args:
      spec: the log's spec; its candidates are the items that get scores.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
      embedding: D, width of an item embedding.
      units: width of the state tower's recurrences.
      state: S, width of the state vector.
      hidden: width of the head's hidden layer.
      crossed: buckets of hashed feature crosses in the state; 0 leaves them out.
      outputs: K.
      noise: deviation of the normal noise on the embeddings' start.
      tower: class of the state encoder, with the arguments of a DienTower.
    """

    def __init__(
        self,
        spec: types.DataSpec,
        item_vectors: np.ndarray,
        *,
        embedding: int,
        units: int,
        state: int,
        hidden: int,
        crossed: int = 0,
        outputs: int = 1,
        noise: float = 0.05,
        tower: Callable[..., tf.Module] = DienTower,
        name: str = "network",
    ):
        super().__init__(name=name)
        self.spec, self.outputs = spec, outputs
        start = tf.random.normal([spec.num_items + 1, embedding], stddev=noise)
        self.items = ItemEmbedding(spec, item_vectors[:, :embedding] + start)
        self.item_embedding = self.items.ids
        self.tower = tower(spec, self.items, units, state, crossed=crossed)
        dense = tf_keras.layers.Dense
        self.item_net = networks.stack(
            embedding, [dense(embedding, activation=tf.nn.leaky_relu), dense(embedding)]
        )
        self.head = networks.stack(
            state,
            [dense(hidden, activation=tf.nn.leaky_relu), dense(outputs * (embedding + 1))],
        )
        self.crosses = history_crosses.of_items(self.items, state, outputs)

    def encode(self, observation: types.Observation, query: tf.Tensor | None = None) -> History:
        """The state side, computed once for all items.

        Args:
          observation: B states.
          query: query of a DienTower's attention; None for its own.

        Returns:
          The tower's result; `.state` is float [B, S], followed by the history's side of the
          crosses if there are any.
        """
        history = self.tower(observation, *(() if query is None else (query,)))
        if self.crosses is None:
            return history
        side = self.crosses.history(observation)  # [B, C, P]
        side = tf.reshape(side, [-1, side.shape[1] * side.shape[2]])  # [B, C * P]
        return history._replace(state=tf.concat([history.state, side], axis=-1))

    def item_vectors(self, item: tf.Tensor | None = None) -> tf.Tensor:
        """An item's vector with a 1 appended, the bias of each state, and C columns of crosses.

        Args:
          item: int32 [...]; None for all candidates, 1..A.

        Returns:
          float [..., D + 1 + C], or [A, D + 1 + C].
        """
        end = self.spec.num_candidates + 1
        vector = self.items.rows(1, end) if item is None else self.items(item)
        vector = networks.apply(self.item_net, vector)
        parts = [vector, tf.ones_like(vector[..., :1])]
        if self.crosses is not None:
            parts.append(self.crosses.vectors(tf.range(1, end) if item is None else item))
        return tf.concat(parts, axis=-1)

    def queries(self, state: tf.Tensor) -> tf.Tensor:
        """K projections of each state, float [B, K, D + 1 + C]; state is that of `encode`."""
        encoded, crossed = self.split(state)
        query = networks.apply(self.head, encoded)  # [B, K * (D + 1)]
        query = tf.reshape(query, [-1, self.outputs, query.shape[-1] // self.outputs])
        return tf.concat([query, *crossed], axis=-1)

    def split(self, state: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The tower's state, float [B, S], and queries of the crosses, [[B, K, C]] or []."""
        if self.crosses is None:
            return state, []
        side = self.crosses.width * len(history_crosses.PARTS)
        encoded = state[:, :-side]
        history = tf.reshape(
            state[:, -side:], [-1, self.crosses.width, len(history_crosses.PARTS)]
        )  # [B, C, P]
        return encoded, [self.crosses.query(history, self.crosses.weights(encoded))]

    def all_values(self, state: tf.Tensor) -> tf.Tensor:
        """The outputs of all candidates, float [B, A, K]; state is that of `encode`."""
        return tf.einsum("bkd,ad->bak", self.queries(state), self.item_vectors())

    def values(self, state: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """The outputs of one item for each state, float [B, K]; item is int32 [B]."""
        return tf.einsum("bkd,bd->bk", self.queries(state), self.item_vectors(item))
