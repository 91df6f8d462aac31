"""The contract of a user model over a catalogue.

A user model starts from a user's history and gives feedback and exits: the embedded ground
truth, the log itself, or a model fitted on a log, with its variants. `users.UserEnvironment`
makes an environment of a user model, in which policies play. Variables, flags and files call a
user model a world.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from tfrec import types

ModelState = Any  # nest of tensors, each [B, ...]; only the user model reads it


class Responses(NamedTuple):
    """Expected responses to candidates, which only privileged policies may read.

    Attributes:
      feedback: float32 [B, A, F], expected feedback in raw units; for a binary
        column its probability.
      exit: float32 [B, A], probability that the user leaves after this item.
    """

    feedback: tf.Tensor
    exit: tf.Tensor


Distortion = Callable[[tf.Tensor], tf.Tensor]  # click logit [B] -> probability [B]


class UserModel(Protocol):
    """The contract of a user model. All methods are graph code."""

    spec: types.DataSpec
    # Whether an item may be shown twice in a session. A user model fitted on a log without
    # repeats, such as a log of films, has no data on responses to repeated items.
    repeats: bool

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines responses: parameters, configuration and ids."""

    def reset(self, starts: types.Starts) -> ModelState:
        """Hidden state of each user at the start of a session."""

    def responses(self, state: ModelState, candidates: tf.Tensor) -> Responses:
        """Expected responses of every user to shared candidates, int32 [A]."""

    def step(
        self,
        state: ModelState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: Distortion | None = None,
    ) -> tuple[ModelState, tf.Tensor, tf.Tensor]:
        """Shows one item to each user and samples the responses.

        Args:
          state: hidden state of B users.
          item: int32 [B], dense item ids.
          seed: int32 [2].
          distort: replaces the sigmoid that turns the logit of the click into its
            probability. Feedback that depends on the click depends on the sampled click.

        Returns:
          Next state, feedback [B, F], and exit, bool [B].
        """


@runtime_checkable
class ReportsLate(Protocol):
    """A user model that reports feedback late."""

    def observed(self, episodes: types.Episodes) -> types.Episodes:
        """Sessions with the feedback that a learner observes."""


def starts_of(episodes: types.Episodes) -> types.Starts:
    """The starts of logged sessions, for replaying their users in a simulator."""
    return types.Starts(
        episodes.user, episodes.history_item, episodes.history_feedback, episodes.context_values
    )


def observed(world: UserModel | None, episodes: types.Episodes) -> types.Episodes:
    """Sessions with the feedback that a learner observes in this world.

    Some worlds report it late (see `variants`). Every session that a learner stores passes
    through this function, logged or played. Histories and metrics hold the true feedback.

    Args:
      world: the world in which the learner plays; None for immediate feedback.
      episodes: sessions with their true feedback.
    """
    return world.observed(episodes) if isinstance(world, ReportsLate) else episodes


def repeats(world: UserModel | None, log: types.Episodes) -> bool:
    """Whether an item may be shown twice in a session, by the world or else by the log.

    Args:
      world: the world in which policies play, or None.
      log: training sessions, numpy arrays.
    """
    return world.repeats if world is not None else has_repeats(log)


def has_repeats(episodes: types.Episodes) -> bool:
    """Whether logged sessions show an item again in more than one step of a hundred.

    Args:
      episodes: numpy arrays.
    """
    item = np.sort(np.asarray(episodes.item), axis=1)
    again = (item[:, 1:] == item[:, :-1]) & (item[:, 1:] != types.PAD)
    return bool(again.sum() > 0.01 * np.asarray(episodes.length).sum())
