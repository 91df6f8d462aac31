"""Counterfactual augmentation, IMRL Algorithm 1: swaps causally independent parts.

Two real steps whose graphs agree that some slots are untouched by the action exchange
those slots, before and after the step. The listing in the paper is read with these
corrections: line 6 copies s'_2[d] (it prints s'_g[d] on both sides); ind(s1, a1) and
ind(s2, a2) are compared as sets of slot sets, not of single slots; line 8's "exists" is
the check that the exchange is still allowed in the graph of the new step; no set holds
an action slot, so a_g is a_1.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfimrl import causal_graph
from tfrec.replay.steps import Steps

# (state [B, S], action [B, D], next state [B, S]) -> reward [B].
Reward = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

# Components beyond these take part by a fair coin each; a set of none of these is left
# out, one in a billion.
_COUNTED = 30


class Exchanged(NamedTuple):
    """Synthetic steps, of which some are to be thrown away.

    Attributes:
      steps: [B, ...], all tagged synthetic.
      valid: bool [B], which of them are allowed.
      slots: bool [B, N], the slots that came from the second step; none where no set of
        slots could be exchanged.
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
    """One synthetic step from each pair: the first, with slots of the second. Graph code.

    Reward, discount and user are the first step's. Rows whose next state is another
    user's give nothing, on either side.

    Args:
      first: tau_1, B steps.
      second: tau_2, B steps.
      influence: of slot on slot in a step, see `causal_graph`.
      slots: the slots.
      seed: int32 [2].
      threshold: of the influence, see `causal_graph.adjacency`.
      reward: the reward of a step, where it is known; else r_1 is kept, which is right
        only if the reward does not depend on the exchanged slots.
    """

    def linked(state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        return causal_graph.adjacency(influence(state, action), slots, threshold)

    # A set is a union of components in both graphs iff it is one in the graph of the
    # links of both.
    both = linked(first.state, first.action) | linked(second.state, second.action)
    chosen = draw_slots(causal_graph.components(both), slots, seed)  # [B, N]
    columns = tf.gather(chosen, slots.of_state_column, axis=1)  # [B, S]
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
        valid=tf.reduce_any(chosen, axis=1)
        & first.own_next
        & second.own_next
        & separate(linked(state, first.action), chosen),
        slots=chosen,
    )


def draw_slots(component: tf.Tensor, slots: causal_graph.Slots, seed: tf.Tensor) -> tf.Tensor:
    """Draws a union of components without an action slot, each union as likely.

    Neither the empty union, nor the one of all state slots: it would be the second step
    with the first one's action.

    Args:
      component: int32 [B, N], see `causal_graph.components`.
      slots: the slots.
      seed: int32 [2].

    Returns:
      bool [B, N], the slots drawn; none where there is no such union.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    free = causal_graph.independent(component, slots)  # [B, N]
    names = free & (component == tf.range(slots.count))  # [B, N], one slot per component
    rank = tf.cumsum(tf.cast(names, tf.int32), axis=1, exclusive=True)  # [B, N]
    # A union is a number in binary, one digit a component: 0 is empty, all ones is all.
    counted = tf.minimum(tf.reduce_sum(tf.cast(names, tf.int32), axis=1), _COUNTED)
    all_free = tf.reduce_all(free[:, : len(slots.state)], axis=1)
    unions = 2 ** tf.cast(counted, tf.int64) - 1 - tf.cast(all_free, tf.int64)  # [B]
    share = tf.random.stateless_uniform(tf.shape(unions), seeds[0], dtype=tf.float64)
    union = 1 + tf.cast(tf.floor(share * tf.cast(unions, tf.float64)), tf.int64)  # [B]
    digit = tf.bitwise.right_shift(
        union[:, None], tf.cast(tf.minimum(rank, _COUNTED), tf.int64)
    )  # [B, N]
    coin = tf.random.stateless_uniform(tf.shape(rank), seeds[1]) < 0.5
    drawn = names & tf.where(rank < _COUNTED, digit % 2 == 1, coin)
    drawn &= (unions > 0)[:, None]
    return tf.gather(drawn, component, axis=1, batch_dims=1)  # [B, N]


def separate(linked: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Whether no link leads out of the chosen slots: they are whole components.

    Args:
      linked: bool [B, N, N], symmetric.
      chosen: bool [B, N], without an action slot.

    Returns:
      bool [B].
    """
    out = linked & chosen[:, :, None] & ~chosen[:, None, :]
    return ~tf.reduce_any(out, axis=[1, 2])


def nearest_partners(
    first: Steps, pool: Steps, columns: list[int], neighbours: int, seed: tf.Tensor
) -> tuple[Steps, tf.Tensor]:
    """A partner for each step among the most similar other users of a pool. Graph code.

    "Similar users will have similar interests" (IMRL III-A): similar in the columns that
    describe a user, by squared distance.

    Args:
      first: B steps.
      pool: P steps to choose from.
      columns: of the state that are compared.
      neighbours: k <= P, how many of the nearest are drawn from, each as likely.
      seed: int32 [2].

    Returns:
      The partners, B steps, and which of them count, bool [B]: False where the pool has
      fewer than k steps of other users.
    """
    here = tf.gather(first.state, columns, axis=1)  # [B, C]
    there = tf.gather(pool.state, columns, axis=1)  # [P, C]
    # |x - y|^2 without |x|^2, which is the same for all of a row's partners.
    far = tf.reduce_sum(there**2, axis=1) - 2.0 * here @ tf.transpose(there)  # [B, P]
    far = tf.where(first.user[:, None] == pool.user, float("inf"), far)
    score, row = tf.math.top_k(-far, neighbours)  # [B, k]
    pick = tf.random.stateless_uniform(tf.shape(here)[:1], seed, 0, neighbours, tf.int32)
    drawn = tf.gather(row, pick, axis=1, batch_dims=1)  # [B]
    partners = tf.nest.map_structure(lambda column: tf.gather(column, drawn), pool)
    return partners, tf.math.is_finite(score[:, -1])
