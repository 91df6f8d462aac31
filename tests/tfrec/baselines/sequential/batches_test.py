"""Batches of packed windows, worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.baselines.sequential import batches
from tfrec.data.sequences import Sequences


def make(rows, num_items=9):
    offsets = np.cumsum([0, *map(len, rows)])
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(items, offsets, num_items)


def test_a_training_batch_predicts_each_next_item():
    train = make([[1, 2, 3, 4, 5], [9], [6, 7]])
    batch = batches.training_batch(
        train, np.array([0, 2]), np.array([1, 0]), np.array([5, 2]), length=3
    )
    # Ordered by length: user 2's window 6, 7 and user 0's 2, 3, 4, 5.
    assert batch.inputs.item.tolist() == [6, 2, 3, 4]
    assert batch.target.tolist() == [7, 3, 4, 5]
    assert batch.row.tolist() == [0, 1, 1, 1]
    assert batch.user.tolist() == [2, 0]
    assert batch.inputs.place.tolist() == [2, 0, 1, 2]
    assert batch.inputs.last.tolist() == [0, 3]
    # All training items of the user, also those before the window.
    assert batch.user_items.tolist() == [[0, 5], [0, 6], [1, 0], [1, 1], [1, 2], [1, 3], [1, 4]]


def test_a_window_ends_where_it_is_told():
    log, first = make([[1, 2, 3, 4, 5]]), np.array([0])
    batch = batches.training_batch(log, first, first, np.array([3]), 2)
    assert batch.inputs.item.tolist() == [1, 2]
    assert batch.target.tolist() == [2, 3]


def test_scoring_reads_the_latest_items():
    inputs, order = batches.scoring_inputs(make([[1, 2, 3, 4], [5], [6, 7]]), length=3)
    assert order.tolist() == [1, 2, 0]
    assert inputs.item.tolist() == [5, 6, 7, 2, 3, 4]
    assert inputs.place.tolist() == [2, 1, 2, 0, 1, 2]
    assert inputs.last.tolist() == [0, 2, 5]


def test_rows_lie_in_groups_of_similar_length():
    result = batches.packed(np.array([1, 2, 4]), 2)
    # Rows 0 and 1 in two cells each, row 2 in four.
    assert result.shapes.tolist() == [[2, 2], [1, 4]]
    assert result.cell.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert result.token[result.cell].tolist() == list(range(7))


def test_more_groups_than_rows_leave_some_empty():
    result = batches.packed(np.array([3]), 3)
    assert result.shapes.tolist() == [[1, 3], [0, 0], [0, 0]]
    assert result.cell.tolist() == result.token.tolist() == [0, 1, 2]


def epoch(train, **changed):
    given = {"rows": 2, "length": 3, "crop": "last", "seed": 1, "number": 0} | changed
    return list(batches.epoch(train, **given).as_numpy_iterator())


def test_an_epoch_visits_each_user_with_two_events_once():
    train = make([[1, 2], [3], [4, 5], [], [6, 7], [8, 9], [1, 9]])
    result = epoch(train)
    assert [len(batch.inputs.last) for batch in result] == [2, 2, 1]
    pairs = [
        pair for batch in result for pair in zip(batch.inputs.item, batch.target, strict=True)
    ]
    assert sorted(pairs) == [(1, 2), (1, 9), (4, 5), (6, 7), (8, 9)]


def test_seed_and_number_decide_the_order():
    train = make([[i, 9] for i in range(1, 9)])

    def order(**changed):
        return [item for batch in epoch(train, **changed) for item in batch.inputs.item]

    assert order() == order()
    assert order(number=1) != order()
    assert order(seed=2) != order()


def test_windows_are_the_last_or_random_ones():
    train = make([list(range(1, 9)), [1, 2]])
    last = {tuple(b.inputs.item) for n in range(3) for b in epoch(train, rows=1, number=n)}
    assert last == {(5, 6, 7), (1,)}
    drawn = [
        tuple(b.inputs.item)
        for n in range(40)
        for b in epoch(train, rows=1, number=n, crop="random")
    ]
    windows = {(i, i + 1, i + 2) for i in range(1, 6)}
    assert set(drawn) == windows | {(1,)}


def test_prefixes_end_at_each_event_but_the_first():
    train = make([[1, 2, 3, 4, 5, 6], [7], [8, 9]])
    drawn = epoch(train, rows=4, crop="prefixes")
    assert [len(batch.inputs.last) for batch in drawn] == [4, 2]
    rows = sorted(
        (tuple(batch.inputs.item[batch.row == row]), batch.target[last])
        for batch in drawn
        for row, last in enumerate(batch.inputs.last)
    )
    assert rows == [
        ((1,), 2),
        ((1, 2), 3),
        ((1, 2, 3), 4),
        ((2, 3, 4), 5),
        ((3, 4, 5), 6),
        ((8,), 9),
    ]
    other = epoch(train, rows=4, crop="prefixes", number=1)
    assert [b.target.tolist() for b in other] != [b.target.tolist() for b in drawn]


@pytest.mark.parametrize("users", [3, 8, 20])
def test_an_epoch_fits_the_signature_of_the_update(users):
    result = epoch(make([[1, 2, 3]] * users), rows=64)
    assert result[0].inputs.packing.shapes.shape == (batches.GROUPS, 2)
    assert len(result[0].target) == 2 * users


def test_one_event_of_each_row_is_drawn():
    last = tf.constant([0, 2, 6])  # rows of one, two and four events
    drawn = np.stack([batches.drawn_places(last, tf.constant([i, 0])) for i in range(60)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [[0], [1, 2], [3, 4, 5, 6]]
