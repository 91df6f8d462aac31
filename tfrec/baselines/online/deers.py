"""DEERS online: positive and negative feedback are separate parts of the state.

Zhao et al., "Recommendations with Negative Feedback via Pairwise Deep Reinforcement Learning",
KDD 2018. There Q(s+, s-, a) reads the last N items clicked and the last N skipped with two
GRUs, and items of one category with different feedback are pushed apart. The state that all
methods share here does not list shown and skipped items, so:
- The two histories are read from the columns of the observation that the simulator declares
  for each of the D item features (RecSim's interests and watched documents, RecoGym's views):
  the N features with the largest positive sums over their columns are the positive history, and
  those with the largest negative sums the negative one, the strongest last; RecoGym has no
  negatives.
- The term alpha (Q(s, a) - Q(s, a^C))^2 is removed: a^C is an item of the same category with
  the other feedback, and neither categories nor clicked items are observed.
Our choice: a slate is the k items of the highest Q, and its value is their mean, because the
reward is that of the slate. Continuous actions have no items, and a simulator without declared
columns has no histories: ValueError.
"""

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec.baselines.online import base, item_q, items
from tfrec.baselines.online.config import DeersConfig
from tfrec.environments import contract
from tfrec.ops import selection, target_networks


def histories(
    observation: tf.Tensor, columns: np.ndarray, length: int
) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The positive and the negative history: rows float [B, N, C + D] and which are there.

    A row is the observation's C numbers of a feature and its one-hot number; bool [B, N] says
    whether there is one. The strongest comes last.

    Args:
      observation: float [B, O].
      columns: int [C, D], see `contract.Simulator.feature_columns`.
      length: N, at most D.
    """
    features = columns.shape[1]
    rows = tf.gather(observation, columns.T, axis=1)  # [B, D, C]
    strength = tf.reduce_sum(rows, axis=2)  # [B, D]
    parts = []
    for sign in (1.0, -1.0):
        top = tf.math.top_k(sign * strength, length)
        number = tf.reverse(top.indices, [1])  # [B, N]
        values = tf.gather(rows, number, batch_dims=1)  # [B, N, C]
        entries = tf.concat([values, tf.one_hot(number, features)], axis=2)
        parts.append((entries, tf.reverse(top.values, [1]) > 0))
    return parts[0], parts[1]


class PairwiseQ(tf.Module):
    """Q(s+, s-, a).

    Args:
      method: the method, for its sizes.
      columns: int [C, D], see `contract.Simulator.feature_columns`.
      name: of the module.
    """

    def __init__(self, method: item_q.ItemQ, columns: np.ndarray, name: str):
        super().__init__(name=name)
        config, seeds = method.config, method.weight_seeds()
        assert isinstance(config, DeersConfig)
        count, features = columns.shape
        self._columns, self._length = columns, min(config.history, features)
        self.readers = []
        for part in ("positive", "negative"):
            reader = tf_keras.layers.GRU(
                config.units,
                unroll=True,  # a loop in the loop of updates costs ten times as much
                kernel_initializer=tf_keras.initializers.GlorotUniform(seed=next(seeds)),
                recurrent_initializer=tf_keras.initializers.Orthogonal(seed=next(seeds)),
                name=part,
            )
            reader.build((None, self._length, count + features))
            self.readers.append(reader)
        inputs = method.observation_size + config.units * len(self.readers)
        self.of_item = items.Scores(
            inputs, features, config.hidden, config.width, seeds, "of_item"
        )

    def state(self, seen: tf.Tensor, observation: tf.Tensor) -> tf.Tensor:
        """The encoded observation with s+ and s-, float [B, S]."""
        both = histories(observation, self._columns, self._length)
        read = [
            reader(entries, mask=there)
            for reader, (entries, there) in zip(self.readers, both, strict=True)
        ]
        return tf.concat([seen, *read], axis=1)


class Deers(item_q.ItemQ):
    """DEERS; arguments as in `item_q.ItemQ`.

    Raises:
      ValueError: if the simulator asks for a continuous action, or declares no columns of
        item features.
    """

    config: DeersConfig

    def __init__(self, config: DeersConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        columns = simulator.feature_columns
        if columns is None:
            raise ValueError(
                "DEERS reads which item features the user likes and dislikes; "
                f"{type(simulator).__name__} declares no feature_columns of its observations"
            )
        self.values = PairwiseQ(self, columns, "values")
        self.target_network = PairwiseQ(self, columns, "slow")
        self.set_parts(value=self.values.trainable_variables)
        target_networks.soft_update(self.target_network.variables, self.values.variables, 1.0)

    def _all(self, q: PairwiseQ, observation: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return q.of_item(q.state(self.adapter.encode(observation), observation), features)

    def ranks(self, observation: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return self._all(self.values, observation, features)

    def gradients(
        self, rows: dict[str, tf.Tensor]
    ) -> tuple[dict[str, base.LossGradients], dict[str, tf.Tensor]]:
        after = self._all(
            self.target_network, rows["next_observation"], self.next_features(rows)
        )
        after = selection.available(after, self.next_blocked(rows))
        most = tf.math.top_k(after, self.slate_size).values  # [B, k]
        target = rows["reward"] + rows["discount"] * tf.reduce_mean(most, axis=1)
        observation = rows["observation"]
        with tf.GradientTape() as tape:
            state = self.values.state(self.adapter.encode(observation), observation)
            shown = self.of_slate(self.values.of_item, state, rows)  # [B, k]
            expected = tf.reduce_mean(shown, axis=1)
            loss = tf.reduce_mean(tf.math.squared_difference(expected, target))
        return {"value": base.loss_gradients(tape, loss, self._parts()["value"])}, {}

    def after_update(self) -> None:
        target_networks.soft_update(
            self.target_network.variables, self.values.variables, self.config.tau
        )
