"""The causal graph of a step: slots, their influence on each other, and its components.

State and action are split into slots. The influence of slot i on slot j of the next state
is declared by the simulator, given by a heuristic, or the attention of a network that
predicts the next state (Pitis et al. 2020, arXiv 2007.02863, whose method IMRL uses). Its
threshold gives a graph for each step. The action does not influence the slots in connected
components without an action slot (IMRL Algorithm 1, `ind`).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec.environments import contract
from tfrec.ops import autodiff
from tfrec.options import Options, option
from tfrec.training import finite

# (state [B, S], action [B, D]) -> float [B, N, N], influence of slot i on next slot j.
Influence = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Slots:
    """The columns of each slot. State slots come first, then the action slots.

    Attributes:
      state: columns of the state vector in each of its slots.
      action: columns of the action vector in each of its slots.

    Raises:
      ValueError: if a column is in no slot or in two, or there is no action slot.

    Example:
      `Slots.of_sizes([3, 2], [4])` has three slots: columns 0-2 and 3-4 of the state,
      and the whole action of 4 columns.
    """

    state: tuple[tuple[int, ...], ...]
    action: tuple[tuple[int, ...], ...]

    def __post_init__(self):
        for side, slots in (("state", self.state), ("action", self.action)):
            columns = sorted(column for slot in slots for column in slot)
            if columns != list(range(len(columns))) or not all(slots) or not slots:
                raise ValueError(
                    f"{side} slots {slots} must hold each column from 0 on exactly once, "
                    f"and at least one column each"
                )

    @classmethod
    def of_sizes(cls, state: Sequence[int], action: Sequence[int]) -> "Slots":
        """Returns slots of neighbouring columns, from the number of columns in each."""
        return cls(contract.neighbouring(state), contract.neighbouring(action))

    @property
    def count(self) -> int:
        """N, number of slots of the state and of the action."""
        return len(self.state) + len(self.action)

    @property
    def of_state_column(self) -> np.ndarray:
        """The slot of each state column, int [S]."""
        slot = np.zeros(sum(map(len, self.state)), np.int32)
        for number, columns in enumerate(self.state):
            slot[list(columns)] = number
        return slot

    @property
    def of_action_column(self) -> np.ndarray:
        """The slot of each action column, int [D]."""
        slot = np.zeros(sum(map(len, self.action)), np.int32)
        for number, columns in enumerate(self.action):
            slot[list(columns)] = len(self.state) + number
        return slot

    @property
    def is_action(self) -> np.ndarray:
        """True for the slots of the action, bool [N]."""
        return np.arange(self.count) >= len(self.state)


def constant(influence: np.ndarray) -> Influence:
    """Returns an influence that is the same in every step.

    Args:
      influence: [N, N], of slot i on next slot j.
    """
    fixed = tf.constant(influence, tf.float32)
    return lambda state, action: tf.broadcast_to(
        fixed, tf.concat([tf.shape(state)[:1], tf.shape(fixed)], axis=0)
    )


def heuristic(
    slots: Slots, links: Sequence[tuple[int, int]], tolerance: float = 1e-6
) -> Influence:
    """Returns the influence of non-zero action columns on the state slots linked to them.

    It is meant for actions that are features of shown items, where each feature has a slot
    of the state (a product and its views, a topic and the user's interest in it). State
    slots are assumed to be independent of each other.

    Args:
      slots: the slots.
      links: (column of the action, state slot that it influences).
      tolerance: largest absolute value of an action's column that counts as 0.
    """
    columns = tf.constant([column for column, _ in links], tf.int32)
    cells = [
        (slots.of_action_column[column] * slots.count + state_slot)
        for column, state_slot in links
    ]
    place = tf.one_hot(cells, slots.count**2)  # [links, N * N]

    def influence(state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        shown = tf.abs(tf.gather(action, columns, axis=1)) > tolerance  # [B, links]
        flat = tf.cast(shown, tf.float32) @ place  # [B, N * N]
        return tf.reshape(flat, [-1, slots.count, slots.count])

    return influence


def adjacency(influence: tf.Tensor, slots: Slots, threshold: float = 0.02) -> tf.Tensor:
    """Returns which slots are linked, in either direction.

    Args:
      influence: float [B, N, N], of slot i on next slot j.
      slots: the slots; no slot influences an action, so its columns are set to 0.
      threshold: two slots are linked if the mean influence of both directions is above it.

    Returns:
      bool [B, N, N], symmetric, True on the diagonal.
    """
    onto_state = tf.where(slots.is_action, 0.0, influence)
    both = (onto_state + tf.linalg.matrix_transpose(onto_state)) / 2.0
    return (both > threshold) | tf.eye(slots.count, dtype=tf.bool)


def components(linked: tf.Tensor) -> tf.Tensor:
    """Returns the connected component of each slot, as the number of its first slot.

    The k-th squaring of the graph has all paths of up to 2^k links, so ceil(log2(N)) matrix
    products give every component of the batch.

    Args:
      linked: bool [B, N, N], symmetric, True on the diagonal.

    Returns:
      int32 [B, N]; two slots are connected iff their numbers are equal.
    """
    reach = tf.cast(linked, tf.float32)
    for _ in range(math.ceil(math.log2(max(2, linked.shape[-1])))):
        reach = tf.minimum(reach @ reach, 1.0)  # [B, N, N]
    return tf.argmax(reach, axis=-1, output_type=tf.int32)  # the first of equals


def independent(component: tf.Tensor, slots: Slots) -> tf.Tensor:
    """Returns which slots are not connected with an action slot.

    Args:
      component: int32 [B, N].
      slots: the slots.

    Returns:
      bool [B, N], False at the action slots themselves.
    """
    of_actions = component[:, len(slots.state) :]  # [B, N_action]
    return ~tf.reduce_any(component[:, :, None] == of_actions[:, None, :], axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetAttentionConfig(Options):
    """The network that learns the graph, with the defaults of Pitis et al.'s code."""

    blocks: int = option(2, "number of stacked attention blocks", at_least=1)
    heads: int = option(5, "attention heads in a block, averaged", at_least=1)
    hidden_layers: int = option(
        2, "hidden layers of each query, key and embedding net", at_least=0
    )
    units: int = option(128, "width of every layer", at_least=1)
    learning_rate: float = option(3e-4, "learning rate of Adam", above=0, at_most=1)
    weight_decay: float = option(
        1e-5, "weight decay, as a share of the learning rate", at_least=0
    )
    sparsity: float = option(
        0.3,
        "loss if all attention is on other slots; the published 0 links all slots",
        at_least=0,
    )


class Batch(NamedTuple):
    """The input of an update of the network.

    Attributes:
      state: float [B, S].
      action: float [B, D].
      next_state: float [B, S].
      weight: float [B], 0 for rows whose next state is another user's.
    """

    state: tf.Tensor
    action: tf.Tensor
    next_state: tf.Tensor
    weight: tf.Tensor


class SetAttention(tf.Module):
    """Predicts s' from (s, a) by attention over slots; the attention is the influence.

    The attention has no residual connections: a slot's prediction depends on another slot
    through attention alone, and the product of the blocks' attention maps bounds that
    dependence. Without a penalty the network learns to attend to all slots; `sparsity`,
    which is ours, is the penalty on attention to other slots. It is added to the mean
    square error of s', so the columns of a state should have similar scales.

    Args:
      config: sizes.
      slots: the slots.
      seed: seed of the initial weights.
    """

    def __init__(self, config: SetAttentionConfig, slots: Slots, seed: int = 0):
        super().__init__(name="set_attention")
        self.slots, self.sparsity = slots, config.sparsity
        # Row n is 1 at the columns of slot n, and 0 elsewhere.
        of_column = np.concatenate([slots.of_state_column, slots.of_action_column])
        self._slot_columns = tf.constant(
            np.arange(slots.count)[:, None] == of_column, tf.float32
        )
        state_size = len(slots.of_state_column)
        random = np.random.default_rng(seed)
        sizes = [config.units] * (config.hidden_layers + 1)
        self.blocks = [
            {
                role: _HeadNets([width, *sizes], config.heads, random)
                for role in ("query", "key", "embedding")
            }
            for width in [len(of_column)] + [config.units] * (config.blocks - 1)
        ]
        self.readout = _HeadNets([config.units, state_size], 1, random)
        self.optimizer = tf_keras.optimizers.Adam(
            config.learning_rate, weight_decay=config.weight_decay
        )
        self.optimizer.build(self.trainable_variables)

    def __call__(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Returns influences of slot i on next slot j, float [B, N, N]; columns sum to 1."""
        _, maps = self._forward(state, action)
        influence = tf.eye(self.slots.count, batch_shape=tf.shape(state)[:1])
        for attention in maps:
            influence = influence @ tf.linalg.matrix_transpose(attention)
        return influence

    def predict(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Predicts the next state, float [B, S]."""
        return self._forward(state, action)[0]

    @property
    def checked(self) -> tuple[str, ...]:
        """Names of the tensors that must stay finite, in the order of `update`."""
        gradients = (
            f"gradient of graph {v.name.removesuffix(':0')} {i}"
            for i, v in enumerate(self.trainable_variables)
        )
        return ("graph loss", *gradients)

    def update(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes one step of Adam on the mean square of s' - prediction. Graph code.

        Args:
          batch: B steps.

        Returns:
          The loss before the step, a scalar; and the index in `checked` of the first tensor
          that is not finite, or -1. If there is one, no weight changes.
        """
        weight = batch.weight
        with tf.GradientTape() as tape:
            prediction, maps = self._forward(batch.state, batch.action)
            difference = tf.math.squared_difference(prediction, batch.next_state)
            error = tf.reduce_mean(difference, axis=-1)
            # The penalty is on each map: in a product of uniform maps none has a gradient.
            self_attention = tf.add_n([tf.linalg.trace(m) for m in maps]) / (
                len(maps) * self.slots.count
            )
            cost = error + self.sparsity * (1.0 - self_attention)  # [B]
            loss = tf.math.divide_no_nan(tf.reduce_sum(weight * cost), tf.reduce_sum(weight))
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        named = dict(zip(self.checked, [loss, *gradients], strict=True))

        def apply() -> None:
            autodiff.apply_gradients(self.optimizer, gradients, variables)

        return loss, finite.guarded(named, apply)

    def _forward(
        self, state: tf.Tensor, action: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns predictions [B, S], and each block's map [B, N, N] of output i on input j."""
        columns = tf.concat([state, action], axis=1)  # [B, S + D]
        x = columns[:, None, :] * self._slot_columns  # [B, N, S + D]
        maps = []
        for block in self.blocks:
            scores = tf.einsum("hbiu,hbju->hbij", block["query"](x), block["key"](x))
            attention = tf.nn.softmax(scores)  # [heads, B, N, N]
            x = tf.reduce_mean(attention @ block["embedding"](x), axis=0)  # [B, N, units]
            maps.append(tf.reduce_mean(attention, axis=0))
        state_columns = self._slot_columns[:, : state.shape[-1]]  # [N, S]
        return tf.einsum("bns,ns->bs", self.readout(x)[0], state_columns), maps


class _HeadNets(tf.Module):
    """Small networks of the same shape, one for each head."""

    def __init__(self, sizes: Sequence[int], heads: int, random: np.random.Generator):
        super().__init__()
        self.kernels, self.biases = [], []
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            limit = math.sqrt(6.0 / (inputs + outputs))  # Glorot and Bengio's range
            start = random.uniform(-limit, limit, [heads, inputs, outputs])
            self.kernels.append(tf.Variable(start, dtype=tf.float32, name="kernel"))
            self.biases.append(tf.Variable(tf.zeros([heads, 1, outputs]), name="bias"))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float [B, N, inputs] to [heads, B, N, outputs]."""
        # One large product for each head, not one small product for each step.
        y = tf.reshape(x, [1, -1, x.shape[-1]])  # [1, B * N, inputs]
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            y = (tf.nn.relu(y) if layer else y) @ kernel + bias  # [heads, B * N, outputs]
        return tf.reshape(y, [y.shape[0], -1, x.shape[1], y.shape[-1]])
