"""Controls beside sequential models: popularity, recent popularity, item neighbours and EASE.

They read which items a user has, and not their order. Each is fitted when it is made and ranks
through `scores`, as the models do.

Axes: U users, N items, V histories.
"""

import numpy as np
import scipy.linalg
import scipy.sparse

from tfrec.data import sequences
from tfrec.errors import UserError

_DAY = 86_400.0  # seconds
_ROWS_AT_ONCE = 1_024  # items in a batch of the search for neighbours
EASE_ITEMS = 20_000  # two matrices of float64 [N, N] take 6.4 GB


class Popularity:
    """Items by the number of training events.

    Args:
      train: training events.
    """

    def __init__(self, train: sequences.Sequences):
        self._counts = train.counts().astype(np.float32)

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the catalogue for each history, float32 [V, N]."""
        return np.tile(self._counts, (len(history), 1))


class RecentPopularity(Popularity):
    """Items by the number of events in the last days of the training events.

    Args:
      train: training events, with times in seconds.
      days: how many days count.

    Raises:
      UserError: if the events have no times.
    """

    def __init__(self, train: sequences.Sequences, days: float = 7.0):
        if train.times is None:
            raise UserError("recent popularity needs the time of each event; the log has none")
        recent = train.times > train.times.max() - days * _DAY
        counts = np.bincount(train.items[recent], minlength=train.num_items + 1)[1:]
        self._counts = counts.astype(np.float32)


class ItemNeighbours:
    """Item-kNN: an item's score is the sum of its cosines with its neighbours in the history.

    The cosine of two items is that of their sets of training users (Sarwar et al. 2001). The
    neighbours of an item are those of the largest cosines.

    Args:
      train: training events.
      neighbours: how many each item has.
      shrinkage: added to the denominator, so that items that few users share are less similar.
    """

    def __init__(
        self, train: sequences.Sequences, neighbours: int = 100, shrinkage: float = 10.0
    ):
        by_item = interactions(train).T.tocsr()  # [N, U]
        self._similar = _similarities(by_item, neighbours, shrinkage)

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the catalogue for each history, float32 [V, N]."""
        return _neighbour_scores(history, self._similar)


class ContentNeighbours:
    """Content-kNN: an item's score is the sum of cosines with its neighbours in the history.

    The cosine of two items is that of their feature values, each weighted by the logarithm of
    how many times fewer items have it than there are items (inverse document frequency). An
    item that no user has is ranked as any other.

    Args:
      values: int32 [N + 1, K], feature values 1..W of the items; 0 for none. Row 0 is unused.
      neighbours: how many each item has.
    """

    def __init__(self, values: np.ndarray, neighbours: int = 100):
        num_items = len(values) - 1
        item, slot = np.nonzero(values[1:])
        value = values[1:][item, slot]
        shape = (num_items, int(values.max(initial=0)) + 1)
        has = scipy.sparse.csr_array((np.ones(len(item), np.float32), (item, value)), shape)
        has.data[:] = 1.0  # a repeated value counts once
        frequency = np.maximum(np.asarray(has.sum(axis=0)).ravel(), 1.0)
        weighted = (has * np.log(num_items / frequency)[None]).tocsr()
        self._similar = _similarities(weighted, neighbours, shrinkage=1e-9)

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the catalogue for each history, float32 [V, N]."""
        return _neighbour_scores(history, self._similar)


class Ease:
    """EASE: the linear model from items to items with zero diagonal (Steck 2019).

    B = I - P diag(P)^-1 with P = (X^T X + l2 I)^-1, the closed form of ridge regression of each
    item on all others.

    Args:
      train: training events.
      l2: ridge penalty, users.

    Raises:
      UserError: if the catalogue is too large for a dense matrix.
    """

    def __init__(self, train: sequences.Sequences, l2: float = 500.0):
        if train.num_items > EASE_ITEMS:
            raise UserError(
                f"EASE solves for a dense matrix of items by items; the log has "
                f"{train.num_items:,} items, expected at most {EASE_ITEMS:,}. Leave rare items "
                "out, or take item neighbours"
            )
        has = interactions(train)
        gram = np.asarray((has.T @ has).todense(), np.float64)
        gram[np.diag_indices_from(gram)] += l2
        # The gram matrix plus a penalty is positive definite.
        inverse = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
        weights = -inverse / np.diag(inverse)  # column j is divided by P_jj
        weights[np.diag_indices_from(weights)] = 0.0
        self._weights = weights.astype(np.float32)

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Scores of the catalogue for each history, float32 [V, N]."""
        return interactions(history) @ self._weights


def interactions(log: sequences.Sequences) -> scipy.sparse.csr_array:
    """Matrix of the items of each row, float32 0/1 [U, N]."""
    shape = (len(log), log.num_items)
    ones = np.ones(len(log.items), np.float32)
    # scipy sums duplicates in place, so the log's offsets are copied.
    matrix = scipy.sparse.csr_array((ones, log.items - 1, log.offsets.copy()), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _similarities(
    by_item: scipy.sparse.csr_array, neighbours: int, shrinkage: float
) -> scipy.sparse.csr_array:
    """Cosines of each item with its nearest neighbours.

    Args:
      by_item: float [N, .], a vector for each item.
      neighbours: how many each item has.
      shrinkage: added to the denominator.

    Returns:
      float [N, N]: the item of a history, and the scored item of which it is a neighbour.
    """
    norms = np.sqrt(np.asarray((by_item * by_item).sum(axis=1)).ravel())
    others = by_item.T.tocsr()
    blocks = []
    for start in range(0, by_item.shape[0], _ROWS_AT_ONCE):
        shared = (by_item[start : start + _ROWS_AT_ONCE] @ others).tocsr()  # [b, N]
        row = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
        denominator = norms[row + start] * norms[shared.indices] + shrinkage
        shared.data = shared.data / denominator
        shared.data[shared.indices == row + start] = 0.0
        blocks.append(_largest(shared, neighbours))
    return scipy.sparse.vstack(blocks).T.tocsr()


def _neighbour_scores(
    history: sequences.Sequences, similar: scipy.sparse.csr_array
) -> np.ndarray:
    return np.asarray((interactions(history) @ similar).todense(), np.float32)


def _largest(rows: scipy.sparse.csr_array, count: int) -> scipy.sparse.csr_array:
    """The rows with only their `count` largest entries; equal ones by column."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((rows.indices, -rows.data, row))
    place = np.arange(len(order)) - rows.indptr[row]  # rank within the row
    keep = order[place < count]
    return scipy.sparse.csr_array(
        (rows.data[keep], (row[keep], rows.indices[keep])), shape=rows.shape
    )
