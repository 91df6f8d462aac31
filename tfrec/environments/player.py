"""Plays many sessions of a policy with a bounded number of users at a time."""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, playing, users

AT_ONCE = 2048  # sessions in a batch, which bounds memory at this x N scores


class Player:
    """Plays a policy in an environment; the graph is traced once.

    Args:
      environment: the simulated users.
      policy: the policy. Variables that it reads, such as a goal, may change between plays.
    """

    def __init__(self, environment: users.UserEnvironment, policy: contract.Policy):
        spec = environment.spec
        length, columns = spec.history_length, len(spec.feedback)
        starts = types.Starts(
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, length], tf.int32),
            tf.TensorSpec([None, length, columns], tf.float32),
        )
        self._run = tf.function(
            lambda starts, seed: playing.rollout(environment, policy, starts, seed),
            autograph=False,
        ).get_concrete_function(starts, tf.TensorSpec([2], tf.int32))

    def play(self, starts: types.Starts, seed: int) -> types.Episodes:
        """Plays one session for each start.

        Args:
          starts: B starts, arrays or tensors.
          seed: seed; equal seeds give equal sessions.

        Returns:
          B episodes as numpy arrays, in the order of the starts.
        """
        batches = []
        for first in range(0, len(starts.user), AT_ONCE):
            batch = types.Starts(*(tf.constant(x[first : first + AT_ONCE]) for x in starts))
            episodes = self._run(batch, types.seed_pair(seed, first))
            batches.append([field.numpy() for field in episodes])
        return types.Episodes(*map(np.concatenate, zip(*batches, strict=True)))
