"""GoalRec's world model without its inputs: M(s, a, g) = V(s, g) + A(s, g, a) (Figure 3).

The module has the goal network, the value and advantage streams, log sigma^2 and the losses.
A subclass adds a state encoder and item vectors: `world_model` for the item ids of a log,
`online_model` for the observations and item features of a live simulator.

The model has two towers: the state and goal side is computed once for a request, the item
side once for a catalogue. There are two advantage heads:

  mlp       the paper's: a fully connected network of [S, G, E(a)]
  bilinear  A_j(s, g, a) = P_j(s, g) . E(a): then g . A = (sum_j g_j P_j) . E(a) is an
            inner product of one query with an item vector, so that ranking a
            catalogue is a maximum inner product search
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from tfgoalrec import losses
from tfgoalrec.stream_config import StreamConfig
from tfrec.nn.history_crosses import HistoryCrosses
from tfrec.nn.networks import apply, stack

_CHUNK = 1024  # items in a block of the mlp head; bounds memory at B x 1024 x stream


class Code(NamedTuple):
    """The encoded state and goal of a request; computed once, then combined with each item.

    Attributes:
      joint: float [B, S + G], the state vector beside the goal vector.
      history: output of the state encoder, for the auxiliary loss of `world_model`.
      crosses: `HistoryCrosses.history`, float [B, C, P]; () without crosses.
    """

    joint: tf.Tensor
    history: Any
    crosses: Any = ()


class MeasurementModel(tfrs.Model):
    """Predicts the standardised measurements of a user's future under a goal.

    Args:
      config: widths, the advantage head and the loss weights.
      size: int [J], columns of each measurement; M = their sum.
      tower: the state encoder, from observations to an object with `state`, float [B, S].
      state: S.
      item_input: width of the input of E(a).
    """

    config: StreamConfig

    def __init__(
        self,
        config: StreamConfig,
        size: np.ndarray,
        tower: Callable[[Any], Any],
        state: int,
        item_input: int,
    ):
        super().__init__(name="world_model")
        dim = int(np.sum(size))
        self.config, self.dim = config, dim
        self.measurement_of = np.repeat(np.arange(len(size)), size)  # [M]
        # The optimiser projects it onto its bounds after each update. A clip inside the loss
        # has no gradient outside the bounds, so the variable could not return.
        bound = config.log_variance_bound
        self.log_variance = tf.Variable(
            tf.zeros([len(size)]),
            name="log_variance",
            constraint=lambda value: tf.clip_by_value(value, -bound, bound),
        )
        self.bilinear = config.advantage == "bilinear"
        # Linear terms of the advantage, see `item_vectors` of a subclass.
        self.item_effect: tf.Variable | None = None
        self.crosses: HistoryCrosses | None = None
        c, dense, leaky = config, tf_keras.layers.Dense, tf.nn.leaky_relu
        self.tower = tower
        joint = state + c.goal_units
        self.goal_net = stack(dim, [dense(c.goal_units, activation=leaky) for _ in range(2)])
        self.value_net = stack(joint, [dense(c.stream, activation=leaky), dense(dim)])
        # E(a); its last element is 1 so that the bilinear head has a bias for each state.
        self.item_net = stack(
            item_input, [dense(c.item_vector, activation=leaky), dense(c.item_vector)]
        )
        if self.bilinear:
            width = dim * (c.item_vector + 1)
            self.projection = stack(joint, [dense(c.stream, activation=leaky), dense(width)])
        else:
            # The first layer of the network of [S, G, E], split into its two halves.
            self.state_half = stack(joint, [dense(c.stream)])
            self.item_half = stack(c.item_vector + 1, [dense(c.stream, use_bias=False)])
            self.advantage_out = stack(c.stream, [dense(dim)])

    def encode(
        self, observation: Any, goal: tf.Tensor, dropout_seed: tf.Tensor | None = None
    ) -> Code:
        """Encodes states and goals.

        Args:
          observation: s, input of the state encoder, [B, ...].
          goal: g, unit length, float [B, M].
          dropout_seed: int32 [2] while training; None switches dropout off.
        """
        history = self.tower(observation)
        goal = goal if self.config.use_goal else tf.zeros_like(goal)
        state = history.state
        if dropout_seed is not None and self.config.dropout:
            state = tf.nn.experimental.stateless_dropout(
                state, self.config.dropout, dropout_seed
            )
        return Code(tf.concat([state, apply(self.goal_net, goal)], axis=-1), history)

    def value(self, code: Code) -> tf.Tensor:
        """Returns V(s, g), the mean measurements under the behaviour policy, [B, M]."""
        return apply(self.value_net, code.joint)

    def encoded_items(self, features: tf.Tensor) -> tf.Tensor:
        """Returns E(a) and a 1, float [..., D + 1], from item features, float [..., F]."""
        vector = apply(self.item_net, features)
        return tf.concat([vector, tf.ones_like(vector[..., :1])], axis=-1)

    def learned_advantage(self, code: Code, vector: tf.Tensor) -> tf.Tensor:
        """Returns A(s, g, a) before calibration, of actions given as item vectors.

        Args:
          code: B encoded requests.
          vector: float [B, A, W], see `item_vectors`; any vectors, not only those of items.

        Returns:
          float [B, A, M].
        """
        vector, item_effect, crossed = self._parts(vector)
        linear = item_effect
        if self.crosses is not None:
            weight = self.crosses.weights(code.joint)  # [B, M, K, P]
            linear += self.crosses.terms(code.crosses, weight, crossed)
        if self.bilinear:
            return linear + tf.einsum("bmd,bad->bam", self._projection(code), vector)
        hidden = apply(self.state_half, code.joint)[:, None] + apply(self.item_half, vector)
        return linear + apply(self.advantage_out, tf.nn.leaky_relu(hidden))

    def query(self, code: Code, goal: tf.Tensor) -> tf.Tensor:
        """Returns q, float [B, W], with q . item vector = g . A(s, g, a); bilinear head."""
        weight = self._readout(code, goal)  # [B, M]
        query = tf.einsum("bm,bmd->bd", weight, self._projection(code))
        return tf.concat([query, *self._linear_query(code, weight)], axis=-1)

    def scores_of(self, code: Code, goal: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Returns Q(s, a, g) = g . M(s, a, g) of items (GoalRec eqs 7-8).

        Args:
          code: B encoded requests.
          goal: g, float [B, M].
          vectors: item vectors, float [A, W] where all requests have the same items, or
            float [B, A, W].

        Returns:
          float [B, A].
        """
        base = tf.einsum("bm,bm->b", goal, self.value(code))[:, None]
        shared = vectors.shape.rank == 2
        if self.bilinear:
            query = self.query(code, goal)  # [B, W]
            if shared:
                return base + tf.matmul(query, vectors, transpose_b=True)
            return base + tf.einsum("bw,baw->ba", query, vectors)
        # g . A is linear in the last layer, so the goal is folded into it: a column per user.
        last = self.advantage_out[-1]
        weight = self._readout(code, goal)
        readout = tf.matmul(weight, last.kernel, transpose_b=True)  # [B, stream]
        bias = tf.linalg.matvec(weight, last.bias)[:, None]  # [B, 1]
        state = apply(self.state_half, code.joint)  # [B, stream]
        vector = self._parts(vectors)[0]
        items = apply(self.item_half, vector)  # [A, stream] or [B, A, stream]
        items = items[None] if shared else items
        parts = []
        for start in range(0, vectors.shape[-2], _CHUNK):
            hidden = tf.nn.leaky_relu(state[:, None] + items[:, start : start + _CHUNK])
            parts.append(tf.einsum("bah,bh->ba", hidden, readout))
        scores = base + bias + tf.concat(parts, axis=1)
        linear = self._linear_query(code, weight)
        if not linear:
            return scores
        query, rest = tf.concat(linear, axis=-1), vectors[..., vector.shape[-1] :]
        if shared:
            return scores + tf.matmul(query, rest, transpose_b=True)
        return scores + tf.einsum("bw,baw->ba", query, rest)

    def regression(
        self, code: Code, vector: tf.Tensor, target: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the weighted sum of eq 9 and the value loss.

        Args:
          code: B encoded states and goals.
          vector: vectors of the shown items, float [B, k, W]. The advantage of a slate is
            the sum over its items.
          target: m, standardised, float [B, M].

        Returns:
          The loss, and its parts.
        """
        config, of = self.config, self.measurement_of
        value = self.value(code)  # [B, M]
        advantage = tf.reduce_sum(self.learned_advantage(code, vector), axis=1)  # [B, M]
        # V has no gradient here: A explains only what the state and goal do not.
        prediction = tf.stop_gradient(value) + advantage
        log_variance = tf.convert_to_tensor(self.log_variance)
        model_loss = losses.measurement_loss(prediction, target, log_variance, of)
        value_loss = losses.value_loss(value, target, log_variance, of)
        squared = tf.math.squared_difference(prediction, target)
        return model_loss + config.value_weight * value_loss, {
            "model_loss": model_loss,
            "value_loss": value_loss,
            "error": tf.reduce_mean(losses.per_measurement(squared, of), axis=0),  # [J]
            "sigma": tf.exp(0.5 * log_variance),  # [J]
            "value": tf.reduce_mean(value, axis=0),  # [M]
            "advantage": tf.reduce_mean(advantage, axis=0),  # [M]
            "advantage_size": tf.math.reduce_std(advantage, axis=0),  # [M]
        }

    def _readout(self, code: Code, goal: tf.Tensor) -> tf.Tensor:
        """Returns weights w with w . learned advantage = goal . advantage, float [B, M]."""
        return goal

    def _parts(self, vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Splits item vectors into E(a) with its 1, the effect and the columns of crosses.

        Returns:
          float [..., D + 1]; float [..., M], or 0 without effects; float [..., C].
        """
        width = self.config.item_vector + 1
        end = width if self.item_effect is None else width + self.dim
        item_effect = 0.0 if self.item_effect is None else vector[..., width:end]
        return vector[..., :width], item_effect, vector[..., end:]

    def _linear_query(self, code: Code, weight: tf.Tensor) -> list[tf.Tensor]:
        """Returns the query's parts for the effect and the crosses; weight is float [B, M]."""
        parts = [] if self.item_effect is None else [weight]
        if self.crosses is not None:
            of_measurements = self.crosses.weights(code.joint)  # [B, M, K, P]
            crossed = tf.einsum("bm,bmkp->bkp", weight, of_measurements)[:, None]
            parts.append(self.crosses.query(code.crosses, crossed)[:, 0])  # [B, C]
        return parts

    def _projection(self, code: Code) -> tf.Tensor:
        """P(s, g), float [B, M, D + 1]."""
        flat = apply(self.projection, code.joint)
        return tf.reshape(flat, [-1, self.dim, self.config.item_vector + 1])  # [B, M, D + 1]
