"""A replay of n-step transitions, for methods that bootstrap.

Each session is stored once; sampling a step slices its state, n-step reward and next state out
of the session.
"""

from typing import NamedTuple

import tensorflow as tf

from tfrec import types
from tfrec.replay import prioritized
from tfrec.replay.episodes import EpisodeReplay


class Transitions(NamedTuple):
    """Sampled steps t, with the state k <= n steps later.

    Attributes:
      observation: s_t, [B, ...].
      item: int32 [B], a_t.
      reward: float [B], sum over j < k of discount^j r_{t+j}.
      next_observation: s_{t+k}; its last event is item t+k-1 with its feedback.
      discount: float [B], discount^k, or 0 if the user left within the k steps. The last
        steps of a session that was cut at the cap have k < n and bootstrap from the state
        after the last one.
      next_blocked: bool [B, A], candidates shown in the session before t+k; None if the
        world allows repeats.
      cell: int64 [B], index of the step in the replay, for `reprioritise`.
      weight: float [B], importance weights, at most 1; ones for uniform sampling.
    """

    observation: types.Observation
    item: tf.Tensor
    reward: tf.Tensor
    next_observation: types.Observation
    discount: tf.Tensor
    next_blocked: tf.Tensor | None
    cell: tf.Tensor
    weight: tf.Tensor


class TransitionReplay(tf.Module):
    """A ring buffer of sessions with sampling of n-step transitions.

    Args:
      spec: the log's spec.
      capacity: capacity in sessions.
      n_steps: n, at least 1.
      discount: discount per step.
      repeats: whether an item may be shown twice in a session.
      priority: options of prioritized sampling; None for uniform sampling.
    """

    def __init__(
        self,
        spec: types.DataSpec,
        capacity: int,
        *,
        n_steps: int = 1,
        discount: float = 0.99,
        repeats: bool = True,
        priority: prioritized.PriorityConfig | None = None,
    ):
        super().__init__(name="transition_replay")
        self.spec, self.n_steps, self.discount, self.repeats = spec, n_steps, discount, repeats
        self.sessions = EpisodeReplay(spec, capacity, label_size=1)
        self.exited = tf.Variable(tf.zeros([capacity], tf.bool), trainable=False, name="exited")
        self.priorities = (
            prioritized.Priorities(priority, capacity, spec.max_steps) if priority else None
        )

    @property
    def size(self) -> tf.Tensor:
        """Steps held, int64."""
        return self.sessions.size

    def add(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        """Stores B sessions over the oldest ones. Graph code.

        Args:
          episodes: B sessions, B at most the capacity.
          reward: float [B, T], 0 where padded.
        """
        slot = self.sessions.next_slots(episodes)
        self.exited.scatter_update(tf.IndexedSlices(episodes.exited, slot))
        if self.priorities is not None:
            self.priorities.add(slot, episodes.length)
        no_goal = tf.zeros([tf.shape(episodes.length)[0], 1])
        self.sessions.add(episodes, reward[..., None], no_goal)

    def clear(self) -> None:
        """Removes all sessions; at least one must be added before sampling."""
        self.sessions.clear()
        if self.priorities is not None:
            self.priorities.clear()

    def sample(self, batch: int, seed: tf.Tensor) -> Transitions:
        """Samples B steps. Graph code; the replay must hold at least one session.

        Args:
          batch: B.
          seed: int32 [2]; equal seeds and states give equal steps.
        """
        if self.priorities is None:
            slot, step = self.sessions.places(self.sessions.numbers(batch, seed))
            weight = tf.ones([batch])
        else:
            slot, step, weight = self.priorities.draw(batch, seed)
        remaining = tf.cast(tf.gather(self.sessions.length, slot), tf.int64) - step  # >= 1
        taken = tf.minimum(remaining, self.n_steps)  # [B] k
        exits = tf.logical_and(taken == remaining, tf.gather(self.exited, slot))
        power = tf.pow(self.discount, tf.cast(taken, tf.float32))
        after = step + taken
        shown = tf.stack([slot, step + self.spec.history_length], axis=1)  # [B, 2]
        return Transitions(
            observation=self.sessions.observation(slot, step),
            item=tf.gather_nd(self.sessions.item, shown),
            reward=self._return(slot, step, taken),
            next_observation=self.sessions.observation(slot, after),
            discount=tf.where(exits, 0.0, power),
            next_blocked=None if self.repeats else self._shown(slot, after),
            cell=slot * self.spec.max_steps + step,
            weight=weight,
        )

    def reprioritise(self, cell: tf.Tensor, error: tf.Tensor) -> None:
        """Updates the priorities of sampled steps. Graph code.

        Args:
          cell: int64 [B], from `sample`, without an `add` in between.
          error: float [B], of any sign, finite.
        """
        if self.priorities is not None:
            steps = self.spec.max_steps
            self.priorities.update(cell // steps, cell % steps, error)

    def _return(self, slot: tf.Tensor, step: tf.Tensor, taken: tf.Tensor) -> tf.Tensor:
        """Discounted sum of the rewards of `taken` steps from `step`, float [B]."""
        ahead = tf.range(self.n_steps, dtype=tf.int64)  # [n]
        at = tf.minimum(step[:, None] + ahead, self.spec.max_steps - 1)  # [B, n]
        cell = tf.stack([tf.broadcast_to(slot[:, None], tf.shape(at)), at], axis=-1)
        reward = tf.gather_nd(self.sessions.label, cell)[..., 0]  # [B, n]
        weight = tf.pow(self.discount, tf.cast(ahead, tf.float32))  # [n]
        return tf.reduce_sum(tf.where(ahead < taken[:, None], weight * reward, 0.0), axis=1)

    def _shown(self, slot: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        """Candidates shown in the session's first `before` steps, bool [B, A]."""
        candidates = self.spec.num_candidates
        item = tf.gather(self.sessions.item, slot)[:, self.spec.history_length :]  # [B, T]
        past = tf.sequence_mask(before, self.spec.max_steps)  # [B, T]
        # Column 0 collects items that are no candidates, and is cut off.
        column = tf.where(tf.logical_and(past, item <= candidates), item, 0)
        row = tf.broadcast_to(tf.range(tf.shape(item)[0])[:, None], tf.shape(item))
        hits = tf.scatter_nd(
            tf.stack([row, column], axis=-1),  # [B, T, 2]
            tf.ones_like(item),
            [tf.shape(item)[0], candidates + 1],
        )
        return hits[:, 1:] > 0
