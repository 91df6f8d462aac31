"""Maps observations to network inputs, and proto-actions to the simulator's actions.

A policy outputs a vector in [-1, 1], the proto-action. If the simulator expects items, the
slate holds the items with the highest inner product of features and proto-action (our choice;
the paper does not specify discrete items). The features are those of the candidates, or vectors
learned from the views of users if items have only a number.
"""

from collections.abc import Callable

import tensorflow as tf

from tfrec.environments import contract
from tfrec.ops import selection


def slate(
    proto: tf.Tensor, features: tf.Tensor, size: int, blocked: tf.Tensor | None = None
) -> tf.Tensor:
    """The items with the highest inner product with a proto-action, best first.

    Args:
      proto: float32 [B, W].
      features: float32 [B, m, W] of each session's candidates, or [m, W] of shared candidates.
      size: k, items in a slate.
      blocked: bool [B, m], candidates that may not be shown; None if all may.

    Returns:
      int32 [B, k], positions among the candidates.
    """
    if features.shape.rank == 2:
        scores = tf.matmul(proto, features, transpose_b=True)  # [B, m]
    else:
        scores = tf.einsum("bmw,bw->bm", features, proto)
    return selection.best_slate(scores, size, blocked)


def slate_features(action: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Concatenated features of the items in a slate.

    Args:
      action: int32 [B, k].
      features: float32 [B, m, D], or [m, D] of all sessions.

    Returns:
      float32 [B, k D].
    """
    shared = features.shape.rank == 2
    rows = tf.gather(features, action, batch_dims=0 if shared else 1)  # [B, k, D]
    return tf.reshape(rows, [-1, action.shape[1] * features.shape[-1]])


class ActionAdapter(tf.Module):
    """Maps observations to network inputs, and proto-actions to the simulator's actions.

    Args:
      simulator: the environment.
      vectors: one of `Vectors`; see `view_vectors`.
      width: W of learned vectors.
      sessions: number of sessions played for learned vectors.
      seed: seed of these sessions.

    Attributes:
      observation_size: width of the result of `encode`.
      action_size: W, width of a proto-action.
      slate_feature_size: D, width of the features of one item of a slate.
      catalogue: features of constant candidates, float32 [m, D]; else None.
      sessions_before: number of sessions played for the vectors.
      steps_before: number of recommendations in these sessions.

    Raises:
      ValueError: if the simulator's items have no views to learn from.
    """

    def __init__(
        self,
        simulator: contract.Simulator,
        vectors: str = "own",
        width: int = 8,
        sessions: int = 500,
        seed: int = 0,
    ):
        super().__init__(name="action_adapter")
        self.slate_size = simulator.slate_size
        self.observation_size, self.action_size = (
            simulator.observation_size,
            simulator.action_size,
        )
        self.slate_feature_size = simulator.action_size
        self.sessions_before = self.steps_before = 0
        self._items: tf.Variable | None = None
        self._encoder: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None
        self.catalogue = simulator.catalogue
        self._blocked = lambda observation: contract.blocked(simulator, observation)
        self._hidden = 0  # columns at the end of an observation that networks do not read
        if simulator.shown_columns is not None:
            self._hidden = len(simulator.shown_columns)
            self.observation_size -= self._hidden
        if vectors != "own":
            views = simulator.views()
            if views is None:
                name = type(simulator).__name__
                raise ValueError(f"vectors={vectors}: {name} shows no views; expected own")
            learned = views.vectors(width, sessions, seed)
            self._encoder = views.encoder if vectors == "views" else views.short_encoder
            self._items = tf.Variable(learned.items, trainable=False, name="items")
            self.sessions_before, self.steps_before = learned.sessions, learned.steps
            self.observation_size = width
            if vectors == "views":
                self.observation_size, self.action_size = 3 * width + 1, width
        self._scored_features = self._items if vectors == "views" else self.catalogue

    def encode(self, observation: tf.Tensor) -> tf.Tensor:
        """Network inputs, float32 [B, observation_size], from observations [B, O]."""
        if self._items is not None and self._encoder is not None:
            return self._encoder(observation, self._items)
        return observation[:, : -self._hidden] if self._hidden else observation

    def blocked(self, observation: tf.Tensor) -> tf.Tensor | None:
        """Candidates that may not be shown, bool [B, m]; see `contract.blocked`."""
        return self._blocked(observation)

    def to_action(
        self, weights: tf.Tensor, timestep: contract.Timestep, number: int = 0
    ) -> tf.Tensor:
        """Maps proto-actions to the simulator's actions.

        Args:
          weights: proto-actions, float32 [B, W].
          timestep: of B sessions.
          number: number of items to return, best first; 0 for the size of a slate.
        """
        if not self.slate_size:
            return weights
        features = self._scored_features
        if features is None:
            features = timestep.candidates
        return slate(weights, features, number or self.slate_size, timestep.blocked)

    def slate_features(self, action: tf.Tensor, candidates: tf.Tensor | None) -> tf.Tensor:
        """Features of the shown items, float32 [B, k D]; or a continuous action itself."""
        if not self.slate_size:
            return action
        features = self.catalogue if self.catalogue is not None else candidates
        return slate_features(action, features)
