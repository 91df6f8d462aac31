"""Critics of the slate shown, in the place of critics of the proto-action.

Which items a proto-action points at jumps as it turns, so a critic of proto-actions has to
learn that ranking from rewards alone. Users see the items; what they do depends on those. Here
critics are asked about the features of the items shown, and the policy learns through them
with a straight-through estimator (Bengio et al. 2013, arXiv:1308.3432): forwards the items
with the highest scores, backwards as if each place of the slate were a softmax over the items
that are left. All ours: the paper says nothing of discrete items.
"""

from typing import NamedTuple

import tensorflow as tf

from tfrec.environments import contract
from tfrec.methods import action_adapter
from tfrec.ops import selection


def relaxed_slate(
    weights: tf.Tensor,
    items: tf.Tensor,
    size: int,
    softness: float,
    blocked: tf.Tensor | None = None,
) -> tf.Tensor:
    """Features of the slate that a proto-action chooses, with a gradient.

    Args:
      weights: the proto-action, float32 [B, D].
      items: float32 [B, m, D] of each row's candidates, or [m, D] of all rows'.
      size: k, items in a slate.
      softness: of the softmax that gradients go through, in scores; more reaches more items.
      blocked: bool [B, m], items that may not be shown; None if all may.

    Returns:
      float32 [B, k D], equal to `shown(slate(...), ...)` of `tfrec.methods.action_adapter`.
    """
    alike = items.shape.rank == 2
    scores = tf.einsum("md,bd->bm" if alike else "bmd,bd->bm", items, weights)
    scores = selection.available(scores, blocked)
    places = []
    for _ in range(size):
        soft = tf.nn.softmax(scores / softness)  # [B, m]
        hard = tf.one_hot(tf.argmax(scores, axis=1), tf.shape(scores)[1])
        chosen = hard + (soft - tf.stop_gradient(soft))  # in this order exactly `hard`
        places.append(tf.einsum("bm,md->bd" if alike else "bm,bmd->bd", chosen, items))
        scores = tf.where(hard > 0, scores.dtype.min / 2, scores)
    return tf.concat(places, axis=1)


class SlateAction(NamedTuple):
    """A replay's action.

    Attributes:
      weights: the proto-action, float32 [B, D].
      shown: features of what it showed, float32 [B, k D].
      items: of what there was to choose from, float32 [B, m, D], or [m, D] of all rows.
      blocked: bool [B, m], which of the items could not be shown; None where all could.
    """

    weights: tf.Tensor
    shown: tf.Tensor
    items: tf.Tensor
    blocked: tf.Tensor | None = None


class SlateActions:
    """Rows of a replay whose actions are slates, and what critics read of them.

    Args:
      simulator: one whose actions are slates of items.
      softness: see `relaxed_slate`.

    Attributes:
      size: k D, width of the critic input.
      row_size: columns of a replay's action: proto-action, what was shown, what there was to
        choose from unless that is always the same, and what had been shown before where items
        may not repeat.
    """

    def __init__(self, simulator: contract.Simulator, softness: float):
        self._softness = softness
        self._slate, self._width = simulator.slate_size, simulator.action_size
        self._catalogue = simulator.catalogue
        self._items = 0
        if self._catalogue is None:
            offered = simulator.candidates(simulator.reset(1, tf.zeros([2], tf.int32)))
            assert offered is not None
            self._items = offered.shape[1]
        self.size = self._slate * self._width
        self._before = simulator.shown_columns
        self.row_size = self._width + self.size + self._items * self._width
        if self._before is not None:
            self.row_size += len(self._before)

    def row(
        self,
        weights: tf.Tensor,
        action: tf.Tensor,
        candidates: tf.Tensor | None,
        observation: tf.Tensor,
    ) -> tf.Tensor:
        """What a replay keeps, float32 [B, row_size].

        Args:
          weights: the proto-action, float32 [B, D].
          action: int32 [B, k].
          candidates: float32 [B, m, D]; None where they are always the same.
          observation: float32 [B, O], as the environment gives it.
        """
        if self._catalogue is not None:
            parts = [weights, action_adapter.slate_features(action, self._catalogue)]
            if self._before is not None:
                parts.append(tf.gather(observation, self._before, axis=1))
            return tf.concat(parts, axis=1)
        assert candidates is not None
        offered = tf.reshape(candidates, [-1, self._items * self._width])
        return tf.concat(
            [weights, action_adapter.slate_features(action, candidates), offered], axis=1
        )

    def split(self, row: tf.Tensor) -> SlateAction:
        """The parts of rows float32 [B, row_size]."""
        offered_size = self._items * self._width
        sizes = [self._width, self.size, offered_size]
        sizes.append(self.row_size - sum(sizes))
        weights, shown, offered, before = tf.split(row, sizes, axis=1)
        if self._catalogue is not None:
            blocked = None
            if self._before is not None:
                blocked = selection.blocked_by(before, self._catalogue.shape[0])
            return SlateAction(weights, shown, self._catalogue, blocked)
        return SlateAction(weights, shown, tf.reshape(offered, [-1, self._items, self._width]))

    def relaxed(
        self, weights: tf.Tensor, items: tf.Tensor, blocked: tf.Tensor | None = None
    ) -> tf.Tensor:
        """What proto-actions show, float32 [B, k D], with a gradient."""
        return relaxed_slate(weights, items, self._slate, self._softness, blocked)
