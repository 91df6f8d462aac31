"""Choosing items: scores of candidates by their features, and slates drawn from scores."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.nn.networks import Perceptron
from tfrec.ops import selection


class Scores(tf.Module):
    """A score for each candidate: query(s) . [encoded features, 1].

    Args:
      observation_size: of what stands for s.
      feature_size: D.
      hidden: widths of the query's hidden layers; the first also of the items'.
      width: of the encoded features.
      seeds: of the initial weights.
      name: of the module.
    """

    def __init__(
        self,
        observation_size: int,
        feature_size: int,
        hidden: Sequence[int],
        width: int,
        seeds: Iterator[int],
        name: str,
    ):
        super().__init__(name=name)
        self.query = Perceptron(observation_size, hidden, width + 1, seeds, "query")
        self.item = Perceptron(feature_size, hidden[:1], width, seeds, "item")

    def __call__(self, observation: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Float [B, m].

        Args:
          observation: float [B, O].
          features: float [B, m, D], or [m, D] where all choose from the same.
        """
        query = self.query(observation)  # [B, E + 1]
        flat = tf.reshape(features, [-1, features.shape[-1]])
        encoded = self.item(flat)  # [B * m, E] or [m, E]
        encoded = tf.concat([encoded, tf.ones_like(encoded[:, :1])], axis=1)
        if features.shape.rank == 2:
            return tf.matmul(query, encoded, transpose_b=True)
        many = tf.shape(features)[1]
        encoded = tf.reshape(encoded, [-1, many, encoded.shape[-1]])  # [B, m, E + 1]
        return tf.einsum("be,bme->bm", query, encoded)


def offered(timestep: Timestep, catalogue: tf.Tensor | None) -> tf.Tensor:
    """What to score at a step: the catalogue, [m, D], or the candidates, [B, m, D]."""
    return timestep.candidates if catalogue is None else catalogue


def sampled(simulator: contract.Simulator, sessions: int, seed: int) -> np.ndarray:
    """Candidates at the start of so many sessions, float [sessions, m, D]."""
    candidates = simulator.candidates(simulator.reset(sessions, types.seed_pair(seed, 0)))
    return np.asarray(candidates)


def drawn(scores: tf.Tensor, slate: int, seed: tf.Tensor) -> tf.Tensor:
    """Samples a slate without replacement by softmax over remaining items, int32 [B, k].

    The k highest of scores with Gumbel noise are such a draw (Plackett-Luce).

    Args:
      scores: float [B, m]; -inf never comes while others are left.
      slate: k.
      seed: int32 [2].
    """
    uniform = tf.random.stateless_uniform(tf.shape(scores), seed, 1e-20, 1.0)
    return selection.best_slate(scores - tf.math.log(-tf.math.log(uniform)), slate)


def slate_log_prob(scores: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
    """The log probability of the slate in its order (see `drawn`), float [B], nats.

    Args:
      scores: float [B, m].
      action: int32 [B, k].
    """
    many, slate = tf.shape(scores)[1], action.shape[1]
    total = tf.zeros_like(scores[:, 0])
    for place in range(slate):
        item = action[:, place]  # [B]
        score = tf.gather(scores, item, batch_dims=1)  # [B]
        total += score - tf.reduce_logsumexp(scores, axis=1)
        scores = tf.where(tf.one_hot(item, many, True, False, dtype=tf.bool), _GONE, scores)
    return total


# Not -inf, which has no gradient.
_GONE = -1e9


def entropy(scores: tf.Tensor) -> tf.Tensor:
    """Of the slate's first pick, float [B], nats."""
    log_share = tf.nn.log_softmax(scores)
    return -tf.reduce_sum(tf.exp(log_share) * log_share, axis=1)
