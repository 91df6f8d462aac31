"""Rainbow's network: a distribution of the return for each item, duelling and noisy.

The logits of an item's K atoms are inner products of K projections of the state with the
item's vector. The loss needs them for one item of a state; the selection of an item needs
the order of the mean returns of all items, and a softmax over 51 atoms of 10,000 items costs
ten times as much as all other operations.

Rainbow's advantage stream has an output for each item and atom. A tilted one has a single
output A for each item, logits V_k(s) + t_k A(s, a) with t_k rising evenly over the atoms:
an exponential tilt of the state's distribution of the return. Its mean rises with A (the
derivative is the covariance of t and z), so the items' order is that of A, one matrix
product, and any mean within the support can be had for any item.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines.network import StateItemNetwork
from tfrec.nn import history_crosses
from tfrec.nn.noisy import NoisyLinear

# Logits that are worked on at once: a few MB, which stay in a processor's cache.
_BLOCK = 1 << 19
# An advantage of 1 moves the logits of the lowest and the highest atom apart by twice this.
_TILT = 3.0


class RainbowNetwork(StateItemNetwork):
    """State tower, item vectors and a head with K outputs for each item.

    With one output it is the value itself.

    Args:
      spec: the log's spec.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
      sizes: embedding, units, state, hidden and crossed of a `StateItemNetwork`.
      support: float [K], the atoms, equally spaced; saved with the weights.
      dueling: a value for the state and an advantage for each item (Wang et al. 2016).
      tilted: an item's advantage is one number, not one for each atom; only if dueling.
      noise: sigma_0 of the head's layers; 0 for none.
    """

    def __init__(
        self,
        spec: types.DataSpec,
        item_vectors: np.ndarray,
        sizes: dict[str, Any],
        support: np.ndarray,
        *,
        dueling: bool,
        tilted: bool,
        noise: float,
        name: str,
    ):
        atoms, state, hidden = len(support), sizes["state"], sizes["hidden"]
        super().__init__(spec, item_vectors, **sizes, outputs=atoms, name=name)
        self.support = tf.Variable(support, False, dtype=tf.float32, name="support")
        self.tilted = dueling and tilted and atoms > 1
        self._tilt = tf.constant(np.linspace(-_TILT, _TILT, atoms), tf.float32)  # [K]
        width = sizes["embedding"] if dueling else sizes["embedding"] + 1
        width *= 1 if self.tilted else atoms
        if self.tilted:  # a cross is a part of the advantage, as in a dueling network
            self.crosses = history_crosses.of_items(self.items, state, 1)
        self.head = [
            NoisyLinear(state, hidden, noise, "head"),
            NoisyLinear(hidden, width, noise, "advantage" if dueling else "value"),
        ]
        if dueling:  # advantages are taken against their mean: a bias of all items cancels
            embedding = sizes["embedding"]
            centred = tf_keras.layers.Dense(embedding, use_bias=False)
            centred.build([None, embedding])
            self.item_net = [self.item_net[0], centred]
        self.value_head = [
            NoisyLinear(state, hidden, noise, "value_head"),
            NoisyLinear(hidden, atoms, noise, "value"),
        ] * dueling

    def queries(self, state: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """K projections of each state, float [B, K, D + 1 + C].

        Duelling logits are V_k(s) + A_k(s, a) - mean over a' of A_k(s, a'). As A_k(s, a) =
        q_k . x_a, that mean is q_k . x with x the mean of the candidates' vectors: it goes
        into what the projection adds to each item, exactly.

        Args:
          state: that of `encode`.
          seed: int32 [2] of the layers' noise; None for the mean weights.
        """
        state, crossed = self.split(state)
        seeds: list[tf.Tensor | None] = [None] * 4
        if seed is not None:
            seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
        query = _through(self.head, state, seeds[:2])
        if self.tilted:
            query = self._tilt[:, None] * query[:, None, :]  # [B, K, D]
            crossed = [self._tilt[:, None] * part for part in crossed]  # [B, K, C]
        else:
            query = tf.reshape(query, [-1, self.outputs, query.shape[-1] // self.outputs])
        if not self.value_head:
            return tf.concat([query, *crossed], axis=-1)
        value = _through(self.value_head, state, seeds[2:])  # [B, K]
        mean = tf.reduce_mean(self.item_vectors(), axis=0)  # [D + 1 + C]
        width = query.shape[-1]
        constant = value - tf.linalg.matvec(query, mean[:width])  # [B, K]
        for part in crossed:
            constant -= tf.linalg.matvec(part, mean[width + 1 :])
        return tf.concat([query, constant[..., None], *crossed], axis=-1)

    def logits(
        self, state: tf.Tensor, item: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The atoms' logits of one item for each state, float [B, K].

        Args:
          state: that of `encode`.
          item: int32 [B].
          seed: int32 [2] of the layers' noise; None for the mean weights.
        """
        query = self.queries(state, seed)
        return tf.einsum("bkd,bd->bk", query, self.item_vectors(item))

    def scores(self, state: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """What ranks the candidates: rises with the expected return; without a gradient.

        It is the expected return itself unless the network is tilted.

        Args:
          state: that of `encode`.
          seed: int32 [2] of the layers' noise; None for the mean weights.

        Returns:
          Float [B, A].
        """
        query = tf.stop_gradient(self.queries(state, seed))
        items = tf.stop_gradient(self.item_vectors())  # [A, D + 1 + C]
        if self.tilted or self.outputs == 1:  # the highest atom's logit; the value
            return tf.matmul(query[:, -1], items, transpose_b=True)
        # All logits together would be gigabytes: some states at a time.
        rows = max(1, _BLOCK // (self.outputs * items.shape[0]))
        parts = (tf.shape(query)[0] + rows - 1) // rows
        # Sums over the atoms of exp and of exp * z, as one product.
        sums = tf.stack([tf.ones_like(self.support), self.support])  # [2, K]

        def add(part: tf.Tensor, means: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            block = query[part * rows : (part + 1) * rows]  # [R, K, D + 1 + C]
            flat = tf.reshape(block, [-1, items.shape[1]])  # [R * K, D + 1 + C]
            logits = tf.matmul(flat, items, transpose_b=True)
            logits = tf.reshape(logits, [-1, self.outputs, items.shape[0]])  # [R, K, A]
            weight = tf.exp(logits - tf.reduce_max(logits, axis=1, keepdims=True))
            pair = tf.einsum("jk,rka->jra", sums, weight)
            return part + 1, means.write(part, pair[1] / pair[0])

        shape = [None, items.shape[0]]
        means = tf.TensorArray(tf.float32, parts, infer_shape=False, element_shape=shape)
        _, means = tf.while_loop(
            lambda part, _: part < parts, add, (0, means), parallel_iterations=1
        )
        return tf.ensure_shape(means.concat(), shape)


def _through(
    layers: list[NoisyLinear], value: tf.Tensor, seeds: list[tf.Tensor | None]
) -> tf.Tensor:
    """Two layers with a leaky rectifier between them."""
    return layers[1](tf.nn.leaky_relu(layers[0](value, seeds[0])), seeds[1])
