import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfrec import types
from tfrec.nn import crossed, dien
from tfrec.nn.item_embedding import ItemEmbedding

SPEC = small.SPEC  # H = 4; click, watch with scale 4
BUCKETS = 50


def observation(item, click, watch, step):
    feedback = np.stack([click, watch], axis=-1).astype(np.float32)
    return types.Observation(
        tf.constant(item, tf.int32), tf.constant(feedback), tf.constant(step, tf.int32)
    )


def test_features_by_hand():
    seen = observation(
        item=[[0, 5, 2, 3], [0, 0, 0, 0]],
        click=[[0, 1, 1, 0], [0, 0, 0, 0]],
        watch=[[0, 4, 8, 0], [0, 0, 0, 0]],
        step=[2, 0],
    )
    made = crossed.CrossedFeatures(SPEC, BUCKETS, 3)
    result = dict(zip(made.names, made.features(seen).numpy().T.tolist(), strict=True))
    assert result == {
        "step": [2, 0],  # 2 steps: bin "2 or 3"
        "known": [2, 0],  # 3 events
        "since_click": [1, 3],  # 1 event; nobody clicked in all 4
        "session_clicks": [1, 0],
        "session_click_share": [5, 0],  # 1 of 2: ceil(4.5)
        "clicks_of_4": [6, 0],  # 2 of 3
        "clicks_of_8": [6, 0],
        "clicks_of_16": [6, 0],
        "clicks_of_all": [6, 0],
        "watch_of_4": [7, 0],  # mean of 1, 2 and 0 scales is 1: edges 1e-6, 1/32, .., 1
        "watch_of_all": [7, 0],
        "recent_clicks": [1 + 2 * 3 + 2 * 9, 0],
        "item_1": [3, 0],
        "item_2": [2, 0],
        "item_3": [5, 0],
        "item_4": [0, 0],
        "clicked_item_1": [2, 0],
        "clicked_item_2": [5, 0],
        "clicked_item_3": [0, 0],
    }


@pytest.mark.parametrize(
    "value, expected", [(0, 0), (1, 1), (2, 2), (3, 2), (255, 8), (256, 9)]
)
def test_count_bins(value, expected):
    bins = crossed._bins(tf.constant([float(value)]), crossed._COUNTS)
    assert bins.numpy().tolist() == [expected]


def test_share_bins_survive_rounding():
    thirds = tf.constant([0.0, 1e-3, 1.0, 2.0, 3.0]) / 3.0
    assert crossed._share(thirds).numpy().tolist() == [0, 1, 3, 6, 9]


def test_ids_are_the_multiply_shift_hash_of_all_pairs():
    made = crossed.CrossedFeatures(SPEC, BUCKETS, 3)
    seen = small.observations(20)
    level = made.features(seen).numpy().astype(object)  # Python's own integers
    first, second = np.triu_indices(level.shape[1])
    a, b, c = made._factors.numpy().astype(object)
    mixed = (level[:, first] * a + level[:, second] * b + c) % 2**64
    expected = ((mixed >> 32) * BUCKETS) >> 32
    ids = made.ids(seen).numpy()
    np.testing.assert_array_equal(ids, expected.astype(np.int64))
    assert ids.shape == (20, made.crosses) and made.crosses == 19 * 20 // 2


def test_crosses_spread_evenly():
    made = crossed.CrossedFeatures(dataclasses.replace(SPEC, num_items=5000), 1000, 3)
    seen = small.observations(3000, spec=made.spec)
    pair = made.names.index("item_1")
    column = np.flatnonzero((made._first == pair) & (made._second == pair + 1))[0]
    known = seen.history_item[:, 2] > 0  # both items are there
    counts = np.bincount(made.ids(seen).numpy()[known, column], minlength=1000)
    # Balls in bins: the variance of a count is its mean.
    assert counts.var() == pytest.approx(counts.mean(), rel=0.3)


def test_the_bag_is_the_wide_state_times_the_table():
    made = crossed.CrossedFeatures(SPEC, BUCKETS, 3)
    table = np.random.default_rng(0).normal(size=[BUCKETS, 3]).astype(np.float32)
    made.table.assign(table)
    seen = small.observations(9)
    wide = np.zeros([9, BUCKETS], np.float32)
    for row, ids in enumerate(made.ids(seen).numpy()):
        np.add.at(wide[row], ids, 1.0)
    expected = wide @ table / np.sqrt(made.crosses)
    np.testing.assert_allclose(made(seen), expected, atol=1e-5)


def test_the_gradient_is_sparse_and_right():
    made = crossed.CrossedFeatures(SPEC, 5000, 3)
    seen = small.observations(9)
    upstream = np.random.default_rng(0).normal(size=[9, 3]).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(made(seen) * upstream)
    gradient = tape.gradient(loss, made.table)
    assert isinstance(gradient, tf.IndexedSlices)
    ids = made.ids(seen).numpy()
    assert len(gradient.indices) == len(np.unique(gradient.indices)) == len(np.unique(ids))
    expected = np.zeros([5000, 3], np.float32)
    np.add.at(expected, ids, np.repeat(upstream[:, None], ids.shape[1], axis=1))
    np.testing.assert_allclose(
        tf.convert_to_tensor(gradient), expected / np.sqrt(made.crosses), atol=1e-5
    )


def test_no_buckets_is_rejected():
    with pytest.raises(ValueError, match="expected at least 1"):
        crossed.CrossedFeatures(SPEC, 0, 3)


def tower(buckets):
    tf_keras.utils.set_random_seed(4)
    vectors = tf.Variable(tf.random.normal([SPEC.num_items + 1, 3]))
    return dien.DienTower(SPEC, ItemEmbedding(SPEC, vectors), 5, 6, crossed=buckets)


def test_without_crosses_a_tower_has_the_variables_it_had():
    names = [v.name for v in tower(0).variables]
    with_crosses = [v.name for v in tower(BUCKETS).variables]
    assert not any("table" in name for name in names)
    assert len(with_crosses) == len(names) + 1


def test_the_towers_state_reads_the_crosses():
    made, seen = tower(BUCKETS), small.observations(9)
    before = made(seen).state
    made.crossed.table.assign(tf.random.normal(made.crossed.table.shape))
    assert np.abs(made(seen).state - before).max() > 1e-3
