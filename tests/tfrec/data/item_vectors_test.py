import numpy as np
import pytest

from tests.tfgoalrec import small
from tfrec import types
from tfrec.data import item_vectors


def clustered_log(clusters=3, each=5, users=120, steps=8):
    """Users of one cluster click its items alone, and skip others that they are shown."""
    random = np.random.default_rng(0)
    taste = np.arange(users) % clusters
    preferred = taste[:, None] * each + random.integers(0, each, (users, steps)) + 1
    other = random.integers(1, clusters * each + 1, (users, steps))
    click = random.random((users, steps)) < 0.7
    feedback = np.stack([click, 5.0 * click], axis=-1).astype(np.float32)
    return types.Episodes(
        user=np.arange(1, users + 1, dtype=np.int32),
        history_item=np.zeros((users, 4), np.int32),
        history_feedback=np.zeros((users, 4, 2), np.float32),
        item=np.where(click, preferred, other).astype(np.int32),
        feedback=feedback,
        length=np.full(users, steps, np.int32),
        exited=np.ones(users, bool),
    )


def test_items_of_one_cluster_are_nearer_than_others():
    vectors = item_vectors.co_click_vectors(clustered_log(), 15, size=4)[1:]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = np.arange(15)[:, None] // 5 == np.arange(15) // 5
    np.fill_diagonal(same, False)
    other = np.arange(15)[:, None] // 5 != np.arange(15) // 5
    assert cosine[same].min() > cosine[other].max() + 0.3


def test_shape_padding_and_scale():
    vectors = item_vectors.co_click_vectors(clustered_log(), 15, size=6)
    assert vectors.shape == (16, 6) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], 0.0)
    assert (vectors[1:] ** 2).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_array_equal(
        vectors, item_vectors.co_click_vectors(clustered_log(), 15, size=6)
    )


def test_the_sign_of_a_column_does_not_depend_on_the_solver(monkeypatch):
    expected = item_vectors.co_click_vectors(clustered_log(), 15, size=6)
    solve = item_vectors.scipy.sparse.linalg.svds

    def flipped(*arguments, **options):
        left, strength, right = solve(*arguments, **options)
        return -left, strength, -right

    monkeypatch.setattr(item_vectors.scipy.sparse.linalg, "svds", flipped)
    vectors = item_vectors.co_click_vectors(clustered_log(), 15, size=6)
    np.testing.assert_array_equal(vectors, expected)
    largest = np.abs(expected[1:]).argmax(axis=0) + 1
    assert np.all(expected[largest, np.arange(6)] > 0)


def test_more_columns_than_items_are_zero():
    vectors = item_vectors.co_click_vectors(clustered_log(), 15, size=20)
    assert vectors.shape == (16, 20)
    np.testing.assert_array_equal(vectors[:, 13:], 0.0)
    assert np.isfinite(vectors).all()


def test_an_item_that_nobody_clicked_is_nowhere():
    vectors = item_vectors.co_click_vectors(clustered_log(), 17, size=4)
    np.testing.assert_allclose(vectors[16:], 0.0, atol=1e-6)


def test_a_log_without_steps_gives_zeros():
    sessions = small.sessions()
    empty = sessions._replace(
        item=np.zeros_like(sessions.item), feedback=np.zeros_like(sessions.feedback)
    )
    np.testing.assert_array_equal(item_vectors.co_click_vectors(empty, 6, size=3), 0.0)
    np.testing.assert_array_equal(item_vectors.log_vectors(empty, 6, size=4), 0.0)


def test_users_who_all_click_the_same_say_nothing():
    log = clustered_log(clusters=1, each=5, steps=5)
    same = np.tile(np.arange(1, 6, dtype=np.int32), (len(log.user), 1))
    log = log._replace(item=same, feedback=np.ones_like(log.feedback))
    assert (item_vectors.co_click_vectors(log, 5, size=2) == 0).all()


def test_log_vectors_begin_with_popularity_and_what_an_item_met_with():
    log = clustered_log()
    vectors = item_vectors.log_vectors(log, 16, size=7)
    shown = np.bincount(log.item.ravel(), minlength=17)[1:]
    assert np.argmax(vectors[1:, 0]) == np.argmax(shown)
    assert np.argmin(vectors[1:, 0]) == 15  # item 16 was never shown
    left = np.zeros(log.item.shape)
    left[:, -1] = 1.0  # every session ends with an exit after its eighth step
    answers = (log.feedback[..., 0], log.feedback[..., 1], left)
    for column, answer in enumerate(answers, start=1):
        total = np.bincount(log.item.ravel(), answer.ravel(), minlength=17)[1:]
        mean = (total + 10 * total.sum() / shown.sum()) / (shown + 10)
        expected = 0.5 * (mean - mean.mean()) / mean.std()
        np.testing.assert_allclose(vectors[1:, column], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], 0.0)
    np.testing.assert_array_equal(
        vectors[:, 4:], item_vectors.co_click_vectors(log, 16, size=3)
    )


def test_where_clicks_are_rare_what_was_shown_together_counts():
    log = clustered_log()
    rare = log._replace(feedback=log.feedback * (np.arange(8) == 0)[None, :, None])
    rare.feedback[10:] = 0.0
    everything = log._replace(feedback=np.ones_like(log.feedback))
    np.testing.assert_array_equal(
        item_vectors.co_click_vectors(rare, 15, size=4),
        item_vectors.co_click_vectors(everything, 15, size=4),
    )


def test_click_factors_are_those_of_a_dense_decomposition():
    log = clustered_log()
    clicks = np.zeros((121, 15))
    session, step = np.nonzero(log.feedback[..., 0] > 0)
    clicks[log.user[session], log.item[session, step] - 1] = 1.0
    _, strength, right = np.linalg.svd(clicks)
    expected = right[:4].T * np.sqrt(strength[:4])  # [N, 4]
    expected /= np.sqrt((expected**2).sum(axis=1).mean())
    vectors = item_vectors.click_factors(log, 15, size=4)
    np.testing.assert_array_equal(vectors[0], 0.0)
    # Signs are free, inner products are not.
    np.testing.assert_allclose(vectors[1:] @ vectors[1:].T, expected @ expected.T, atol=1e-5)
    np.testing.assert_array_equal(
        item_vectors.log_vectors(log, 15, size=8, taste="factors")[:, 4:], vectors
    )


def test_the_mean_factors_of_clicks_rank_what_a_user_likes():
    log = clustered_log()
    vectors = item_vectors.click_factors(log, 15, size=3)
    score = vectors[[2, 4]].mean(axis=0) @ vectors[1:].T  # of a user with two clicks in 1..5
    assert set(np.argsort(-score)[:5] + 1) == {1, 2, 3, 4, 5}


def test_click_factors_of_few_users_have_few_columns():
    vectors = item_vectors.click_factors(clustered_log(clusters=1, users=2), 5, size=3)
    assert (vectors[1:, 0] > 0).all()
    np.testing.assert_array_equal(vectors[:, 1:], 0.0)
