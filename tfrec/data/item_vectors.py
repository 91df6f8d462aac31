"""Item vectors from the log: popularity, mean feedback, and co-clicks or click factors.

The vectors are frozen features. They are the e(item) of embedding measurements, which must
not be trained, and initial values of trainable embeddings: similar items start close to each
other, and popular items on one side.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from tfrec import types

_FEW_CLICKS = 5.0  # mean clicks of an item; below it, every shown item counts as clicked
_PRIOR_STEPS = 10.0  # pseudo-steps with the overall mean, added to each item

Taste = Literal["co_clicks", "factors"]


def log_vectors(
    episodes: types.Episodes,
    num_items: int,
    size: int,
    seed: int = 0,
    taste: Taste = "co_clicks",
) -> np.ndarray:
    """Popularity, mean feedback, exit rate and vector of taste of each item.

    Args:
      episodes: training sessions.
      num_items: N.
      size: D, at least 1.
      seed: seed of the factorisation.
      taste: the last columns: `co_click_vectors` or `click_factors`.

    Returns:
      float32 [N + 1, D]: the logarithm of the number of steps that show the item; the mean of
      each feedback column and the share of exits after it, shrunk towards the overall mean for
      rarely shown items; then the columns of taste. Row 0 (padding) is zero. All columns but
      those of taste have mean 0 and standard deviation 1 / 2.
    """
    item = np.asarray(episodes.item)  # [B, T]
    shown_item = item.ravel()
    steps = np.bincount(shown_item, minlength=num_items + 1)[1 : num_items + 1]  # [N]
    last = np.asarray(episodes.length)[:, None] - 1 == np.arange(item.shape[1])
    exited = last & np.asarray(episodes.exited)[:, None]
    outcomes = [*np.moveaxis(np.asarray(episodes.feedback), -1, 0), exited]  # [B, T] each
    columns = [np.log1p(steps)]
    for outcome in outcomes:
        total = np.bincount(shown_item, outcome.ravel(), minlength=num_items + 1)[
            1 : num_items + 1
        ]
        overall_mean = total.sum() / max(steps.sum(), 1)
        columns.append((total + _PRIOR_STEPS * overall_mean) / (steps + _PRIOR_STEPS))
    vectors = np.zeros((num_items + 1, size), np.float32)
    for number, value in enumerate(columns[:size]):
        varies = (
            value.std() > 1e-12 * np.abs(value).max()
        )  # relative, hence independent of the unit
        vectors[1:, number] = 0.5 * (value - value.mean()) / (value.std() if varies else 1.0)
    if size > len(columns):
        last = _TASTES[taste](episodes, num_items, size - len(columns), seed)
        vectors[:, len(columns) :] = last
    return vectors


def co_click_vectors(
    episodes: types.Episodes, num_items: int, size: int, seed: int = 0
) -> np.ndarray:
    """Truncated SVD of the positive pointwise mutual information of co-clicks.

    Two items are clicked together if one user clicked both. The factorisation is the
    one that word2vec's skip-gram approximates (Levy and Goldberg, NeurIPS 2014). Where
    clicks are rare (purchases), two items are together if one user was shown both.

    Args:
      episodes: training sessions; their histories are not counted twice.
      num_items: N.
      size: D, at most N - 1 informative columns; the rest are zero.
      seed: seed of the iterative solver's initial vector.

    Returns:
      float32 [N + 1, D]; row 0 (padding) is zero, the others have mean square length 1.
    """
    return co_occurrence_vectors(*_clicks(episodes, num_items), num_items, size, seed)


def click_factors(
    episodes: types.Episodes, num_items: int, size: int, seed: int = 0
) -> np.ndarray:
    """Item factors of users' clicks, see `user_factors`.

    Where clicks are rare, shown items count, as in `co_click_vectors`.

    Args:
      episodes: training sessions; their histories are not counted twice.
      num_items: N.
      size: D, fewer informative columns than users and items; the rest are zero.
      seed: seed of the iterative solver's initial vector.

    Returns:
      float32 [N + 1, D]; row 0 (padding) is zero, the others have mean square length 1.
    """
    return user_factors(*_clicks(episodes, num_items), num_items, size, seed)


def user_factors(
    user: np.ndarray, item: np.ndarray, num_users: int, num_items: int, size: int, seed: int
) -> np.ndarray:
    """Item factors of the truncated SVD of a matrix of users and items.

    The matrix is 1 where a user has an item. The inner product of the mean factors of a user's
    items with another item's ranks well (PureSVD of Cremonesi, Koren and Turrin, RecSys 2010),
    so that policies which choose items by an inner product can do so, too. Arguments are those
    of `co_occurrence_vectors`.

    Returns:
      float32 [N + 1, D]: the right singular vectors times the roots of their singular values,
      as in `click_factors`.
    """
    return _root_vectors(_click_matrix(user, item, num_users, num_items).T, size, seed)


def co_occurrence_vectors(
    user: np.ndarray, item: np.ndarray, num_users: int, num_items: int, size: int, seed: int
) -> np.ndarray:
    """The vectors of `co_click_vectors` from events: items are together in a user's events.

    Args:
      user: int [E], 0 to num_users - 1.
      item: int [E], dense ids.
      num_users: U.
      num_items: N.
      size: D.
      seed: seed of the iterative solver's initial vector.

    Returns:
      float32 [N + 1, D], see `co_click_vectors`.
    """
    occurs = _click_matrix(user, item, num_users, num_items)
    together = (occurs.T @ occurs).tocoo()
    total, margin = together.sum(), np.asarray(together.sum(axis=0)).ravel()
    expected = margin[together.row] * margin[together.col] / max(total, 1.0)
    mutual = np.log(np.maximum(together.data, 1e-12) / np.maximum(expected, 1e-12))
    positive = scipy.sparse.coo_matrix(
        (np.maximum(mutual, 0.0), (together.row, together.col)), shape=together.shape
    ).tocsr()
    return _root_vectors(positive, size, seed)


def _clicks(episodes: types.Episodes, num_items: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Users and items of clicked steps, or of all steps where clicks are rare, and U."""
    clicked = np.asarray(episodes.feedback)[..., 0] > 0  # [B, T]
    if clicked.sum() < _FEW_CLICKS * num_items:
        clicked = np.asarray(episodes.item) != types.PAD
    session, step = np.nonzero(clicked)
    user = np.asarray(episodes.user)[session]
    return user, np.asarray(episodes.item)[session, step], int(user.max(initial=0)) + 1


def _click_matrix(
    user: np.ndarray, item: np.ndarray, num_users: int, num_items: int
) -> scipy.sparse.csr_matrix:
    """1 where a user has an item, float32 [U, N]."""
    ones = np.ones(len(item), np.float32)
    matrix = scipy.sparse.csr_matrix((ones, (user, item - 1)), shape=(num_users, num_items))
    matrix.data[:] = 1.0
    return matrix


def _root_vectors(matrix: scipy.sparse.spmatrix, size: int, seed: int) -> np.ndarray:
    """Left singular vectors times the roots of their singular values.

    Args:
      matrix: a row for each of N items.
      size: D.
      seed: seed of the iterative solver's initial vector.

    Returns:
      float32 [N + 1, D], row 0 zero, the others of mean square length 1.
    """
    num_items, rank = matrix.shape[0], min(size, min(matrix.shape) - 2)
    vectors = np.zeros((num_items + 1, size), np.float32)
    if rank < 1 or matrix.count_nonzero() == 0:
        return vectors
    start = np.random.default_rng(seed).normal(size=min(matrix.shape))
    left, strength, _ = scipy.sparse.linalg.svds(matrix.astype(np.float64), k=rank, v0=start)
    # The sign of a singular vector is arbitrary, and that of the solver depends on the
    # processor. The entry of largest magnitude is made positive.
    largest = np.take_along_axis(left, np.abs(left).argmax(axis=0)[None], axis=0)  # [1, rank]
    vectors[1:, :rank] = (left * np.sign(largest) * np.sqrt(strength))[:, ::-1]
    length = np.sqrt((vectors[1:] ** 2).sum(axis=1).mean())
    return vectors / max(length, 1e-12)


_TASTES: dict[Taste, Callable[..., np.ndarray]] = {
    "co_clicks": co_click_vectors,
    "factors": click_factors,
}
