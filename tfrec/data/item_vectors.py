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
_PRIOR_STEPS = 10.0  # steps with the usual answers that each item is given beforehand


def log_vectors(
    episodes: types.Episodes, num_items: int, size: int, seed: int = 0
) -> np.ndarray:
    """What the log says of each item: popularity, what it met with, and its company.

    Args:
      episodes: training sessions.
      num_items: N.
      size: D, at least 1.
      seed: of the factorisation.

    Returns:
      float32 [N + 1, D]: the logarithm of how often it was shown; the mean of each
      feedback column and the share of exits after it, drawn towards the usual where it was
      shown rarely; then `co_click_vectors`. Row 0 (padding) is zero. All but the latter have
      mean 0 and standard deviation 1 / 2.
    """
    item = np.asarray(episodes.item)  # [B, T]
    shown = item.ravel()
    steps = np.bincount(shown, minlength=num_items + 1)[1 : num_items + 1]  # [N]
    last = np.asarray(episodes.length)[:, None] - 1 == np.arange(item.shape[1])
    left = last & np.asarray(episodes.exited)[:, None]
    answers = [*np.moveaxis(np.asarray(episodes.feedback), -1, 0), left]  # [B, T] each
    columns = [np.log1p(steps)]
    for answer in answers:
        total = np.bincount(shown, answer.ravel(), minlength=num_items + 1)[1 : num_items + 1]
        usual = total.sum() / max(steps.sum(), 1)
        columns.append((total + _PRIOR_STEPS * usual) / (steps + _PRIOR_STEPS))
    vectors = np.zeros((num_items + 1, size), np.float32)
    for number, value in enumerate(columns[:size]):
        varies = value.std() > 1e-12 * np.abs(value).max()  # whatever the unit
        vectors[1:, number] = 0.5 * (value - value.mean()) / (value.std() if varies else 1.0)
    if size > len(columns):
        company = co_click_vectors(episodes, num_items, size - len(columns), seed)
        vectors[:, len(columns) :] = company
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
    item = np.asarray(episodes.item)[session, step]
    return company_vectors(user, item, int(user.max(initial=0)) + 1, num_items, size, seed)


def company_vectors(
    user: np.ndarray, item: np.ndarray, num_users: int, num_items: int, size: int, seed: int
) -> np.ndarray:
    """The vectors of `co_click_vectors` from events: items are together in a user's events.

    Args:
      user: int [E], 0 to num_users - 1.
      item: int [E], dense ids.
      num_users: U.
      num_items: N.
      size: D.
      seed: of the iterative solver's start.

    Returns:
      float32 [N + 1, D], see `co_click_vectors`.
    """
    seen = scipy.sparse.coo_matrix(
        (np.ones(len(item), np.float32), (user, item - 1)), shape=(num_users, num_items)
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
    if rank < 1 or positive.count_nonzero() == 0:
        return vectors
    start = np.random.default_rng(seed).normal(size=num_items)
    left, strength, _ = scipy.sparse.linalg.svds(positive.astype(np.float64), k=rank, v0=start)
    # A singular vector has no sign of its own; which one the solver returns depends on the
    # processor. The entry of largest magnitude is made positive.
    largest = np.take_along_axis(left, np.abs(left).argmax(axis=0)[None], axis=0)  # [1, rank]
    vectors[1:, :rank] = (left * np.sign(largest) * np.sqrt(strength))[:, ::-1]
    length = np.sqrt((vectors[1:] ** 2).sum(axis=1).mean())
    return vectors / max(length, 1e-12)
