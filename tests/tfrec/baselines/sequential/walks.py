"""Users who walk along the cycle of items, for tests of sequential models."""

import numpy as np

from tfrec.data.sequences import Sequences

NUM_ITEMS = 12


def cycles(users, seed, num_items=NUM_ITEMS):
    """Walks of 4 to 10 events from any start: only order tells the next item."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 11, users)
    starts = rng.integers(0, num_items, users)
    items = [(s + np.arange(n)) % num_items + 1 for s, n in zip(starts, lengths, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(np.concatenate(items).astype(np.int32), offsets, num_items)


def of_rows(rows, num_items=NUM_ITEMS):
    """Sequences of lists of items."""
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(items, np.cumsum([0, *map(len, rows)]), num_items)
