"""GoalRec's world model: M(s, a, g) = V(s, g) + A(s, g, a) (GoalRec, Figure 3).

Two towers: the state and goal side is computed once for a request, the item side once
for a catalogue. Two advantage heads:

  mlp       the paper's: a fully connected network of [S, G, E(a)]
  bilinear  A_j(s, g, a) = P_j(s, g) . E(a): then g . A = (sum_j g_j P_j) . E(a) is an
            inner product of one query with an item vector, so that ranking a
            catalogue is a maximum inner product search
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from tfgoalrec import losses
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.relabel import Transition
from tfrec import types
from tfrec.nn.dien import DienTower, History

_CHUNK = 1024  # items that the mlp head scores at once: bounds memory at B x 1024 x stream


class Code(NamedTuple):
    """What a request's state and goal come to; computed once, then met by every item.

    Attributes:
      joint: float [B, S + G], the state vector beside the goal vector.
      history: the encoded history, for the auxiliary loss.
    """

    joint: tf.Tensor
    history: History


class WorldModel(tfrs.Model):
    """Predicts the standardised measurements of a user's future under a goal.

    A Keras model: `compile` it with an optimiser and `fit` it on a dataset of
    transitions, or let the agent train it from a replay.

    Args:
      config: widths and the advantage head.
      spec: the log's spec.
      size: int [J], columns of each measurement; M = their sum.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
    """

    def __init__(
        self,
        config: GoalRecConfig,
        spec: types.DataSpec,
        size: np.ndarray,
        item_vectors: np.ndarray,
    ):
        super().__init__(name="world_model")
        dim = int(np.sum(size))
        self.config, self.spec, self.dim = config, spec, dim
        self.measurement_of = np.repeat(np.arange(len(size)), size)  # [M]
        # The optimizer projects it onto its bounds after each update. A clip inside the loss
        # would have no gradient beyond them, and the variable could not come back.
        bound = config.log_variance_bound
        self.log_variance = tf.Variable(
            tf.zeros([len(size)]),
            name="log_variance",
            constraint=lambda value: tf.clip_by_value(value, -bound, bound),
        )
        # See `calibration`, which sets them; as they are here they change nothing.
        self.slope = _constant("advantage_slope", tf.ones([dim]))
        self.after = _constant("after", tf.zeros([dim]))
        self.origin = _constant("origin", tf.zeros([dim]))
        self.exit = _constant("exit", tf.zeros([dim]))
        self.bilinear = config.advantage == "bilinear"
        c, dense, leaky = config, tf_keras.layers.Dense, tf.nn.leaky_relu
        noise = tf.random.normal([spec.num_items + 1, c.embedding], stddev=0.05)
        self.item_embedding = tf.Variable(
            item_vectors[:, : c.embedding] + noise, dtype=tf.float32, name="item_embedding"
        )
        # What the item side reads, and what it adds; see `item_input` and `item_effect`.
        self.item_input = self.item_embedding
        if c.item_input == "log":
            self.item_input = _constant("item_input", item_vectors[:, : c.embedding])
        self.item_effect = None
        if c.item_effect:
            zeros = tf.zeros([spec.num_items + 1, dim])
            self.item_effect = tf.Variable(zeros, name="item_effect")
        self.tower = DienTower(spec, self.item_embedding, c.units, c.state, c.crossed)
        joint = c.state + c.goal_units
        self.goal_net = _stack(dim, [dense(c.goal_units, activation=leaky) for _ in range(2)])
        self.value_net = _stack(joint, [dense(c.stream, activation=leaky), dense(dim)])
        # E(a); its last element is 1 so that the bilinear head has a bias for each state.
        self.item_net = _stack(
            c.embedding, [dense(c.item_vector, activation=leaky), dense(c.item_vector)]
        )
        if self.bilinear:
            width = dim * (c.item_vector + 1)
            self.projection = _stack(joint, [dense(c.stream, activation=leaky), dense(width)])
        else:
            # The first layer of the network of [S, G, E], split into its two halves.
            self.state_half = _stack(joint, [dense(c.stream)])
            self.item_half = _stack(c.item_vector + 1, [dense(c.stream, use_bias=False)])
            self.advantage_out = _stack(c.stream, [dense(dim)])

    def encode(
        self,
        observation: types.Observation,
        goal: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
    ) -> Code:
        """The state and goal side of the model.

        Args:
          observation: s, [B, ...].
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
        return Code(tf.concat([state, _apply(self.goal_net, goal)], axis=-1), history)

    def value(self, code: Code) -> tf.Tensor:
        """V(s, g), the mean of the measurements over the behaviour's actions, [B, M]."""
        return _apply(self.value_net, code.joint)

    def item_vectors(self, item: tf.Tensor | None = None) -> tf.Tensor:
        """E(a), a 1, and with `item_effect` the item's own advantage.

        Args:
          item: int32 [...]; None for all that may be recommended, 1..A.

        Returns:
          float [..., W] or [A, W]; W is D + 1, or D + 1 + M.
        """
        every = slice(1, self.spec.num_candidates + 1)

        def of(table: tf.Variable) -> tf.Tensor:
            return table[every] if item is None else tf.gather(table, item)

        vector = _apply(self.item_net, of(self.item_input))
        parts = [vector, tf.ones_like(vector[..., :1])]
        if self.item_effect is not None:
            parts.append(self.config.item_effect * of(self.item_effect))
        return tf.concat(parts, axis=-1)

    def advantage(self, code: Code, item: tf.Tensor) -> tf.Tensor:
        """A(s, g, a) of each user's own candidates.

        Args:
          code: of B requests.
          item: int32 [B, A].

        Returns:
          float [B, A, M].
        """
        return self.advantage_of(code, self.item_vectors(item))

    def advantage_of(self, code: Code, vector: tf.Tensor) -> tf.Tensor:
        """A(s, g, a) of actions given as item vectors, which need not be items.

        Args:
          code: of B requests.
          vector: as `item_vectors` gives them, float [B, A, W].

        Returns:
          float [B, A, M].
        """
        learned = self.learned_advantage(code, vector)  # [B, A, M]
        leaving = tf.linalg.matvec(learned, self.exit * self.slope)[..., None]  # [B, A, 1]
        return self.slope * learned - leaving * self._follows(code)[:, None]

    def learned_advantage(self, code: Code, vector: tf.Tensor) -> tf.Tensor:
        """The advantage before it is scaled by what comes true of it: what is learned.

        Args and returns as of `advantage_of`.
        """
        vector, own = self._parts(vector)
        if self.bilinear:
            return own + tf.einsum("bmd,bad->bam", self._projection(code), vector)
        hidden = _apply(self.state_half, code.joint)[:, None] + _apply(self.item_half, vector)
        return own + _apply(self.advantage_out, tf.nn.leaky_relu(hidden))

    def query(self, code: Code, goal: tf.Tensor) -> tf.Tensor:
        """The bilinear head's query: query . item vector = g . A(s, g, a), float [B, W]."""
        weight = self._readout(code, goal)  # [B, M]
        query = tf.einsum("bm,bmd->bd", weight, self._projection(code))
        return query if self.item_effect is None else tf.concat([query, weight], axis=-1)

    def scores(self, code: Code, goal: tf.Tensor) -> tf.Tensor:
        """Q(s, a, g) = g . M(s, a, g) of every candidate (GoalRec eqs 7-8), float [B, A]."""
        base = tf.einsum("bm,bm->b", goal, self.value(code))[:, None]
        if self.bilinear:
            return base + tf.matmul(
                self.query(code, goal), self.item_vectors(), transpose_b=True
            )
        # g . A is linear in the last layer: fold the goal into it, one column for each user.
        last = self.advantage_out[-1]
        weight = self._readout(code, goal)
        readout = tf.matmul(weight, last.kernel, transpose_b=True)  # [B, stream]
        bias = tf.linalg.matvec(weight, last.bias)[:, None]  # [B, 1]
        state = _apply(self.state_half, code.joint)  # [B, stream]
        vector, own = self._parts(self.item_vectors())
        items = _apply(self.item_half, vector)  # [A, stream]
        parts = []
        for start in range(0, self.spec.num_candidates, _CHUNK):
            hidden = tf.nn.leaky_relu(state[:, None] + items[None, start : start + _CHUNK])
            parts.append(tf.einsum("bah,bh->ba", hidden, readout))
        scores = base + bias + tf.concat(parts, axis=1)
        return scores if self.item_effect is None else scores + weight @ tf.transpose(own)

    def loss_of(
        self, batch: Transition, seeds: tf.Tensor | None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Eq 9, the value loss and DIEN's auxiliary loss, weighed together.

        Args:
          batch: B steps of experience.
          seeds: int32 [2, 2], of dropout and of negative items; None while testing.

        Returns:
          The loss, and what it is made of.
        """
        config, of = self.config, self.measurement_of
        code = self.encode(batch.observation, batch.goal, None if seeds is None else seeds[0])
        value = self.value(code)  # [B, M]
        vector = self.item_vectors(batch.item[:, None])
        advantage = self.learned_advantage(code, vector)[:, 0]  # [B, M]
        # V is held still here: A explains only what the state and goal do not.
        prediction = tf.stop_gradient(value) + advantage
        log_variance = tf.convert_to_tensor(self.log_variance)
        target = batch.measurement
        model_loss = losses.measurement_loss(prediction, target, log_variance, of)
        value_loss = losses.value_loss(value, target, log_variance, of)
        auxiliary = tf.zeros([])
        if seeds is not None:
            auxiliary = self.tower.auxiliary_loss(batch.observation, code.history, seeds[1])
        loss = (
            model_loss + config.value_weight * value_loss + config.auxiliary_weight * auxiliary
        )
        squared = tf.math.squared_difference(prediction, target)
        return loss, {
            "loss": loss,
            "model_loss": model_loss,
            "value_loss": value_loss,
            "auxiliary_loss": auxiliary,
            "error": tf.reduce_mean(losses.per_measurement(squared, of), axis=0),  # [J]
            "sigma": tf.exp(0.5 * log_variance),  # [J]
            "value": tf.reduce_mean(value, axis=0),  # [M]
            "advantage": tf.reduce_mean(advantage, axis=0),  # [M]
            "advantage_size": tf.math.reduce_std(advantage, axis=0),  # [M]
        }

    def compute_loss(self, inputs: Transition, training: bool = False) -> tf.Tensor:
        """The loss for Keras' `fit` and `evaluate`."""
        seeds = tf.random.uniform([2, 2], maxval=2**31 - 1, dtype=tf.int32)
        return self.loss_of(inputs, seeds if training else None)[0]

    def _follows(self, code: Code) -> tf.Tensor:
        """What a user who leaves forgoes and no slope accounts for, float [B, M]."""
        above = self.value(code) - self.origin  # [B, M], 0 where nothing follows
        leaves = tf.clip_by_value(tf.linalg.matvec(above, self.exit), 0.0, 0.9)  # [B]
        return (1.0 - self.slope) * self.after * above / (1.0 - leaves[:, None])

    def _readout(self, code: Code, goal: tf.Tensor) -> tf.Tensor:
        """Weights w with w . learned advantage = goal . advantage, float [B, M]."""
        forgone = tf.einsum("bm,bm->b", goal, self._follows(code))[:, None]  # [B, 1]
        return self.slope * (goal - forgone * self.exit)

    def _parts(self, vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """E(a) with its 1, float [..., D + 1], and the item's own advantage, [..., M] or 0."""
        width = self.config.item_vector + 1
        own = 0.0 if self.item_effect is None else vector[..., width:]
        return vector[..., :width], own

    def _projection(self, code: Code) -> tf.Tensor:
        """P(s, g), float [B, M, D + 1]."""
        flat = _apply(self.projection, code.joint)
        return tf.reshape(flat, [-1, self.dim, self.config.item_vector + 1])  # [B, M, D + 1]


def _constant(name: str, value: tf.Tensor) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)


def _stack(input_size: int, layers: list) -> list:
    """Builds dense layers one on another, so that every variable exists from the start."""
    for layer in layers:
        layer.build([None, input_size])
        input_size = layer.units
    return layers


def _apply(layers: list, x: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        x = layer(x)
    return x
