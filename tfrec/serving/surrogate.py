"""The shortlist of items that a fully connected head scores, chosen by a surrogate.

The scores of such a head are no inner products, but as functions of the item they differ
little in kind from one request to the next: the matrix of requests x items has nearly a low
rank. So the exact scores of a few anchor items tell those of all others, nearly:

    score(request, i) ~ sum_l weight_il score(request, anchor_l)

Anchors and weights are found at export, from the head's own scores of sampled requests: a
pivoted QR decomposition picks anchors whose scores say least of each other, and a ridge
regression gives the weights (a skeleton or CUR decomposition; Goreinov, Tyrtyshnikov and
Zamarashkin 1997). A request then costs the anchors, one inner-product search of the weights,
and the exact scores of the shortlist that it gives.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg
import tensorflow as tf

from tfrec import errors, types
from tfrec.serving import ranker as ranker_lib

SHORTLIST = 2000  # items scored exactly where nobody says how many
_ANCHORS = 64
_SAMPLE = 1024  # items that anchors are chosen from
_REQUESTS = 256
_RIDGE = 1e-6  # relative to the largest eigenvalue of the anchors' moments
_AT_ONCE = 4_000_000  # scores worked out at a time


class Surrogate(tf.Module):
    """Queries whose inner products with `fit`'s vectors are nearly the head's g.A.

    Args:
      anchors: int32 [L], dense ids.
      basis: float32 [L, L], from the anchors' scores to a query.
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
    """A surrogate of a ranker's scores; the same ranker gives the same one.

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

    # Each request counts the same, whatever the size of its scores.
    spread = np.ones((_REQUESTS, 1))
    sampled = np.zeros((_REQUESTS, len(sample)))
    for rows, scores in _scored(advantages, observation, goals, batch):
        if not np.isfinite(scores).all():
            raise errors.UserError("the agent's own scores are not finite")
        spread[rows, 0] = np.maximum(scores.std(axis=1), np.finfo(np.float32).tiny)
        sampled[rows] = scores[:, sample] / spread[rows]
    _, order = scipy.linalg.qr(sampled, mode="r", pivoting=True)
    chosen = order[:_ANCHORS]

    known = sampled[:, chosen]  # [Q, L]
    moments, directions = np.linalg.eigh(known.T @ known)
    basis = directions / np.sqrt(moments + _RIDGE * moments[-1] + np.finfo(float).tiny)
    weights = (known @ basis / spread).astype(np.float32)  # [Q, L]
    vectors = np.zeros((len(chosen), count), np.float32)
    for rows, scores in _scored(advantages, observation, goals, batch):
        vectors += weights[rows].T @ scores
    return Surrogate(sample[chosen] + 1, basis), vectors.T


def _advantages(model: ranker_lib.WorldModel) -> Callable[..., tf.Tensor]:
    """The g.A of every item, float32 [b, A], for an observation and goals [b, M]."""

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
    """Rows and their g.A of every item, float32 [b, A], batch by batch."""
    for start in range(0, len(goals), batch):
        rows = slice(start, start + batch)
        some = types.Observation(*(tf.constant(value[rows]) for value in observation))
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
    return types.Observation(item, feedback.astype(np.float32), step), goals.astype(np.float32)
