"""CauseRec: contrastive learning of user vectors from counterfactual concepts.

Zhang et al., CauseRec: Counterfactual User Sequence Synthesis for Sequential Recommendation,
SIGIR 2021. A row's events x_1..x_n become K concepts by self-attention (that of ComiRec-SA),

    C = softmax(W_2 tanh(W_1 (X + positions)^T)) X,

and the user's vector is a network of the mean concept. The concepts nearest to the next item
are indispensable to it. Replacing them by concepts of other users, from a memory bank, makes a
negative counterfactual user; replacing the dispensable ones makes a positive one. The losses,
beside that of the prediction:

    L_co = mean max(0, |u - u+| - |u - u-| + margin)                       (user and user)
    L_ii = mean (1 - cos(u+, y)) + mean max(0, cos(u-, y) - item_margin)   (user and item)

A window of a user is one example, with its last event as the next item. With `crop=prefixes`, a
window ends at each event of the user, as in the authors' code.
"""

from __future__ import annotations

import tensorflow as tf

from tfrec.baselines.sequential import batches, next_item_model
from tfrec.baselines.sequential.config import CauseRecConfig


class CauseRec(next_item_model.CatalogueModel):
    """The network, its memory bank and its losses.

    Args:
      config: sizes and losses.
      num_items: N.
      seed: of the initial weights.
    """

    config: CauseRecConfig

    def __init__(self, config: CauseRecConfig, num_items: int, seed: int):
        super().__init__(config, num_items, seed, "causerec")
        width, hidden, numbers = config.width, config.hidden, iter(range(1, 100))

        def kernel(shape: list[int], name: str) -> tf.Variable:
            drawn = next_item_model.normal(shape, seed, next(numbers), name)
            drawn.assign(drawn * 50.0 / shape[0] ** 0.5)  # variance 1 / inputs
            return drawn

        self.positions = next_item_model.normal(
            [config.length, width], seed, next(numbers), "positions"
        )
        self.w_1 = kernel([width, hidden], "w_1")
        self.w_2 = kernel([hidden, config.concepts], "w_2")
        sizes = [width, hidden, hidden, width]
        self.kernels = [
            kernel([before, after], f"kernel_{i}")
            for i, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False))
        ]
        self.biases = [
            tf.Variable(tf.zeros([size]), name=f"bias_{i}") for i, size in enumerate(sizes[1:])
        ]
        memory = next_item_model.normal([config.bank, width], seed, next(numbers), "bank")
        self.bank = tf.Variable(memory, trainable=False, name="bank")

    def users(self, inputs: batches.Inputs) -> tf.Tensor:
        return self.user_vectors(self.concepts(inputs))

    def concepts(self, inputs: batches.Inputs) -> tf.Tensor:
        """Concepts of each row, float [B, K, D]."""
        x = self.embedded(inputs.item)  # [T, D]
        placed = x + tf.gather(self.positions, inputs.place)
        logits = tf.tanh(placed @ self.w_1) @ self.w_2  # [T, K]
        rows = tf.size(inputs.last)
        row = tf.searchsorted(inputs.last, tf.range(tf.shape(x)[0]))  # [T]
        top = tf.math.unsorted_segment_max(logits, row, rows)  # [B, K]
        powers = tf.exp(logits - tf.stop_gradient(tf.gather(top, row)))
        total = tf.math.unsorted_segment_sum(powers, row, rows)  # [B, K]
        weighted = powers[:, :, None] * x[:, None]  # [T, K, D]
        return tf.math.unsorted_segment_sum(weighted, row, rows) / total[:, :, None]

    def user_vectors(self, concepts: tf.Tensor) -> tf.Tensor:
        """User vectors float [..., D] of concepts [..., K, D]."""
        x = tf.reduce_mean(concepts, axis=-2)
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = tf.nn.relu(tf.tensordot(x, kernel, 1) + bias)
        return tf.tensordot(x, self.kernels[-1], 1) + self.biases[-1]

    def loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        config = self.config
        concepts = self.concepts(batch.inputs)  # [B, K, D]
        user = self.user_vectors(concepts)  # [B, D]
        target = tf.gather(batch.target, batch.inputs.last)  # [B]
        rows = tf.range(tf.shape(user)[0])
        loss = self.prediction_loss(user, target, rows, batch, seed)
        if config.user_weight or config.item_weight:
            item = self.embedded(target)  # [B, D]
            needed = most_similar(concepts, item, config.indispensable)  # [B, K]
            positive = self._counterfactual(
                concepts, ~needed, config.positive_users, seed + [0, 1]
            )
            negative = self._counterfactual(
                concepts, needed, config.negative_users, seed + [0, 2]
            )
            loss += config.user_weight * triplet(user, positive, negative, config.margin)
            loss += config.item_weight * item_contrast(
                item, positive, negative, config.item_margin
            )
        self._remember(concepts, seed + [0, 3])
        return loss

    def _counterfactual(
        self, concepts: tf.Tensor, replaced: tf.Tensor, count: int, seed: tf.Tensor
    ) -> tf.Tensor:
        """Vectors of users with some concepts replaced from the bank, float [B, count, D].

        Args:
          concepts: float [B, K, D].
          replaced: bool [B, K].
          count: counterfactual users of each user.
          seed: int32 [2].
        """
        rows, size = tf.shape(concepts)[0], self.config.concepts
        drawn = tf.random.stateless_uniform(
            [rows, count, size], seed, 0, self.config.bank, tf.int32
        )
        others = tf.gather(self.bank, drawn)  # [B, count, K, D]
        mixed = tf.where(replaced[:, None, :, None], others, concepts[:, None])
        return self.user_vectors(mixed)

    def _remember(self, concepts: tf.Tensor, seed: tf.Tensor) -> None:
        """Puts one concept of each user in the place of the oldest of the bank."""
        rows = tf.shape(concepts)[0]
        which = tf.random.stateless_uniform([rows], seed, 0, self.config.concepts, tf.int32)
        fresh = tf.stop_gradient(tf.gather(concepts, which, batch_dims=1))  # [B, D]
        self.bank.assign(tf.concat([fresh, self.bank], axis=0)[: self.config.bank])


def most_similar(concepts: tf.Tensor, item: tf.Tensor, share: float) -> tf.Tensor:
    """Which concepts have the largest products with an item.

    Args:
      concepts: float [B, K, D].
      item: float [B, D].
      share: of the K concepts, rounded; at least one and not all of them.

    Returns:
      bool [B, K].
    """
    size = concepts.shape[1]
    count = min(max(1, round(share * size)), size - 1)
    scores = tf.linalg.matvec(concepts, item)  # [B, K]
    best = tf.math.top_k(scores, count).indices  # [B, count]
    return tf.reduce_any(tf.one_hot(best, size, on_value=True, off_value=False), axis=1)


def triplet(
    user: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor, margin: float
) -> tf.Tensor:
    """L_co: a user is nearer to each positive than to each negative, by a margin.

    Args:
      user: float [B, D].
      positive: float [B, P, D].
      negative: float [B, M, D].
      margin: in Euclidean distance.
    """
    near, far = _distance(user, positive), _distance(user, negative)  # [B, P], [B, M]
    return tf.reduce_mean(tf.nn.relu(near[:, :, None] - far[:, None, :] + margin))


def item_contrast(
    item: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor, margin: float
) -> tf.Tensor:
    """L_ii: positives point where the next item does, negatives do not.

    Args:
      item: float [B, D].
      positive: float [B, P, D].
      negative: float [B, M, D].
      margin: the cosine below which negatives cost nothing.
    """
    pull = tf.reduce_mean(1.0 - _cosine(item, positive))
    return pull + tf.reduce_mean(tf.nn.relu(_cosine(item, negative) - margin))


def _distance(one: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    # The added number keeps the gradient finite where two vectors are equal.
    return tf.sqrt(tf.reduce_sum(tf.square(others - one[:, None]), axis=-1) + 1e-12)


def _cosine(one: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(
        tf.math.l2_normalize(others, axis=-1) * tf.math.l2_normalize(one, axis=-1)[:, None],
        axis=-1,
    )
