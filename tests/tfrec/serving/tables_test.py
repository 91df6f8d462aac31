"""The search of the item table against a plain sort of all scores, at every precision."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.serving import tables

WIDTH = 5


def whole(size, seed=0):
    """Small whole numbers: products are exact and many scores equal."""
    return np.random.default_rng(seed).integers(-9, 10, size=size).astype(np.float32)


def lossless(count, seed=0):
    """Vectors that every precision holds exactly: each column's largest is 127."""
    vectors = whole((count, WIDTH), seed)
    vectors[0] = 127
    return vectors


def sorted_best(vectors, query, exclude, k):
    """Scores and indices by a stable sort, row by row; -inf where none remain."""
    scores = query @ vectors.T
    for row, banned in enumerate(exclude):
        scores[row, [index for index in banned if index >= 0]] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def search(table, query, exclude, k):
    best = tf.function(table.best)
    score, index = best(tf.constant(query), tf.constant(exclude, tf.int32), tf.constant(k))
    return score.numpy(), index.numpy()


# 10,000 items have 160 blocks of 64: 10 may be scored again, so k=2 goes by blocks and k=10
# by chunks. 64 and 65 items: a full block and one item more.
@pytest.mark.parametrize("precision", tables.PRECISIONS)
@pytest.mark.parametrize(
    "count, chunk, k", [(10_000, 3000, 2), (10_000, 3000, 10), (10_000, 10**6, 2),
                        (64, 100, 64), (65, 30, 3), (1, 10, 1)]
)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 7])
def test_it_is_the_plain_sort(precision, count, chunk, k, batch):
    vectors, query = lossless(count), whole((batch, WIDTH), seed=1)
    table = tables.ItemTable(vectors, precision, chunk)
    none = np.zeros((batch, 0), np.int32)
    score, index = search(table, query, none, k)
    expected_score, expected_index = sorted_best(vectors, query, none, k)
    np.testing.assert_allclose(score, expected_score, rtol=1e-6)
    np.testing.assert_array_equal(index, expected_index)


@pytest.mark.parametrize("k", [2, 40])  # by blocks, by chunks
def test_excluded_items_are_never_answered_and_hide_nobody(k):
    vectors, query = lossless(40_000), whole((3, WIDTH), seed=1)
    table = tables.ItemTable(vectors, chunk=9000)
    none = np.zeros((3, 0), np.int32)
    best = search(table, query, none, k)[1]
    # The best items of each row, repeated, out of order and with padding among them.
    exclude = np.concatenate([best[:, ::-1], best[:, :1], np.full((3, 1), -1)], axis=1)
    score, index = search(table, query, exclude, k)
    expected_score, expected_index = sorted_best(vectors, query, exclude, k)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_array_equal(score, expected_score)


def test_all_scores_negative_and_padding_is_never_answered():
    vectors = np.full((20_001, 1), -1.0, np.float32)  # padding would score 0
    table = tables.ItemTable(vectors, chunk=5000)
    for k in (3, 30):
        score, index = search(table, np.ones((1, 1), np.float32), np.zeros((1, 0)), k)
        assert index[0].tolist() == list(range(k))
        assert score[0].tolist() == [-1.0] * k


def test_fewer_than_k_remain():
    table = tables.ItemTable(np.arange(4, dtype=np.float32)[:, None])
    exclude = np.array([[3, 0, 1, -1]])
    score, index = search(table, np.ones((1, 1), np.float32), exclude, 3)
    assert index[0, 0] == 2
    assert score[0].tolist() == [2.0, -np.inf, -np.inf]


def test_blocks_and_chunks_agree_on_real_numbers():
    random = np.random.default_rng(5)
    vectors = random.normal(size=(30_000, 17)).astype(np.float32)
    query = random.normal(size=(8, 17)).astype(np.float32)
    table = tables.ItemTable(vectors, chunk=8000)
    none = np.zeros((8, 0), np.int32)
    few, many = search(table, query, none, 10), search(table, query, none, 100)
    np.testing.assert_array_equal(few[1], many[1][:, :10])
    np.testing.assert_allclose(few[0], many[0][:, :10], rtol=1e-5)
    np.testing.assert_array_equal(few[1], sorted_best(vectors, query, none, 10)[1])


@pytest.mark.parametrize("precision, size", [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_size_and_stored_vectors(precision, size):
    random = np.random.default_rng(2)
    vectors = (random.normal(size=(200, 3)) * [1, 100, 0]).astype(np.float32)
    table = tables.ItemTable(vectors, precision, chunk=130)
    assert table.nbytes == 256 * 3 * size  # two chunks of two blocks
    index = np.array([[0, 199], [128, 127]])
    approximate = table.vectors(tf.constant(index, tf.int32)).numpy()
    step = {"float32": 0, "bfloat16": 2**-8, "int8": 0.5 / 127}[precision]
    loss = np.abs(approximate - vectors[index]).max(axis=(0, 1))
    assert (loss <= step * np.abs(vectors).max(axis=0) * 1.001).all()
    assert precision == "float32" or loss[0] > 0


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("count", [50_000, 100_000])  # by chunks, by blocks
def test_the_shortlist_of_a_reduced_table_holds_the_best(precision, count):
    random = np.random.default_rng(3)
    vectors = random.normal(size=(count, 17)).astype(np.float32)
    query = random.normal(size=(16, 17)).astype(np.float32)
    none = np.zeros((16, 0), np.int32)
    exact = sorted_best(vectors, query, none, 10)[1]
    table = tables.ItemTable(vectors, precision)
    rough = search(table, query, none, int(tables.shortlist(tf.constant(10), count)))[1]
    assert rough.shape == (16, 74)
    assert (rough[:, :10] != exact).any()  # or there would be no need of it
    assert all(
        set(best) <= set(approximate) for best, approximate in zip(exact, rough, strict=True)
    )


def test_the_bound_holds_and_tells_overflow_and_nan():
    vectors = np.array([[1.0, -2.0], [0.5, 1.0]], np.float32)
    table = tables.ItemTable(vectors)
    query = np.array([[1.0, -1.0], [3e38, 3e38], [np.nan, 0.0]], np.float32)
    assert table.bound(tf.constant(query)).numpy() == pytest.approx(
        [3.0, np.inf, np.nan], nan_ok=True
    )
    vectors[1, 1] = np.nan
    assert np.isnan(tables.ItemTable(vectors, "int8").bound(tf.ones([1, 2])).numpy()).all()


def test_among():
    rows = tf.constant([[1, 3, 3], [-1, 0, 9]])
    values = tf.constant([[1, 2, 3, 4, -1], [9, 0, 1, -1, 10]])
    expected = [[True, False, True, False, False], [True, True, False, False, False]]
    assert tables.among(values, rows).numpy().tolist() == expected
    assert not tables.among(values, tf.zeros([2, 0], tf.int32)).numpy().any()


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="'float16'; expected one of"):
        tables.ItemTable(np.ones((2, 2), np.float32), "float16")
