"""What learns in a live simulator: the contract between the loop that plays and its methods.

The loop (`online_learner.py`) plays B sessions side by side, a rollout of T steps at a time,
hands the rollout to the method and lets it learn. Every method sees the same steps.
"""

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tfrec.environments.contract import Timestep


class PolicyStep(NamedTuple):
    """What a method does at a step of B sessions.

    Attributes:
      action: the simulator's action: int32 [B, k], positions among the candidates, or
        float32 [B, D] in [-1, 1].
      info: float32 [B, N], whatever the method wants to find again in the rollout, such as
        the proto-action that chose the items; N may be 0.
    """

    action: tf.Tensor
    info: tf.Tensor


class Rollout(NamedTuple):
    """T steps of B sessions; one that ends is followed by a new one in its column.

    Attributes:
      observation: float32 [T, B, O], what the method saw.
      candidates: float32 [T, B, m, D], what it chose from; None where the action is
        continuous, or the candidates are always the same (`Simulator.catalogue`).
      action: int32 [T, B, k] or float32 [T, B, D], see `PolicyStep`.
      info: float32 [T, B, N], see `PolicyStep`.
      reward: float32 [T, B], the simulator's own.
      clicks: float32 [T, B].
      next_observation: float32 [T, B, O], of the same user; where the session ended it is
        the observation before once more, and nothing may be learned from it.
      next_candidates: as `candidates`, a step later.
      done: bool [T, B], whether the session ended with this step.
      user: int32 [T, B], the number of the session.
    """

    observation: tf.Tensor
    candidates: tf.Tensor | None
    action: tf.Tensor
    info: tf.Tensor
    reward: tf.Tensor
    clicks: tf.Tensor
    next_observation: tf.Tensor
    next_candidates: tf.Tensor | None
    done: tf.Tensor
    user: tf.Tensor


class Method(Protocol):
    """A method that learns online. Also a `tf.Module`: all its state is variables.

    Attributes:
      info_size: N.
      checked: names of the tensors whose finiteness `learn` checks, in its order.
    """

    info_size: int
    checked: tuple[str, ...]

    def explore(self, timestep: Timestep) -> PolicyStep:
        """What it does while it learns. Graph code."""

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        """The action without exploration, which tests play; a `contract.Policy`."""

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        """Takes a rollout in. Graph code.

        Args:
          rollout: what was played by `explore`, in order.
          progress: float scalar, share of the run that is over, for schedules.
        """

    def set_learning_rate(self, progress: tf.Tensor) -> None:
        """Sets the learning rate. Graph code; `progress` as in `observe`."""

    def learn(self, updates: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        """Makes so many updates. Graph code.

        A method that learns from its last rollout alone (on policy) makes what updates it
        needs of it.

        Args:
          updates: int32 scalar; 0 until enough was seen.

        Returns:
          Scalars to report, means over the updates; the index in `checked` of the first
          tensor that was not finite, or -1; and the batch of the last update, a nest of
          tensors with its seeds. If a tensor was not finite, its update moved no weight.
        """
