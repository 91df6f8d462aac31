"""The contract of a user model over a catalogue.

A world is a user model: the embedded ground truth, or one fitted on a log, with its variants.
It starts from a user's history and gives feedback and exits. `users.UserEnvironment` makes an
environment of it, in which policies play.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrec import types

WorldState = Any  # a nest of tensors, each [B, ...]; only the world looks inside


class Responses(NamedTuple):
    """Expected answers to candidates, known to a world and to no honest policy.

    Attributes:
      feedback: float32 [B, A, F], expected feedback in raw units; for a binary
        column its probability.
      exit: float32 [B, A], probability that the user leaves after this item.
    """

    feedback: tf.Tensor
    exit: tf.Tensor


Distortion = Callable[[tf.Tensor], tf.Tensor]  # click logit [B] -> probability [B]


class World(Protocol):
    """The contract of a user model. All methods are graph code."""

    spec: types.DataSpec
    # Whether an item may be shown twice in a session. Logs of films have no
    # repeats, so a user model fitted on one knows nothing about them.
    repeats: bool

    @property
    def fingerprint(self) -> str:
        """Hash of what the answers depend on: parameters, configuration and ids."""

    def reset(self, starts: types.Starts) -> WorldState:
        """Hidden state of each user at the start of a session."""

    def responses(self, state: WorldState, candidates: tf.Tensor) -> Responses:
        """Expected answers of every user to shared candidates, int32 [A]."""

    def step(
        self,
        state: WorldState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: Distortion | None = None,
    ) -> tuple[WorldState, tf.Tensor, tf.Tensor]:
        """Shows item, int32 [B]; returns next state, feedback [B, F], exit bool [B].

        `distort` stands in for the sigmoid that turns the click's logit into its
        probability; answers that depend on the click follow what was clicked.
        """


def starts_of(episodes: types.Episodes) -> types.Starts:
    """The starts of logged sessions, for replaying their users in a simulator."""
    return types.Starts(episodes.user, episodes.history_item, episodes.history_feedback)


def observed(world: World | None, episodes: types.Episodes) -> types.Episodes:
    """Sessions with the feedback that is reported to a learner in this world.

    A world with `observed` of its own reports feedback late (see `variants`). Every session
    that a learner stores passes through here, whether it was logged or played. Histories
    and metrics keep the true answers.

    Args:
      world: the world in which the learner plays; None reports everything at once.
      episodes: sessions as they happened.
    """
    report = getattr(world, "observed", None)
    return report(episodes) if report else episodes


def repeats(world: World | None, log: types.Episodes) -> bool:
    """Whether an item may be shown twice in a session: the world decides, else the log.

    Args:
      world: the world that is played in, or None.
      log: training sessions, numpy arrays.
    """
    return world.repeats if world is not None else has_repeats(log)


def has_repeats(episodes: types.Episodes) -> bool:
    """Whether logged sessions show an item again, in more than one step of a hundred.

    Args:
      episodes: numpy arrays.
    """
    item = np.sort(np.asarray(episodes.item), axis=1)
    again = (item[:, 1:] == item[:, :-1]) & (item[:, 1:] != types.PAD)
    return bool(again.sum() > 0.01 * np.asarray(episodes.length).sum())
