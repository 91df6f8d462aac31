"""What views say of RecoGym's products: vectors of products, and of users in their terms."""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, playing
from tfrec.environments.contract import ViewVectors

_VIEWS_OF_NOTHING = 3.0


class RecoGymViews:
    """What a RecoGym simulator's views say; a `contract.Views`.

    Args:
      simulator: one of RecoGym's.
    """

    def __init__(self, simulator: contract.Simulator):
        self._simulator = simulator

    def vectors(self, width: int, sessions: int, seed: int) -> ViewVectors:
        """Item vectors from what users view while they are recommended at random."""
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


@tf.function(autograph=False)
def _views(
    simulator: contract.Simulator, sessions: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Views of each product in each of the sessions, [B, P], and the steps of all."""
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
