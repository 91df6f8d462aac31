"""Lists of a user model: the items that its users are most likely to click.

What a policy can learn from play with simulated users, these users know. Their own lists say
how much of the held-out events that is.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import storage
from tfrec.environments import user_models
from tfrec.metrics import ranking


class UserModelLists:
    """Ranks the candidates by each user's click probability at the start of a session.

    Args:
      world: the user model.
      data: the prepared data that defines its ids.

    Attributes:
      spec, vocabulary, reads_feedback: as of an agent, see `all_users.Lister`.
    """

    reads_feedback = True

    def __init__(self, world: user_models.UserModel, data: storage.PreparedData):
        self.spec, self.vocabulary = world.spec, data.vocabulary
        self._world = world

    def lists_of_users(
        self,
        users: np.ndarray,
        observation: types.Observation,
        blocked: np.ndarray,
        k: int,
        goal: str = "",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lists and click probabilities; see `trained.SavedAgent.lists_of_users`."""
        del goal
        starts = types.Starts(
            self.vocabulary.user_ids.encode(users),
            observation.history_item,
            observation.history_feedback,
            observation.context_values,
        )
        click = self._click(types.constants(starts)).numpy()
        click = np.where(blocked, np.float32(-np.inf), click)
        place = ranking.top_k(click, min(k, click.shape[1]))
        probability = np.take_along_axis(click, place, axis=1)
        item = np.where(np.isfinite(probability), place + 1, 0)
        return item.astype(np.int32), probability

    @tf.function(reduce_retracing=True)
    def _click(self, starts: types.Starts) -> tf.Tensor:
        """Click probabilities of all candidates, [B, A]."""
        candidates = tf.range(1, self.spec.num_candidates + 1)
        responses = self._world.responses(self._world.reset(starts), candidates)
        return responses.feedback[..., 0]
