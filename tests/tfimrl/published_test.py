"""The printed numbers of IMRL's Table II, by what the paper says of them."""

import pytest

from tfimrl import published


def best(data_set, metric):
    rows = published.TABLE_II[data_set]
    return max(rows, key=lambda method: rows[method][metric].mean)


def test_six_sets_of_nine_methods():
    assert len(published.TABLE_II) == 6
    assert {len(rows) for rows in published.TABLE_II.values()} == {9}
    assert len({tuple(rows) for rows in published.TABLE_II.values()}) == 1


def test_imrl_is_best_but_twice():
    others = {
        (data_set, metric): best(data_set, metric)
        for data_set in published.TABLE_II
        for metric in published.METRICS
        if best(data_set, metric) != "imrl"
    }
    assert others == {
        ("book_crossing", "precision"): "causerec",
        ("netflix", "ndcg"): "causerec",
    }


@pytest.mark.parametrize(
    ("data_set", "held_out"),
    [("amazon_cds", 10.9), ("librarything", 17.0), ("book_crossing", 11.7),
     ("goodreads", 19.5), ("movielens", 16.9), ("netflix", 18.0)],
)  # fmt: skip
def test_held_out_items_that_imrls_rows_imply(data_set, held_out):
    row = published.TABLE_II[data_set]["imrl"]
    assert 20 * row["precision"].mean / row["recall"].mean == pytest.approx(held_out, abs=0.06)
