"""The contract between the loop that plays in a live simulator and the methods that learn.

The loop (`online_learner.py`) plays B parallel sessions for a rollout of T steps, passes the
rollout to the method and lets it make updates. The loop is the same for all methods.
"""

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tfrec.environments.contract import Timestep


class PolicyStep(NamedTuple):
    """A method's action at a step of B sessions.

    Attributes:
      action: the simulator's action: int32 [B, k], positions among the candidates, or
        float32 [B, D] in [-1, 1].
      info: float32 [B, N], policy information that the method reads from the rollout, such as
        the proto-action of the items; N may be 0.
    """

    action: tf.Tensor
    info: tf.Tensor


class Rollout(NamedTuple):
    """T steps of B columns; when a session ends, a new one starts in its column.

    Attributes:
      observation: float32 [T, B, O], observation before the action.
      candidates: float32 [T, B, m, D], features of the candidates; None if the action is
        continuous, or the candidates are constant (`Simulator.catalogue`).
      action: int32 [T, B, k] or float32 [T, B, D], see `PolicyStep`.
      info: float32 [T, B, N], see `PolicyStep`.
      reward: float32 [T, B], the simulator's reward.
      clicks: float32 [T, B].
      next_observation: float32 [T, B, O], observation of the same user after the action. If the
        session ended, it repeats `observation` and must not be learned from.
      next_candidates: as `candidates`, at the next step.
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
      steps_before: recommendations that making the method took, part of the run's.
      sessions_before: sessions in which they were made.
      checked: names of the tensors whose finiteness `learn` checks, in its order.
    """

    info_size: int
    steps_before: int
    sessions_before: int
    checked: tuple[str, ...]

    def explore(self, timestep: Timestep) -> PolicyStep:
        """The action during training, with exploration. Graph code."""

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        """The action in tests, without exploration; a `contract.Policy`."""

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        """Stores a rollout. Graph code.

        Args:
          rollout: steps under `explore`, in order.
          progress: float scalar, completed share of the run, for schedules.
        """

    def set_learning_rate(self, progress: tf.Tensor) -> None:
        """Sets the learning rate. Graph code; `progress` as in `observe`."""

    def learn(self, updates: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        """Makes updates. Graph code.

        A method that learns only from its last rollout (on policy) determines the number of
        updates itself.

        Args:
          updates: int32 scalar, number of updates; 0 during the warm-up.

        Returns:
          Scalars to report, means over the updates; the index in `checked` of the first
          tensor that was not finite, or -1; and the batch of the last update, a nest of
          tensors with its seeds. An update with a tensor that was not finite changes no weight.
        """
