"""CASR: counterfactual sequences added to the training of STAMP or SASRec.

Wang et al., Counterfactual Data-Augmented Sequential Recommendation, SIGIR 2021. An anchor
model recommends; a sampler, a second model of the same kind, predicts the user's next item for
a history with one item replaced. In each row of a batch one event d is replaced, in one of
three ways:

    random   by an item of the catalogue at random                    (heuristic sampler)
    data     by the item nearest to e_d + delta, where delta is a small change of the event's
             embedding that makes the sampler doubt its prediction:
             min |delta|^2 + alpha log p_S(t | e_d + delta)           (data-oriented sampler)
    model    the same, with the anchor's loss of the event t that really follows:
             min |delta|^2 - alpha loss_A(t | e_d + delta)            (model-oriented sampler)

With t' the item that the sampler predicts after the changed history, the anchor learns
(history, t') beside the real data where the sampler's probability of t' is above a threshold,
and (ours) among the highest `kept` of the batch: no prediction among thousands of items reaches
a threshold that suits a hundred.

The paper trains the sampler first, writes one set of counterfactual sequences and trains the
anchor again. Here sampler and anchor are trained together, counterfactuals begin after
`warm_up` epochs, and each batch has new ones. delta is the result of `steps` steps of gradient
descent of length `step_size` each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.baselines.sequential import batches, next_item_model, sasrec, stamp
from tfrec.baselines.sequential.config import CasrSasrecConfig, CasrStampConfig
from tfrec.data import sequences


class Casr(tf.Module):
    """The anchor, the sampler and their losses.

    Args:
      anchor: class of anchor and sampler, makes a model of (config, num_items, seed).
      config: of both, and of the counterfactuals.
      num_items: N.
      seed: of the anchor's initial weights, which are those of the anchor's method.
    """

    def __init__(
        self,
        anchor: Callable[[Any, int, int], next_item_model.NextItemModel],
        config: Any,
        num_items: int,
        seed: int,
    ):
        super().__init__(name="casr")
        self.config = config
        self.anchor = anchor(config, num_items, seed)
        if config.counterfactual_weight:
            self.sampler = anchor(config, num_items, seed + 1)
            self.begun = tf.Variable(not config.warm_up, trainable=False, name="begun")

    def begin_epoch(self, number: int) -> None:
        """Begins with the counterfactuals after the warm-up."""
        if self.config.counterfactual_weight:
            self.begun.assign(number >= self.config.warm_up)

    def read_features(self, sizes: types.FeatureSpec) -> None:
        """Adds embeddings of the items' features; see `CatalogueModel.read_features`."""
        self.anchor.read_features(sizes)
        if self.config.counterfactual_weight:
            self.sampler.read_features(sizes)

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """The anchor's scores of the catalogue for each history, float32 [V, N]."""
        return self.anchor.scores(history)

    def scores_of(self, inputs: batches.Inputs) -> tf.Tensor:
        """The anchor's scores for packed inputs, float [B, N]. Graph code."""
        return self.anchor.scores_of(inputs)

    def loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        """Mean loss of the anchor on real and counterfactual rows, and of the sampler."""
        loss = self.anchor.loss(batch, seed)
        if not self.config.counterfactual_weight:
            return loss
        # Another seed than that of the anchor, so that its random numbers do not change.
        loss += self.sampler.loss(batch, seed + [1, 0])
        return loss + self.config.counterfactual_weight * tf.cond(
            self.begun,
            lambda: self.counterfactual_loss(batch, seed + [2, 0]),
            lambda: tf.constant(0.0),
        )

    def counterfactual_loss(self, batch: batches.Batch, seed: tf.Tensor) -> tf.Tensor:
        """Mean loss of the anchor on the counterfactual rows that are used; 0 if none is."""
        inputs, target, used = self.counterfactuals(batch, seed)
        rows = tf.range(tf.size(target))
        # The sampler's prediction is no negative of its row.
        predictions = tf.stack([rows, target - 1], axis=1)
        user_items = tf.concat([batch.user_items, predictions], axis=0)
        # A mean needs a row: if no row is used, the mean of all rows has weight 0.
        any_used = tf.reduce_any(used)
        selected = used | ~any_used
        hidden = self.anchor.hidden(inputs, seed)  # [T, D]
        loss = self.anchor.prediction_loss(
            tf.gather(hidden, tf.boolean_mask(inputs.last, selected)),
            tf.boolean_mask(target, selected),
            tf.boolean_mask(rows, selected),
            batch._replace(inputs=inputs, user_items=user_items),
            seed + [0, batches.DRAWS],
        )
        return loss * tf.cast(any_used, tf.float32)

    def counterfactuals(
        self, batch: batches.Batch, seed: tf.Tensor
    ) -> tuple[batches.Inputs, tf.Tensor, tf.Tensor]:
        """Rows with one event replaced, and the sampler's predictions of the next event.

        Args:
          batch: the rows.
          seed: int32 [2].

        Returns:
          The changed rows; the prediction, int32 [B]; whether its probability reaches the
          threshold and is among the highest, bool [B].
        """
        inputs, config = batch.inputs, self.config
        place = batches.drawn_places(inputs.last, seed + [3, 0])  # [B]
        old = tf.gather(inputs.item, place)  # [B]
        if config.replacement == "random":
            # Any item but the one that is there.
            by = tf.random.stateless_uniform(
                tf.shape(old), seed + [4, 0], 1, self.anchor.num_items, tf.int32
            )
            new = (old - 1 + by) % self.anchor.num_items + 1
        else:
            model = self.sampler if config.replacement == "data" else self.anchor
            new = nearest_other(self._changed(model, batch, place), model.catalogue(), old)
        item = tf.tensor_scatter_nd_update(inputs.item, place[:, None], new)
        changed = inputs._replace(item=item)
        scores = tf.stop_gradient(self.sampler.scores_of(changed))  # [B, N]
        target = tf.argmax(scores, axis=1, output_type=tf.int32) + 1
        chance = tf.reduce_max(tf.nn.softmax(scores), axis=1)
        return changed, target, surest(chance, config.kept) & (chance >= config.confidence)

    def _changed(
        self, model: next_item_model.NextItemModel, batch: batches.Batch, place: tf.Tensor
    ) -> tf.Tensor:
        """e_d + delta of the event that is replaced in each row, float [B, D]."""
        config, inputs = self.config, batch.inputs
        table = tf.stop_gradient(model.catalogue())
        x = tf.gather(table, inputs.item - 1)  # [T, D]
        start = tf.gather(x, place)  # [B, D]
        length = config.step_size * tf.norm(start, axis=1, keepdims=True)
        scores = tf.stop_gradient(model.scores_of(inputs))
        predicted = tf.argmax(scores, axis=1, output_type=tf.int32) + 1
        target = (
            predicted if config.replacement == "data" else tf.gather(batch.target, inputs.last)
        )
        delta = tf.zeros_like(start)
        for _ in range(config.steps):
            with tf.GradientTape() as tape:
                tape.watch(delta)
                hidden = model.contextual(
                    tf.tensor_scatter_nd_add(x, place[:, None], delta), inputs, None
                )
                logits = tf.matmul(tf.gather(hidden, inputs.last), table, transpose_b=True)
                objective = tf.reduce_sum(tf.square(delta)) - config.alpha * tf.reduce_sum(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(target - 1, logits)
                )
            slope = tape.gradient(objective, delta)
            delta -= length * tf.math.l2_normalize(slope, axis=1)
        return tf.stop_gradient(start + delta)


def casr_stamp(config: CasrStampConfig, num_items: int, seed: int) -> Casr:
    """CASR with STAMP as its anchor and sampler; arguments as in `Casr`."""
    return Casr(stamp.Stamp, config, num_items, seed)


def casr_sasrec(config: CasrSasrecConfig, num_items: int, seed: int) -> Casr:
    """CASR with SASRec as its anchor and sampler; arguments as in `Casr`."""
    return Casr(sasrec.Sasrec, config, num_items, seed)


def surest(chance: tf.Tensor, share: float) -> tf.Tensor:
    """Whether a row is among this share of them, rounded up, with the highest chances.

    Args:
      chance: float [B], at least one.
      share: of the rows, above 0; rows as likely as the last one of them are among them.

    Returns:
      bool [B].
    """
    count = tf.cast(tf.math.ceil(share * tf.cast(tf.size(chance), tf.float32)), tf.int32)
    return chance >= tf.math.top_k(chance, count).values[-1]


def nearest_other(vectors: tf.Tensor, items: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
    """The item with the embedding nearest to a vector, except a given item; int32 [B].

    Args:
      vectors: float [B, D].
      items: float [N, D], embeddings.
      item: int32 [B], dense ids that are not answered.
    """
    squares = tf.reduce_sum(tf.square(items), axis=1)
    distance = squares - 2.0 * tf.matmul(vectors, items, transpose_b=True)  # [B, N], - |v|^2
    excluded = tf.one_hot(item - 1, tf.shape(items)[0], on_value=np.inf, off_value=0.0)
    return tf.argmin(distance + excluded, axis=1, output_type=tf.int32) + 1
