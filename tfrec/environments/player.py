"""Plays many sessions of a policy with a bounded number of users at a time."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, playing, users

AT_ONCE = 2048  # sessions in a batch, which bounds memory at this x N scores


class Player:
    """Plays a policy in an environment; the graph is traced once, at the first play.

    Args:
      environment: the simulated users.
      policy: the policy. Variables that it reads, such as a goal, may change between plays.
    """

    def __init__(self, environment: users.UserEnvironment, policy: contract.Policy):
        self._run = tf.function(
            lambda starts, seed: playing.rollout(environment, policy, starts, seed),
            autograph=False,
        )
        self._traced: Callable[..., types.Episodes] | None = None

    def play(self, starts: types.Starts, seed: int) -> types.Episodes:
        """Plays one session for each start.

        Args:
          starts: B starts, arrays or tensors.
          seed: seed; equal seeds give equal sessions.

        Returns:
          B episodes as numpy arrays, in the order of the starts.
        """
        if self._traced is None:
            any_rows = tf.nest.map_structure(
                lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), starts
            )
            self._traced = self._run.get_concrete_function(
                any_rows, tf.TensorSpec([2], tf.int32)
            )
        batches = []
        for first in range(0, len(starts.user), AT_ONCE):
            batch = types.constants(types.rows(starts, slice(first, first + AT_ONCE)))
            batches.append(self._traced(batch, types.seed_pair(seed, first)))
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)
