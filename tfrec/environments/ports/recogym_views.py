"""Vectors of RecoGym's products from views, and encodings of users by these vectors."""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, playing
from tfrec.environments.contract import ViewVectors

_PSEUDO_VIEWS = 3.0


class RecoGymViews:
    """Representations from a RecoGym simulator's views; a `contract.Views`.

    Args:
      simulator: a RecoGym simulator.
    """

    def __init__(self, simulator: contract.Simulator):
        self._simulator = simulator

    def vectors(self, width: int, sessions: int, seed: int) -> ViewVectors:
        """Item vectors from the views of users under random recommendations."""
        return view_vectors(self._simulator, width, sessions, seed)

    def encoder(self, observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """See `viewer`."""
        return viewer(observation, items)

    def short_encoder(self, observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """See `short_viewer`."""
        return short_viewer(observation, items)


def view_vectors(
    simulator: contract.Simulator, width: int, sessions: int, seed: int
) -> ViewVectors:
    """Item vectors from the views of users under random recommendations.

    Sessions are played to their end and count as training sessions.

    Args:
      simulator: a RecoGym simulator.
      width: W, at most P.
      sessions: number of sessions to play.
      seed: seed of these sessions.
    """
    counts, steps = _views(simulator, sessions, types.seed_pair(seed, 0))
    return ViewVectors(co_view_vectors(counts.numpy(), width), sessions, int(steps))


@tf.function(autograph=False)
def _views(
    simulator: contract.Simulator, sessions: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Views of each product in each session, [B, P], and the total number of steps."""
    random = contract.random_policy(simulator)

    def going(t: tf.Tensor, alive: tf.Tensor, *_: object) -> tf.Tensor:
        return tf.reduce_any(alive)

    def advance(t, alive, state, counts, steps):
        seeds = tf.random.experimental.stateless_split(
            tf.random.experimental.stateless_fold_in(seed, t), 2
        )
        outcome = playing.step(simulator, random, state, seeds)
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
    """Vectors whose inner products approximate positive pointwise mutual information.

    The vectors belong to the largest eigenvalues of the positive pointwise mutual information
    of items viewed by the same user, as in Levy and Goldberg (2014). The total weight of a
    user's pairs is the user's number of views, so that long sessions do not dominate.

    Args:
      counts: float [U, P], views of each item by each user.
      width: W, at most P; columns beyond the rank are 0.

    Returns:
      float32 [P, W]; the mean square of a row is 1, unless no two items were viewed together.
    """
    items = counts.shape[1]
    if not 1 <= width <= items:
        raise ValueError(f"width={width}; expected 1 to {items}, the number of items")
    counts = counts.astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    weighted = counts / np.maximum(total - 1.0, 1.0)
    co_views = counts.T @ weighted - np.diag(weighted.sum(axis=0))
    co_views = np.maximum((co_views + co_views.T) / 2.0, 0.0)  # [P, P]
    margin = co_views.sum(axis=1)
    total_weight = margin.sum()
    expected = np.outer(margin, margin)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(co_views * total_weight / expected)
    information = np.where(co_views > 0, np.maximum(information, 0.0), 0.0)
    values, vectors = np.linalg.eigh(information)
    order = np.argsort(-values)[:width]
    scaled = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    # The sign of an eigenvector is arbitrary: make the largest entry of a column positive.
    scaled *= np.where(scaled[np.abs(scaled).argmax(axis=0), np.arange(width)] < 0, -1.0, 1.0)
    scale = np.sqrt((scaled**2).sum(axis=1).mean())
    return (scaled / scale if scale > 0 else scaled).astype(np.float32)


def viewer(observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """Encodes a RecoGym observation by item vectors instead of one column per item.

    Args:
      observation: float32 [B, 3 P], see `recogym`.
      items: float32 [P, W].

    Returns:
      float32 [B, 3 W + 1]: the mean vector of the views, the same with larger weights of later
      views, the vector of the last view, and log(1 + views) / 4.
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
    """A short encoding of a RecoGym observation, for functions without a hidden layer.

    It is the mean vector of the views with larger weights of later ones, shrunk towards 0 by
    three pseudo-views of a zero vector, because a few views hold little information.

    Args:
      observation: float32 [B, 3 P], see `recogym`.
      items: float32 [P, W].

    Returns:
      float32 [B, W].
    """
    recent = tf.math.expm1(tf.split(observation, 3, axis=1)[1])
    views = tf.reduce_sum(recent, axis=1, keepdims=True)
    return tf.matmul(recent, items) / (views + _PSEUDO_VIEWS)
