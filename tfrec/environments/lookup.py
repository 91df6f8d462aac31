"""A user model that looks responses up in the log. Its users never leave.

Chen et al., Large-scale Interactive Recommendation with Tree-structured Policy Gradient, AAAI
2019, evaluate policies on such an environment of ratings. The log has no responses to items
that it never showed to a user; they count as not clicked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import identity
from tfrec.data.vocabulary import Vocabulary
from tfrec.environments import user_models

_CLICK_LOGIT = 10.0  # given to `distort` for a logged click, and its negative for no click


class LookupState(NamedTuple):
    """B sessions.

    Attributes:
      user: int32 [B].
      before: int32 [B, H], items of the history at the start, which are not clicked again.
    """

    user: tf.Tensor
    before: tf.Tensor


class LookupWorld(tf.Module):
    """Users with the responses of a log; a `user_models.UserModel`.

    Args:
      log: all sessions of the log, numpy arrays.
      spec: the log's spec.
      vocabulary: the log's ids.
    """

    repeats = False

    def __init__(self, log: types.Episodes, spec: types.DataSpec, vocabulary: Vocabulary):
        super().__init__(name="lookup_world")
        self.spec = spec
        self.vocabulary = vocabulary
        key, feedback = logged_pairs(log, spec.num_items)
        self._key = tf.constant(key)  # int64 [P], ascending
        self._feedback = tf.constant(feedback)  # float32 [P, F]

    @property
    def fingerprint(self) -> str:
        """Hash of the logged pairs, of their ids and of the candidates."""
        ids = identity.ids_of(self.vocabulary, self.spec)
        pairs = {"key": self._key.numpy(), "feedback": self._feedback.numpy()}
        return identity.fingerprint([pairs, ids, self.spec.candidates])

    def reset(self, starts: types.Starts) -> LookupState:
        return LookupState(
            tf.convert_to_tensor(starts.user), tf.convert_to_tensor(starts.history_item)
        )

    def responses(self, state: LookupState, candidates: tf.Tensor) -> user_models.Responses:
        item = tf.broadcast_to(candidates, [tf.shape(state.user)[0], tf.size(candidates)])
        feedback = self._answers(state, item)  # [B, A, F]
        return user_models.Responses(feedback, tf.zeros(tf.shape(item)))

    def step(
        self,
        state: LookupState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[LookupState, tf.Tensor, tf.Tensor]:
        feedback = self._answers(state, item[:, None])[:, 0]  # [B, F]
        if distort is not None:
            probability = distort(tf.where(feedback[:, 0] > 0, _CLICK_LOGIT, -_CLICK_LOGIT))
            clicked = tf.random.stateless_uniform(tf.shape(item), seed) < probability
            click = tf.cast(clicked, tf.float32)
            feedback = tf.concat([click[:, None], feedback[:, 1:] * click[:, None]], axis=1)
        return state, feedback, tf.zeros(tf.shape(item), tf.bool)

    def _answers(self, state: LookupState, item: tf.Tensor) -> tf.Tensor:
        """Looks up the logged feedback of each user to items, 0 if there is none; [B, K, F].

        Args:
          state: of B sessions.
          item: int32 [B, K], dense ids.
        """
        position, logged = find_pairs(self._key, state.user, item, self.spec.num_items)
        in_history = tf.reduce_any(item[:, :, None] == state.before[:, None], axis=2)  # [B, K]
        has_feedback = tf.cast(logged & ~in_history, tf.float32)
        return tf.gather(self._feedback, position) * has_feedback[..., None]  # [B, K, F]


def logged_pairs(log: types.Episodes, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Collects the feedback of each user to each item that the log showed to the user.

    Args:
      log: sessions, numpy arrays, a user's oldest first.
      num_items: N.

    Returns:
      Keys user * (N + 1) + item, int64 [P], ascending; and the feedback, float32 [P, F]. An
      item that was shown more than once has the feedback with the largest first column.
    """
    steps = np.arange(log.item.shape[1]) < np.asarray(log.length)[:, None]  # [S, T]
    user = np.repeat(np.asarray(log.user, np.int64), log.length)
    key = user * (num_items + 1) + log.item[steps]
    feedback = np.asarray(log.feedback, np.float32)[steps]  # [E, F]
    order = np.lexsort((-feedback[:, 0], key))
    key, feedback = key[order], feedback[order]
    first = np.append(True, key[1:] != key[:-1])
    return key[first], feedback[first]


def find_pairs(
    key: tf.Tensor, user: tf.Tensor, item: tf.Tensor, num_items: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds pairs of a user and an item among those of `logged_pairs`.

    Args:
      key: int64 [P], ascending.
      user: int32 [B].
      item: int32 [B, K], dense ids.
      num_items: N.

    Returns:
      Positions in `key`, int32 [B, K]; and whether the log has the pair, bool [B, K].
    """
    width = num_items + 1
    pair = tf.cast(user, tf.int64)[:, None] * width + tf.cast(item, tf.int64)  # [B, K]
    position = tf.searchsorted(key, tf.reshape(pair, [-1]))
    position = tf.reshape(tf.minimum(position, tf.size(key) - 1), tf.shape(pair))  # [B, K]
    return position, tf.gather(key, position) == pair
