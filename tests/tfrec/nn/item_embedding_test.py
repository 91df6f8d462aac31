import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfrec import types
from tfrec.nn import item_embedding

ALONE = small.SPEC  # 6 items
SPEC = dataclasses.replace(ALONE, item_features=types.FeatureSpec(values=5, slots=3, width=2))
START = np.arange(14, dtype=np.float32).reshape(7, 2)
FEATURES = types.Features(
    np.array(
        [[0, 0, 0], [1, 2, 0], [3, 0, 0], [0, 0, 0], [5, 5, 5], [4, 1, 2], [2, 0, 0]], np.int32
    ),
    np.eye(7, 2, dtype=np.float32),
)


@pytest.fixture
def items():
    tf_keras.utils.set_random_seed(3)
    made = item_embedding.ItemEmbedding(SPEC, START)
    made.set_features(FEATURES)
    return made


def by_hand(items, item):
    values, vectors = items.value_embedding.numpy(), items.projection.numpy()
    present = [v for v in FEATURES.values[item] if v]
    mean = sum((values[v] for v in present), np.zeros(2)) / np.sqrt(max(1, len(present)))
    return START[item] + mean + FEATURES.vectors[item] @ vectors


def test_an_embedding_by_hand(items):
    result = items(tf.constant([[1, 4], [1, 3]]))
    assert result.shape == [2, 2, 2]
    expected = [[by_hand(items, 1), by_hand(items, 4)], [by_hand(items, 1), by_hand(items, 3)]]
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_allclose(items.rows(1, 7), items(tf.range(1, 7)), rtol=1e-6)


def test_without_features_it_is_the_table_of_ids():
    tf_keras.utils.set_random_seed(3)
    expected = tf.random.normal([2])
    tf_keras.utils.set_random_seed(3)
    items = item_embedding.ItemEmbedding(ALONE, START)
    np.testing.assert_array_equal(tf.random.normal([2]), expected)  # nothing was drawn
    np.testing.assert_array_equal(items(tf.constant([2, 5])), START[[2, 5]])
    np.testing.assert_array_equal(items.rows(1, 3), START[1:3])
    assert [v.name for v in items.variables] == ["item_embedding:0"]


def test_gradients_reach_ids_values_and_projection(items):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(items(tf.constant([4, 4, 1])))
    ids, values, projection = tape.gradient(
        loss, [items.ids, items.value_embedding, items.projection]
    )
    assert tf.convert_to_tensor(ids).numpy()[:, 0].tolist() == [0, 1, 0, 0, 2, 0, 0]
    # Item 4 twice with three times the value 5; item 1 once with the values 1 and 2.
    expected = [0, 1 / np.sqrt(2), 1 / np.sqrt(2), 0, 0, 6 / np.sqrt(3)]
    np.testing.assert_allclose(tf.convert_to_tensor(values)[:, 0], expected, rtol=1e-6)
    assert projection.numpy()[:, 0].tolist() == [0, 1]


def test_dropped_ids_leave_the_features(items):
    every = tf.range(1, 7)
    with item_embedding.dropping(tf.Module(), 0.5, tf.constant(0, tf.int64)):
        pass  # a module without item embeddings
    with items.dropping(1.0, tf.constant(3, tf.int64)):
        alone = items(every)
    np.testing.assert_allclose(alone, items(every) - START[1:], atol=1e-6)
    with item_embedding.dropping(items, 0.5, tf.constant(3, tf.int64)):
        assert items._keeps is None  # the module itself is not among its submodules


def test_each_step_drops_other_items_by_their_share():
    item = tf.range(1, 20_001)
    drawn = [
        item_embedding.uniform(item, tf.constant(step, tf.int64)).numpy() for step in (0, 1)
    ]
    for numbers in drawn:
        assert 0 <= numbers.min() and numbers.max() < 1
        shares = np.histogram(numbers, 10, (0, 1))[0] / len(numbers)
        np.testing.assert_allclose(shares, 0.1, atol=0.01)
    assert abs(np.corrcoef(drawn[0], drawn[1])[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[0][1:], drawn[0][:-1])[0, 1]) < 0.03
