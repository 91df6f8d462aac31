"""The DIEN state tower (Zhou et al., AAAI 2019): encodes a user's history.

An interest extractor (GRU) reads the last H events. Attention weighs the resulting interests,
and an interest evolver (AUGRU) reads them again with its update gate scaled by these weights.
An auxiliary loss trains each hidden state to distinguish the next clicked item from a random
one.

In a two-tower model the state does not depend on the candidate, so the attention's query is the
interest after the latest event and not, as in DIEN, the candidate. A ranker of given candidates
may pass another query.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.nn import feedback as feedback_lib
from tfrec.nn import state_features
from tfrec.nn.crossed import CrossedFeatures
from tfrec.nn.item_embedding import ItemEmbedding
from tfrec.nn.recurrent import GatedRecurrence


class History(NamedTuple):
    """The encoded history; time first, as the recurrences read it.

    Attributes:
      state: float [B, S].
      interest: float [H, B, U], the extractor's states.
      embedding: float [H, B, D], the items' embeddings.
    """

    state: tf.Tensor
    interest: tf.Tensor
    embedding: tf.Tensor


class DienTower(tf.Module):
    """Encodes observations.

    Args:
      spec: the log's spec.
      items: e(i), shared with the action network.
      units: width of both recurrences.
      output: width of the state vector.
      crossed: buckets of hashed feature crosses in the state; 0 leaves them out.
    """

    def __init__(
        self,
        spec: types.DataSpec,
        items: ItemEmbedding,
        units: int,
        output: int,
        crossed: int = 0,
    ):
        super().__init__(name="dien")
        self.spec = spec
        self.items, self.item_embedding = items, items.ids
        embedding = items.width
        columns = len(spec.feedback)
        # item, feedback, whether it was clicked times item, whether it is of this session
        event = 2 * embedding + columns + 1
        self.extractor = GatedRecurrence(event, units, name="extractor")
        self.evolver = GatedRecurrence(units, units, name="evolver")
        dense = tf_keras.layers.Dense
        self.attention = dense(units, use_bias=False, name="attention")
        self.next_item = dense(embedding, name="next_item")
        self.output = dense(output, activation=tf.nn.leaky_relu, name="state")
        self.attention.build([None, units])
        self.next_item.build([None, units])
        self.crossed = CrossedFeatures(spec, crossed, embedding) if crossed else None
        self.features = state_features.of_spec(spec, embedding)
        # evolved and latest interest, mean clicked and mean shown item, step, mean feedback,
        # the bag of crosses, and the user's features
        bag = self.crossed.width if self.crossed else 0
        bag += self.features.width if self.features else 0
        self.output.build([None, 2 * units + 2 * embedding + 1 + columns + bag])

    def __call__(
        self, observation: types.Observation, query: tf.Tensor | None = None
    ) -> History:
        """Encodes B observations.

        Args:
          observation: B states.
          query: query of the attention, float [B, U]; None for the latest interest.
        """
        item = tf.transpose(observation.history_item)  # [H, B]; time first from here on
        mask = tf.cast(item != types.PAD, tf.float32)  # [H, B]
        embedding = self.items(item) * mask[..., None]  # [H, B, D]
        feedback = feedback_lib.compressed(
            tf.transpose(observation.history_feedback, [1, 0, 2]), self.spec
        )  # [H, B, F]
        clicked = feedback[..., :1]
        liked = embedding * clicked
        length = self.spec.history_length
        recent = tf.cast(
            tf.range(length)[:, None] >= length - observation.step, tf.float32
        )  # [H, B] 1 for events of this session
        event = tf.concat([embedding, liked, feedback, recent[..., None]], axis=-1)
        # The history ends at the last position, so the last state is the latest interest.
        interest, latest = self.extractor.run(event, mask, time_major=True)
        key = self.attention(latest if query is None else query)  # [B, U]
        logits = tf.reduce_sum(interest * key, axis=-1)  # [H, B]
        logits = logits / np.sqrt(self.extractor.units) - 1e9 * (1.0 - mask)
        attention = tf.nn.softmax(logits, axis=0)  # [H, B]
        # Weights that sum to 1 over H would freeze the evolver on long histories: scale so
        # that an average event has weight 1.
        count = tf.maximum(tf.reduce_sum(mask, axis=0), 1.0)  # [B]
        scaled = tf.minimum(attention * count, 1.0)
        _, evolved = self.evolver.run(interest, mask, scaled, time_major=True)
        session = recent * mask
        session_count = tf.maximum(tf.reduce_sum(session, axis=0), 1.0)  # [B]
        pooled = [
            tf.reduce_sum(liked, axis=0) / tf.maximum(tf.reduce_sum(clicked, axis=0), 1.0),
            tf.reduce_sum(embedding, axis=0) / count[:, None],
            tf.cast(observation.step, tf.float32)[:, None] / self.spec.max_steps,
            tf.reduce_sum(feedback * session[..., None], axis=0) / session_count[:, None],
        ]
        if self.crossed:
            pooled.append(self.crossed(observation))
        if self.features:
            pooled.append(self.features(observation))
        state = self.output(tf.concat([evolved, latest, *pooled], axis=-1))  # [B, S]
        return History(state, interest, embedding)

    def auxiliary_loss(
        self, observation: types.Observation, history: History, seed: tf.Tensor
    ) -> tf.Tensor:
        """DIEN's auxiliary loss (eq 5): interests classify the next click and a random item.

        Returns:
          Scalar, the mean over the positions whose next event is a click.
        """
        item = tf.transpose(observation.history_item)  # [H, B]
        clicked = tf.transpose(observation.history_feedback[:, 1:, 0]) > 0
        both_events = tf.logical_and(item[:-1] != types.PAD, item[1:] != types.PAD)
        weight = tf.cast(tf.logical_and(clicked, both_events), tf.float32)  # [H - 1, B]
        weight = tf.pad(weight, [[0, 1], [0, 0]])  # [H, B], nothing follows the last event
        predicted = self.next_item(history.interest)  # [H, B, D]
        # One random item for each row, shared by its positions.
        negative = tf.random.stateless_uniform(
            [tf.shape(item)[1]], seed, 1, self.spec.num_items + 1, tf.int32
        )
        other = self.items(negative)  # [B, D]
        next_embedding = tf.roll(history.embedding, -1, axis=0)  # [H, B, D]
        real = tf.reduce_sum(predicted * next_embedding, axis=-1)  # [H, B]
        fake = tf.reduce_sum(predicted * other, axis=-1)  # [H, B]
        loss = tf.nn.softplus(-real) + tf.nn.softplus(fake)  # [H, B]
        return tf.reduce_sum(loss * weight) / tf.maximum(tf.reduce_sum(weight), 1.0)
