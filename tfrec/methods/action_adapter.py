"""From a proto-action to what a simulator is told, and what its items are described by.

A policy answers with a vector of weights in [-1, 1], the proto-action. Where a simulator wants
items, those with the highest inner product of the proto-action and their features are shown
(SPEC: ours; the paper says nothing of discrete items). Features are those that the candidates
come with, or, of items that have none but their number, vectors learned from what users view.
"""

from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, playing
from tfrec.environments.ports import recogym
from tfrec.ops import selection

Vectors = Literal["own", "views", "viewers"]
VECTORS_HELP = (
    "what tells of items: own, the features that they come with; views, vectors learned from "
    "what users view while they are played at random; viewers, the same of users alone, in a "
    "few numbers: what is recommended keeps the features that it comes with"
)

_VIEWS_OF_NOTHING = 3.0

RecoGym = recogym.RecoGymV1 | recogym.RecoGymV0


def slate(
    proto: tf.Tensor, features: tf.Tensor, size: int, blocked: tf.Tensor | None = None
) -> tf.Tensor:
    """The items that a proto-action points at, best first.

    Args:
      proto: float32 [B, W].
      features: float32 [B, m, W] of each session's candidates, or [m, W] of all sessions'.
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


def shown(action: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Features of the items in a slate, side by side.

    Args:
      action: int32 [B, k].
      features: float32 [B, m, D], or [m, D] of all sessions.

    Returns:
      float32 [B, k D].
    """
    alike = features.shape.rank == 2
    rows = tf.gather(features, action, batch_dims=0 if alike else 1)  # [B, k, D]
    return tf.reshape(rows, [-1, action.shape[1] * features.shape[-1]])


class ViewVectors(NamedTuple):
    """Items as views tell of them.

    Attributes:
      items: float32 [P, W].
      sessions: how many were played for them.
      steps: recommendations made in them.
    """

    items: np.ndarray
    sessions: int
    steps: int


def view_vectors(simulator: RecoGym, width: int, sessions: int, seed: int) -> ViewVectors:
    """Item vectors from what users view while they are recommended at random.

    Users are played to their end, as those of training are, and count as such.

    Args:
      simulator: one of RecoGym's.
      width: W, at most P.
      sessions: how many to play.
      seed: of the play.
    """
    counts, steps = _views(simulator, sessions, types.seed_pair(seed, 0))
    return ViewVectors(co_view_vectors(counts.numpy(), width), sessions, int(steps))


@tf.function
def _views(simulator: RecoGym, sessions: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Views of each product in each of the sessions, [B, P], and the steps of all."""
    random = playing.random(simulator)

    def going(t: tf.Tensor, alive: tf.Tensor, *_: object) -> tf.Tensor:
        return tf.reduce_any(alive)

    def advance(t, alive, state, counts, steps):
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(seed, t), 2
        )
        outcome = simulator.step(
            state, random(playing.turn_of(simulator, state, seeds[0])), seeds[1]
        )
        steps += tf.reduce_sum(tf.cast(alive, tf.int32))
        alive &= ~outcome.done
        counts = tf.where(alive[:, None], outcome.state.counts, counts)
        return t + 1, alive, outcome.state, counts, steps

    state = simulator.reset(sessions, seed)
    alive = tf.ones([sessions], tf.bool)
    loop = (tf.constant(1), alive, state, state.counts, tf.constant(0))
    *_, counts, steps = tf.while_loop(going, advance, loop)
    return counts, steps


def co_view_vectors(counts: np.ndarray, width: int) -> np.ndarray:
    """Vectors whose inner products come close to how much more often items meet than by chance.

    The largest eigenvalues of the positive pointwise mutual information of items viewed by
    the same user, as in Levy and Goldberg (2014). A user's pairs weigh as much as a user has
    views, so that the longest sessions do not outweigh all others.

    Args:
      counts: float [U, P], views of each item by each user.
      width: W, at most P; columns beyond the rank are 0.

    Returns:
      float32 [P, W]; the mean square of a row is 1, unless no two items meet.
    """
    items = counts.shape[1]
    if not 1 <= width <= items:
        raise ValueError(f"width={width}; expected 1 to {items}, the number of items")
    counts = counts.astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    weighted = counts / np.maximum(total - 1.0, 1.0)
    meet = counts.T @ weighted - np.diag(weighted.sum(axis=0))
    meet = np.maximum((meet + meet.T) / 2.0, 0.0)  # [P, P]
    share = meet.sum(axis=1)
    everything = share.sum()
    expected = np.outer(share, share)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(meet * everything / expected)
    information = np.where(meet > 0, np.maximum(information, 0.0), 0.0)
    values, vectors = np.linalg.eigh(information)
    order = np.argsort(-values)[:width]
    found = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    # A vector and its opposite are as good: the largest entry of a column is positive.
    found *= np.where(found[np.abs(found).argmax(axis=0), np.arange(width)] < 0, -1.0, 1.0)
    scale = np.sqrt((found**2).sum(axis=1).mean())
    return (found / scale if scale > 0 else found).astype(np.float32)


def viewer(observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """A RecoGym observation in terms of item vectors instead of one column per item.

    Args:
      observation: float32 [B, 3 P], see `recogym`.
      items: float32 [P, W].

    Returns:
      float32 [B, 3 W + 1]: the mean vector of what was viewed, the same with later views
      weighing more, that of the last view, and log(1 + views) / 4.
    """
    seen, recent, last = tf.split(observation, 3, axis=1)
    seen, recent = tf.math.expm1(seen), tf.math.expm1(recent)
    many = tf.reduce_sum(seen, axis=1, keepdims=True)
    means = [
        tf.math.divide_no_nan(tf.matmul(x, items), tf.reduce_sum(x, axis=1, keepdims=True))
        for x in (seen, recent)
    ]
    return tf.concat([*means, tf.matmul(last, items), tf.math.log1p(many) / 4.0], axis=1)


def short_viewer(observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """A RecoGym observation in few numbers, for functions without a hidden layer.

    The mean vector of what was viewed, later views weighing more, drawn towards 0 as if three
    views of nothing had come before: a few views tell little of a user.

    Args:
      observation: float32 [B, 3 P], see `recogym`.
      items: float32 [P, W].

    Returns:
      Float32 [B, W].
    """
    recent = tf.math.expm1(tf.split(observation, 3, axis=1)[1])
    views = tf.reduce_sum(recent, axis=1, keepdims=True)
    return tf.matmul(recent, items) / (views + _VIEWS_OF_NOTHING)


class Face(tf.Module):
    """What a policy of weights sees of a simulator, and what its weights choose there.

    Args:
      simulator: who answers.
      vectors: one of `Vectors`; see `view_vectors`.
      width: W of learned vectors.
      sessions: played for learned vectors.
      seed: of that play.

    Attributes:
      observation_size: width of what `sees` gives.
      action_size: W, width of a proto-action.
      shown_size: D, width of what is shown in a place of a slate.
      catalogue: features of items that are always the same, float32 [m, D]; else None.
      sessions_before: sessions played here already.
      steps_before: recommendations made in them.

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
        super().__init__(name="face")
        self.slate_size = simulator.slate_size
        self.observation_size, self.action_size = (
            simulator.observation_size,
            simulator.action_size,
        )
        self.shown_size = simulator.action_size
        self.sessions_before = self.steps_before = 0
        self._items = None
        self._encoder = viewer if vectors == "views" else short_viewer
        self.catalogue = simulator.catalogue
        self._blocked = lambda observation: playing.blocked(simulator, observation)
        self._hidden = 0  # columns at the end of an observation that networks do not read
        if simulator.shown_columns is not None:
            self._hidden = len(simulator.shown_columns)
            self.observation_size -= self._hidden
        if vectors != "own":
            if not isinstance(simulator, RecoGym):
                name = type(simulator).__name__
                raise ValueError(f"vectors={vectors}: {name} shows no views; expected own")
            found = view_vectors(simulator, width, sessions, seed)
            self._items = tf.Variable(found.items, trainable=False, name="items")
            self.sessions_before, self.steps_before = found.sessions, found.steps
            self.observation_size = width
            if vectors == "views":
                self.observation_size, self.action_size = 3 * width + 1, width
        self._points_at = self._items if vectors == "views" else self.catalogue

    def sees(self, observation: tf.Tensor) -> tf.Tensor:
        """What networks are fed, float32 [B, observation_size], from observations [B, O]."""
        if self._items is not None:
            return self._encoder(observation, self._items)
        return observation[:, : -self._hidden] if self._hidden else observation

    def blocked(self, observation: tf.Tensor) -> tf.Tensor | None:
        """Candidates that may not be shown, bool [B, m]; see `playing.blocked`."""
        return self._blocked(observation)

    def chooses(self, weights: tf.Tensor, turn: playing.Turn, number: int = 0) -> tf.Tensor:
        """What the simulator is told, from proto-actions [B, W].

        With a number, so many items instead of a slate, int32 [B, number], best first.
        """
        if not self.slate_size:
            return weights
        features = turn.candidates if self._points_at is None else self._points_at
        return slate(weights, features, number or self.slate_size, turn.blocked)

    def shown(self, action: tf.Tensor, candidates: tf.Tensor | None) -> tf.Tensor:
        """Features of what was shown, float32 [B, k D]; a continuous action is its own."""
        if not self.slate_size:
            return action
        features = self.catalogue if self.catalogue is not None else candidates
        return shown(action, features)
