"""Surrogate scores, which select a shortlist of items for a fully connected head.

The scores of such a head are not inner products, but the matrix of scores, requests x items,
has nearly a low rank. The exact scores of a few anchor items therefore approximate those of all
others:

    score(request, i) ~ sum_l weight_il score(request, anchor_l)

Anchors and weights are computed at export from the head's scores of sampled requests: a pivoted
QR decomposition selects anchors with nearly independent scores, and a ridge regression computes
the weights (a skeleton or CUR decomposition; Goreinov, Tyrtyshnikov and Zamarashkin 1997). The
cost of a request is the scores of the anchors, one inner-product search of the weights, and the
exact scores of the shortlist.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg
import tensorflow as tf

from tfrec import errors, types
from tfrec.serving import ranker as ranker_lib

SHORTLIST = 2000  # default number of items to score exactly
_ANCHORS = 64
_SAMPLE = 1024  # items among which anchors are selected
_REQUESTS = 256
_RIDGE = 1e-6  # relative to the largest eigenvalue of the anchors' moments
_AT_ONCE = 4_000_000  # scores computed at a time


class Surrogate(tf.Module):
    """Computes queries; inner products with the vectors of `fit` approximate the head's g.A.

    Args:
      anchors: int32 [L], dense ids.
      basis: float32 [L, L], maps the anchors' scores to a query.
    """

    def __init__(self, anchors: np.ndarray, basis: np.ndarray):
        super().__init__(name="surrogate")
        self._anchors = tf.constant(anchors, tf.int32)
        self._basis = tf.constant(basis, tf.float32)

    def query(
        self, model: ranker_lib.WorldModel, code: ranker_lib.StateGoal, goal: tf.Tensor
    ) -> tf.Tensor:
        """float32 [B, L]; goal is [B, M]."""
        anchors = tf.broadcast_to(
            self._anchors[None], [tf.shape(goal)[0], tf.size(self._anchors)]
        )
        advantage = model.advantage(code, anchors)  # [B, L, M]
        return tf.matmul(tf.einsum("bm,blm->bl", goal, advantage), self._basis)


def fit(ranker: ranker_lib.Ranker) -> tuple[Surrogate, np.ndarray]:
    """Fits a surrogate to a ranker's scores, reproducibly.

    Returns:
      The surrogate, and vectors float32 [A, L] of the A items that may be recommended.

    Raises:
      UserError: if the ranker's scores are not finite.
    """
    random = np.random.default_rng(2)
    observation, goals = _requests(ranker, random, _REQUESTS)
    count = ranker.spec.num_candidates
    sample = np.sort(random.choice(count, min(_SAMPLE, count), replace=False))
    batch = 1 << int(np.log2(np.clip(_AT_ONCE // count, 1, 32)))  # divides _REQUESTS
    advantages = _advantages(ranker.world_model)

    # Scores are scaled so that all requests have equal weight.
    scale = np.ones((_REQUESTS, 1))
    sampled = np.zeros((_REQUESTS, len(sample)))
    for rows, scores in _scored(advantages, observation, goals, batch):
        if not np.isfinite(scores).all():
            raise errors.UserError("the agent's scores are not finite")
        scale[rows, 0] = np.maximum(scores.std(axis=1), np.finfo(np.float32).tiny)
        sampled[rows] = scores[:, sample] / scale[rows]
    _, order = scipy.linalg.qr(sampled, mode="r", pivoting=True)
    anchors = order[:_ANCHORS]

    anchor_scores = sampled[:, anchors]  # [Q, L]
    moments, directions = np.linalg.eigh(anchor_scores.T @ anchor_scores)
    basis = directions / np.sqrt(moments + _RIDGE * moments[-1] + np.finfo(float).tiny)
    weights = (anchor_scores @ basis / scale).astype(np.float32)  # [Q, L]
    vectors = np.zeros((len(anchors), count), np.float32)
    for rows, scores in _scored(advantages, observation, goals, batch):
        vectors += weights[rows].T @ scores
    return Surrogate(sample[anchors] + 1, basis), vectors.T


def _advantages(model: ranker_lib.WorldModel) -> Callable[..., tf.Tensor]:
    """A function that computes g.A of every item, [b, A], for observations and goals [b, M]."""

    @tf.function(autograph=False)
    def advantages(observation: types.Observation, goal: tf.Tensor) -> tf.Tensor:
        code = model.encode(observation, goal)
        base = tf.reduce_sum(goal * model.value(code), axis=-1, keepdims=True)  # [b, 1]
        return model.scores(code, goal) - base

    return advantages


def _scored(
    advantages: Callable[..., tf.Tensor],
    observation: types.Observation,
    goals: np.ndarray,
    batch: int,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields rows and their g.A of every item, float32 [b, A], batch by batch."""
    for start in range(0, len(goals), batch):
        rows = slice(start, start + batch)
        some = types.constants(types.rows(observation, rows))
        yield rows, advantages(some, tf.constant(goals[rows])).numpy()


def _requests(
    ranker: ranker_lib.Ranker, random: np.random.Generator, count: int
) -> tuple[types.Observation, np.ndarray]:
    """Random histories and goals; every fourth goal is a named one, if there are any."""
    spec, horizon = ranker.spec, ranker.spec.history_length
    item = random.integers(1, spec.num_items + 1, (count, horizon)).astype(np.int32)
    length = random.integers(horizon + 1, size=count)
    item[np.arange(horizon) < (horizon - length)[:, None]] = types.PAD  # oldest first
    columns = [
        random.integers(2, size=item.shape)
        if column.kind == "binary"
        else random.exponential(column.scale, item.shape)
        for column in spec.feedback
    ]
    feedback = np.where(item[..., None] > 0, np.stack(columns, axis=-1), 0)  # [Q, H, F]
    step = random.integers(spec.max_steps, size=count).astype(np.int32)
    goals = random.normal(size=(count, len(ranker.measurements.columns)))
    named = list(ranker.named_goals.values())
    for place, goal in zip(range(0, count, 4), named * count, strict=False):
        goals[place] = goal
    goals /= np.linalg.norm(goals, axis=1, keepdims=True)
    observation = types.Observation(item, feedback.astype(np.float32), step)
    if spec.state_features is not None:
        values = random.integers(
            spec.state_features.values, endpoint=True, size=(count, spec.context_slots)
        )
        observation = observation._replace(context_values=values.astype(np.int32))
    return observation, goals.astype(np.float32)
