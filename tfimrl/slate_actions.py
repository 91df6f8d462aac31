"""Input of critics that score the features of a slate instead of the proto-action.

The slate of a proto-action is discontinuous in the proto-action, so a critic of proto-actions
has to learn the ranking of items from rewards alone, whereas the user's reaction depends on
the shown items. Here the critics read the features of the shown items, and the policy's
gradient passes through them by a straight-through estimator (Bengio et al. 2013,
arXiv:1308.3432): the forward pass has the items with the highest scores, and the gradient is
that of a softmax over the remaining items at each position of the slate. All of this is ours;
the paper does not treat discrete items.
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
    """Returns the features of the slate that a proto-action selects, with a gradient.

    Args:
      weights: the proto-action, float32 [B, D].
      items: features of candidates, float32 [B, m, D], or [m, D] for all rows.
      size: k, items in a slate.
      softness: temperature of the softmax of the gradient, in units of scores.
      blocked: bool [B, m], items that are not allowed; None if all are.

    Returns:
      float32 [B, k D], equal to `shown(slate(...), ...)` of `tfrec.methods.action_adapter`.
    """
    shared = items.shape.rank == 2
    scores = tf.einsum("md,bd->bm" if shared else "bmd,bd->bm", items, weights)
    scores = selection.available(scores, blocked)
    features = []
    for _ in range(size):
        probability = tf.nn.softmax(scores / softness)  # [B, m]
        one_hot = tf.one_hot(tf.argmax(scores, axis=1), tf.shape(scores)[1])
        selected = one_hot + (
            probability - tf.stop_gradient(probability)
        )  # added in this order, the value is exactly `one_hot`
        features.append(tf.einsum("bm,md->bd" if shared else "bm,bmd->bd", selected, items))
        scores = tf.where(one_hot > 0, scores.dtype.min / 2, scores)
    return tf.concat(features, axis=1)


class SlateAction(NamedTuple):
    """An action of the replay, split into its parts.

    Attributes:
      weights: the proto-action, float32 [B, D].
      shown: features of the shown items, float32 [B, k D].
      items: features of the candidates, float32 [B, m, D], or [m, D] for all rows.
      blocked: bool [B, m], items that were not allowed; None if all were.
    """

    weights: tf.Tensor
    shown: tf.Tensor
    items: tf.Tensor
    blocked: tf.Tensor | None = None


class SlateActions:
    """Replay rows of slates, and the critic input of slates.

    Args:
      simulator: a simulator with slates of items.
      softness: see `relaxed_slate`.

    Attributes:
      size: k D, width of the critic input.
      row_size: columns of a replay's action: the proto-action, the features of the shown
        items, those of the candidates unless they are always the same, and the marks of
        previously shown items where items may not repeat.
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
        """Returns the action as the replay stores it, float32 [B, row_size].

        Args:
          weights: the proto-action, float32 [B, D].
          action: int32 [B, k].
          candidates: float32 [B, m, D]; None where they are always the same.
          observation: float32 [B, O], of the environment.
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
        """Splits rows, float32 [B, row_size], into their parts."""
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
        """Returns the slate features of proto-actions, float32 [B, k D], with a gradient."""
        return relaxed_slate(weights, items, self._slate, self._softness, blocked)
