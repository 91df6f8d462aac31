"""Item vectors from the log: who clicked what together, how often, and with what success.

Frozen features, no gradient needed. They are the e(item) of embedding measurements, which
must not be trained, and a start for trainable embeddings: similar items begin close to
each other, and popular ones on one side.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from tfrec import types

_FEW_CLICKS = 5.0  # clicks for each item below which all that was shown counts
_PRIOR_STEPS = 10.0  # steps at the mean click rate that each item is given beforehand


def log_vectors(
    episodes: types.Episodes, num_items: int, size: int, seed: int = 0
) -> np.ndarray:
    """What the log says of each item: popularity, click rate, and its company.

    Args:
      episodes: training sessions.
      num_items: N.
      size: D, at least 1.
      seed: of the factorisation.

    Returns:
      float32 [N + 1, D]: the logarithm of how often it was shown; its click rate, drawn
      towards the mean where it was shown rarely; then `co_click_vectors`. Row 0 (padding)
      is zero. The first two columns have mean 0 and standard deviation 1 / 2.
    """
    shown = np.asarray(episodes.item).ravel()
    clicked = np.asarray(episodes.feedback)[..., 0].ravel() > 0
    steps = np.bincount(shown, minlength=num_items + 1)[1 : num_items + 1]  # [N]
    clicks = np.bincount(shown, clicked, minlength=num_items + 1)[1 : num_items + 1]
    usual = clicks.sum() / max(steps.sum(), 1)
    rate = (clicks + _PRIOR_STEPS * usual) / (steps + _PRIOR_STEPS)
    vectors = np.zeros((num_items + 1, size), np.float32)
    for column, value in enumerate((np.log1p(steps), rate)[:size]):
        vectors[1:, column] = 0.5 * (value - value.mean()) / max(value.std(), 1e-12)
    if size > 2:
        vectors[:, 2:] = co_click_vectors(episodes, num_items, size - 2, seed)
    return vectors


def co_click_vectors(
    episodes: types.Episodes, num_items: int, size: int, seed: int = 0
) -> np.ndarray:
    """Truncated SVD of the positive pointwise mutual information of co-clicks.

    Two items are clicked together if one user clicked both. The factorisation is the
    one that word2vec's skip-gram approximates (Levy and Goldberg, NeurIPS 2014). Where
    clicks are rare (purchases), two items are together if one user met both.

    Args:
      episodes: training sessions; their histories are not counted twice.
      num_items: N.
      size: D, at most N - 1 informative columns; the rest are zero.
      seed: of the iterative solver's start.

    Returns:
      float32 [N + 1, D]; row 0 (padding) is zero, the others have mean square length 1.
    """
    clicked = np.asarray(episodes.feedback)[..., 0] > 0  # [B, T]
    if clicked.sum() < _FEW_CLICKS * num_items:
        clicked = np.asarray(episodes.item) != types.PAD
    session, step = np.nonzero(clicked)
    user = np.asarray(episodes.user)[session]
    item = np.asarray(episodes.item)[session, step] - 1
    seen = scipy.sparse.coo_matrix(
        (np.ones(len(item), np.float32), (user, item)),
        shape=(user.max(initial=0) + 1, num_items),
    ).tocsr()
    seen.data[:] = 1.0
    together = (seen.T @ seen).tocoo()
    total, margin = together.sum(), np.asarray(together.sum(axis=0)).ravel()
    expected = margin[together.row] * margin[together.col] / max(total, 1.0)
    mutual = np.log(np.maximum(together.data, 1e-12) / np.maximum(expected, 1e-12))
    positive = scipy.sparse.coo_matrix(
        (np.maximum(mutual, 0.0), (together.row, together.col)), shape=together.shape
    ).tocsr()
    rank = min(size, num_items - 2)
    vectors = np.zeros((num_items + 1, size), np.float32)
    if rank < 1 or positive.nnz == 0:
        return vectors
    start = np.random.default_rng(seed).normal(size=num_items)
    left, strength, _ = scipy.sparse.linalg.svds(positive.astype(np.float64), k=rank, v0=start)
    vectors[1:, :rank] = (left * np.sqrt(strength))[:, ::-1]
    length = np.sqrt((vectors[1:] ** 2).sum(axis=1).mean())
    return vectors / max(length, 1e-12)
