"""Controls on logs small enough to be worked by hand."""

import numpy as np
import pytest

from tfrec.baselines.sequential import controls
from tfrec.data.sequences import Sequences
from tfrec.errors import UserError


def make(rows, num_items, times=None):
    offsets = np.cumsum([0, *map(len, rows)])
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(items, offsets, num_items, times)


def test_popularity_counts_events():
    ranker = controls.Popularity(make([[1, 2, 2], [2, 3]], 4))
    assert ranker.scores(make([[1], []], 4)).tolist() == [[1, 3, 1, 0]] * 2


def test_recent_popularity_counts_the_last_days():
    day = 86_400.0
    log = make([[1, 2, 2], [3, 1]], 3, times=np.array([0, 4 * day, 5 * day, 1 * day, 8 * day]))
    # The last 4 days reach back to day 4, which is not included.
    assert controls.RecentPopularity(log, days=4).scores(make([[1]], 3)).tolist() == [[1, 1, 0]]
    with pytest.raises(UserError, match="the log has none"):
        controls.RecentPopularity(make([[1]], 3))


def test_item_neighbours_sum_cosines():
    # Users of item 1: 0, 1. Item 2: 0, 1, 2. Item 3: 2. Item 4: 3.
    log = make([[1, 2], [1, 2, 2], [2, 3], [4]], 4)
    ranker = controls.ItemNeighbours(log, neighbours=2, shrinkage=1.0)
    one_two, two_three = 2 / (np.sqrt(2 * 3) + 1), 1 / (np.sqrt(3) + 1)
    assert ranker.scores(make([[1], [2, 2], [1, 3], []], 4)) == pytest.approx(
        np.array(
            [
                [0, one_two, 0, 0],
                [one_two, 0, two_three, 0],
                [0, one_two + two_three, 0, 0],
                [0, 0, 0, 0],
            ]
        )
    )


def test_an_item_keeps_its_nearest_neighbours_alone():
    log = make([[1, 2], [1, 2], [2, 3]], 3)
    ranker = controls.ItemNeighbours(log, neighbours=1, shrinkage=0.0)
    # Item 2 keeps item 1 (2 / sqrt(6)) and not item 3 (1 / sqrt(3)).
    scores = ranker.scores(make([[1], [3]], 3))
    assert scores == pytest.approx(np.array([[0, 2 / np.sqrt(6), 0], [0, 0, 0]]))


def test_neighbours_are_found_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    log = make([rng.integers(1, 30, 8).tolist() for _ in range(40)], 30)
    whole = controls.ItemNeighbours(log, neighbours=5).scores(log)
    monkeypatch.setattr(controls, "_ROWS_AT_ONCE", 7)
    assert controls.ItemNeighbours(log, neighbours=5).scores(log) == pytest.approx(whole)


def test_ease_solves_its_regression():
    """Each column is the ridge regression of an item on the others, as numpy solves it."""
    rng = np.random.default_rng(1)
    log = make([rng.permutation(np.arange(1, 9))[:4].tolist() for _ in range(30)], 8)
    has = controls.interactions(log).toarray()
    expected = np.zeros([8, 8])
    for item in range(8):
        others = np.delete(np.arange(8), item)
        inputs = has[:, others]
        penalised = inputs.T @ inputs + 2.0 * np.eye(7)
        expected[others, item] = np.linalg.solve(penalised, inputs.T @ has[:, item])
    scores = controls.Ease(log, l2=2.0).scores(make([[i] for i in range(1, 9)], 8))
    assert scores == pytest.approx(expected, abs=1e-5)


def test_ease_refuses_a_catalogue_that_no_dense_matrix_holds():
    with pytest.raises(UserError, match="20,001 items, expected at most 20,000"):
        controls.Ease(make([[1]], 20_001))


def test_repeated_items_count_once():
    assert controls.interactions(make([[2, 2, 1], []], 3)).toarray().tolist() == [
        [1, 1, 0],
        [0, 0, 0],
    ]


def test_a_log_with_repeated_items_is_left_as_it_is():
    log = make([[2, 2, 1], [3, 3]], 3)
    controls.Ease(log)
    controls.ItemNeighbours(log).scores(log)
    assert log.offsets.tolist() == [0, 3, 5]
    assert log.items.tolist() == [2, 2, 1, 3, 3]


def test_content_neighbours_share_rare_values():
    # Items 1 and 2 share the rare value 1, items 2 and 3 the common value 2; item 4 has none.
    values = np.array([[0, 0], [1, 0], [1, 2], [2, 2], [0, 0], [2, 0]])
    ranker = controls.ContentNeighbours(values)
    rare, common = np.log(5 / 2), np.log(5 / 3)  # 2 and 3 of the 5 items
    length = np.hypot(rare, common)
    expected = [0, rare / length, 0, 0, 0]
    assert ranker.scores(make([[1]], 5))[0] == pytest.approx(expected, abs=1e-6)
    expected = [0, common / length, 0, 0, 1]
    assert ranker.scores(make([[3, 3]], 5))[0] == pytest.approx(expected, abs=1e-6)
    assert not ranker.scores(make([[4]], 5)).any()
    # Item 2 has one neighbour alone, the one with the rare value.
    nearest = controls.ContentNeighbours(values, neighbours=1)
    assert nearest.scores(make([[3]], 5))[0, 1] == 0 < nearest.scores(make([[1]], 5))[0, 1]
