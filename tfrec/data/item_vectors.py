"""Item vectors from who clicked what together: frozen features, no gradient needed.

They are the e(item) of embedding measurements, which must not be trained, and a start
for trainable embeddings: similar items begin close to each other.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from tfrec import types


def co_click_vectors(
    episodes: types.Episodes, num_items: int, size: int, seed: int = 0
) -> np.ndarray:
    """Truncated SVD of the positive pointwise mutual information of co-clicks.

    Two items are clicked together if one user clicked both. The factorisation is the
    one that word2vec's skip-gram approximates (Levy and Goldberg, NeurIPS 2014).

    Args:
      episodes: training sessions; their histories are not counted twice.
      num_items: N.
      size: D, at most N - 1 informative columns; the rest are zero.
      seed: of the iterative solver's start.

    Returns:
      float32 [N + 1, D]; row 0 (padding) is zero, the others have mean square length 1.
    """
    clicked = np.asarray(episodes.feedback)[..., 0] > 0  # [B, T]
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
