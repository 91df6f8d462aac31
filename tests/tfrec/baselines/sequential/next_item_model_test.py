"""Which items of a user are kept from its negatives, against plain sets."""

import numpy as np
import tensorflow as tf

from tfrec.baselines.sequential import next_item_model
from tfrec.ops import next_item

RNG = np.random.default_rng(0)
PAIRS = np.stack([RNG.integers(0, 4, 30), RNG.integers(0, 12, 30)], axis=1).astype(np.int32)
OWN = {(int(row), int(item)) for row, item in PAIRS}


def test_offsets_exclude_what_a_row_has_also_where_ids_repeat():
    ids = np.array([0, 2, 2, 2, 5, 7, 7, 11], np.int32)
    result = next_item_model.user_item_offsets(
        tf.constant(PAIRS), tf.constant(5), tf.constant(ids)
    )
    expected = [
        [next_item.EXCLUDED if (row, item) in OWN else 0.0 for item in ids.tolist()]
        for row in range(5)
    ]
    assert np.array_equal(result, np.array(expected, np.float32))


def test_drawn_items_are_looked_up_among_the_rows_own():
    row, ids = RNG.integers(0, 5, 200), RNG.integers(0, 13, 200)
    result = next_item_model.is_user_item(
        tf.constant(PAIRS), tf.constant(row, tf.int32), tf.constant(ids, tf.int32)
    )
    assert result.numpy().tolist() == [
        pair in OWN for pair in zip(row.tolist(), ids.tolist(), strict=True)
    ]
