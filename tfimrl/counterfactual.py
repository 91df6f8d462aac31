"""Counterfactual augmentation, IMRL Algorithm 1: exchanges causally independent slots.

Two real steps exchange slots, before and after the step, that the action influences in
neither graph. This module corrects the paper's listing in four points: line 6 copies s'_2[d]
(it prints s'_g[d] on both sides); ind(s1, a1) and ind(s2, a2) are compared as sets of slot
sets, not of single slots; line 8's "exists" is the check that the exchange is still allowed
in the graph of the new step; no set has an action slot, so a_g is a_1.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfimrl import causal_graph
from tfrec.replay.steps import Steps

# (state [B, S], action [B, D], next state [B, S]) -> reward [B].
Reward = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

# Further components are exchanged with probability 1/2 each. Sets without any of the first
# components, one in a billion, are not drawn.
_COUNTED = 30


class Exchanged(NamedTuple):
    """Synthetic steps, of which some are invalid.

    Attributes:
      steps: [B, ...], all tagged synthetic.
      valid: bool [B], which of them are valid.
      slots: bool [B, N], the slots of the second step; none if no set of slots could be
        exchanged.
    """

    steps: Steps
    valid: tf.Tensor
    slots: tf.Tensor


def augment(
    first: Steps,
    second: Steps,
    influence: causal_graph.Influence,
    slots: causal_graph.Slots,
    seed: tf.Tensor,
    *,
    threshold: float = 0.02,
    reward: Reward | None = None,
) -> Exchanged:
    """Makes a synthetic step from each pair: the first, with slots of the second. Graph code.

    Reward, discount and user are the first step's. A pair is invalid if the next state of
    either step is another user's.

    Args:
      first: tau_1, B steps.
      second: tau_2, B steps.
      influence: influence between slots in a step, see `causal_graph`.
      slots: the slots.
      seed: int32 [2].
      threshold: threshold of the influence, see `causal_graph.adjacency`.
      reward: computes the reward of a step; None for r_1, which is correct only if the
        reward does not depend on the exchanged slots.
    """

    def linked(state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        return causal_graph.adjacency(influence(state, action), slots, threshold)

    # A set is a union of components in both graphs iff it is one in the graph with the links
    # of both.
    both = linked(first.state, first.action) | linked(second.state, second.action)
    exchanged = draw_slots(causal_graph.components(both), slots, seed)  # [B, N]
    columns = tf.gather(exchanged, slots.of_state_column, axis=1)  # [B, S]
    state = tf.where(columns, second.state, first.state)
    next_state = tf.where(columns, second.next_state, first.next_state)
    steps = first._replace(
        state=state,
        next_state=next_state,
        reward=first.reward if reward is None else reward(state, first.action, next_state),
        synthetic=tf.ones_like(first.synthetic),
    )
    return Exchanged(
        steps=steps,
        valid=tf.reduce_any(exchanged, axis=1)
        & first.own_next
        & second.own_next
        & separate(linked(state, first.action), exchanged),
        slots=exchanged,
    )


def draw_slots(component: tf.Tensor, slots: causal_graph.Slots, seed: tf.Tensor) -> tf.Tensor:
    """Draws a union of components without an action slot, uniformly over such unions.

    The empty union is excluded, and so is the union of all state slots, which would give the
    second step with the first one's action.

    Args:
      component: int32 [B, N], see `causal_graph.components`.
      slots: the slots.
      seed: int32 [2].

    Returns:
      bool [B, N], the slots of the union; none if there is no such union.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    free = causal_graph.independent(component, slots)  # [B, N]
    is_first = free & (component == tf.range(slots.count))  # [B, N], one slot per component
    rank = tf.cumsum(tf.cast(is_first, tf.int32), axis=1, exclusive=True)  # [B, N]
    # A union is a binary number with a digit for each component; 0 is the empty union.
    num_digits = tf.minimum(tf.reduce_sum(tf.cast(is_first, tf.int32), axis=1), _COUNTED)
    all_free = tf.reduce_all(free[:, : len(slots.state)], axis=1)
    unions = 2 ** tf.cast(num_digits, tf.int64) - 1 - tf.cast(all_free, tf.int64)  # [B]
    share = tf.random.stateless_uniform(tf.shape(unions), seeds[0], dtype=tf.float64)
    union = 1 + tf.cast(tf.floor(share * tf.cast(unions, tf.float64)), tf.int64)  # [B]
    digit = tf.bitwise.right_shift(
        union[:, None], tf.cast(tf.minimum(rank, _COUNTED), tf.int64)
    )  # [B, N]
    coin = tf.random.stateless_uniform(tf.shape(rank), seeds[1]) < 0.5
    drawn = is_first & tf.where(rank < _COUNTED, digit % 2 == 1, coin)
    drawn &= (unions > 0)[:, None]
    return tf.gather(drawn, component, axis=1, batch_dims=1)  # [B, N]


def separate(linked: tf.Tensor, exchanged: tf.Tensor) -> tf.Tensor:
    """Returns whether no link leaves a set of slots, so that it is a union of components.

    Args:
      linked: bool [B, N, N], symmetric.
      exchanged: bool [B, N], the set, without an action slot.

    Returns:
      bool [B].
    """
    out = linked & exchanged[:, :, None] & ~exchanged[:, None, :]
    return ~tf.reduce_any(out, axis=[1, 2])


def nearest_partners(
    first: Steps, pool: Steps, columns: list[int], neighbours: int, seed: tf.Tensor
) -> tuple[Steps, tf.Tensor]:
    """Draws a partner for each step from the most similar other users. Graph code.

    "Similar users will have similar interests" (IMRL III-A): the similarity is the squared
    distance of the columns that describe a user.

    Args:
      first: B steps.
      pool: P steps that partners are drawn from.
      columns: columns of the state that are compared.
      neighbours: k <= P, number of nearest steps, from which a partner is drawn uniformly.
      seed: int32 [2].

    Returns:
      The partners, B steps, and which of them are valid, bool [B]: False where the pool has
      fewer than k steps of other users.
    """
    user_columns = tf.gather(first.state, columns, axis=1)  # [B, C]
    pool_columns = tf.gather(pool.state, columns, axis=1)  # [P, C]
    # |x - y|^2 without |x|^2, which is the same for all of a row's partners.
    distance = tf.reduce_sum(pool_columns**2, axis=1) - 2.0 * user_columns @ tf.transpose(
        pool_columns
    )  # [B, P]
    distance = tf.where(first.user[:, None] == pool.user, float("inf"), distance)
    score, row = tf.math.top_k(-distance, neighbours)  # [B, k]
    pick = tf.random.stateless_uniform(
        tf.shape(user_columns)[:1], seed, 0, neighbours, tf.int32
    )
    partner_row = tf.gather(row, pick, axis=1, batch_dims=1)  # [B]
    partners = tf.nest.map_structure(lambda column: tf.gather(column, partner_row), pool)
    return partners, tf.math.is_finite(score[:, -1])
