import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfrec import types
from tfrec.nn import history_crosses, item_embedding

# Shop: 1 missing, 2 rare, 3 and 4 the shops. Tags: 5 missing, 6 rare, 7 to 9 the tags.
SHOP = types.CrossSpec(slot=0, slots=1, first=3, size=2, width=8)
TAGS = types.CrossSpec(slot=1, slots=2, first=7, size=3, width=8)
VALUES = np.array(
    [[0, 0, 0], [3, 7, 8], [4, 8, 0], [3, 6, 9], [2, 5, 0], [2, 7, 6], [1, 9, 8]], np.int32
)  # 6 items


def crosses(columns=(SHOP, TAGS), values=VALUES, largest=9, inputs=2, outputs=1):
    features = types.FeatureSpec(largest, values.shape[1], crosses=tuple(columns))
    spec = dataclasses.replace(small.SPEC, num_items=len(values) - 1, item_features=features)
    items = item_embedding.ItemEmbedding(spec, np.zeros([len(values), 2], np.float32))
    items.set_features(types.Features(values, np.zeros([len(values), 0], np.float32)))
    return history_crosses.of_items(items, inputs, outputs)


def observation(items, clicks):
    feedback = np.stack([clicks, clicks], axis=-1).astype(np.float32)
    step = np.zeros(len(items), np.int32)
    return types.constants(types.Observation(np.array(items, np.int32), feedback, step))


def numbers(module, seen, item):
    """The numbers x of one item for each history, [B, K, P]."""
    columns, parts = len(module._crosses), len(history_crosses.PARTS)
    weight = np.eye(columns * parts, dtype=np.float32).reshape([1, -1, columns, parts])
    vector = module.vectors(tf.constant([[item]] * len(seen.step)))
    weight = tf.repeat(tf.constant(weight), len(seen.step), axis=0)
    terms = module.terms(module.history(seen), weight, vector)  # [B, 1, K * P]
    return terms.numpy().reshape([-1, columns, parts])


def test_vectors_by_hand():
    root = 1 / np.sqrt(2)
    expected = [
        [0, 0, 0, 0, 0],  # padding
        [1, 0, root, root, 0],
        [0, 1, 0, 1, 0],
        [1, 0, 0, 0, 1],  # a rare tag is no tag
        [0, 0, 0, 0, 0],  # a rare shop, and no tag
        [0, 0, 1, 0, 0],
        [0, 0, 0, root, root],
    ]
    module = crosses()
    assert module.width == 5
    np.testing.assert_allclose(module.vectors(tf.range(7)), expected, rtol=1e-6)
    assert module.vectors(tf.zeros([2, 3], tf.int32)).shape == [2, 3, 5]


def test_numbers_by_hand():
    # Events 1, 3 and 2, of which 1 and 3 were clicked; candidate 1.
    seen = observation([[0, 1, 3, 2], [0, 0, 0, 0]], [[0, 1, 1, 0], [0, 0, 0, 0]])
    # Shop: 1 and 3 share it. Tags: 1 has the same two, 3 none of them, 2 one of two.
    root = 1 / np.sqrt(2)
    shop = [2 / np.sqrt(3), 2 / np.sqrt(2), 1]
    tags = [(1 + 0 + root) / np.sqrt(3), 1 / np.sqrt(2), 0]
    found = numbers(crosses(), seen, 1)
    np.testing.assert_allclose(found[0], [shop, tags], rtol=1e-5)
    np.testing.assert_array_equal(found[1], 0.0)  # an empty history
    # A rare shop is shared with no item, not even the same one.
    alike = numbers(crosses(), observation([[5, 5, 4, 4]], [[1, 1, 1, 1]]), 5)
    np.testing.assert_allclose(alike[0], [[0, 0, 0], [1, 1, 0]], atol=1e-6)


def random_case(size, width, items=60, slots=3, states=40):
    """Crosses of one column of items with random values, and random histories."""
    rng = np.random.default_rng(3)
    values = rng.integers(3, 3 + size, [items + 1, slots]).astype(np.int32)
    values[0] = 0
    for row in values[1:]:  # distinct values, and items of fewer
        distinct = list(dict.fromkeys(row.tolist()))[: rng.integers(0, slots + 1)]
        row[:] = distinct + [0] * (slots - len(distinct))
    column = types.CrossSpec(slot=0, slots=slots, first=3, size=size, width=width)
    module = crosses([column], values, 2 + size, outputs=4)
    item = rng.integers(0, items + 1, [states, 20])
    click = rng.integers(0, 2, item.shape) * (item > 0)
    return module, values, observation(item, click)


def counted(values, seen, item):
    """The numbers x of one item for each history, by sets, [B, P]."""
    of = [set(row.tolist()) - {0} for row in values]
    rows = []
    for history, feedback in zip(
        seen.history_item.numpy(), seen.history_feedback.numpy(), strict=True
    ):
        share = np.array(
            [
                len(of[i] & of[item]) / np.sqrt(max(1, len(of[i]) * len(of[item])))
                for i in history
            ]
        )
        click = feedback[:, 0]
        latest = share[click > 0][-1:].sum()
        shown = np.sqrt(max(1, (history > 0).sum()))
        rows.append([share.sum() / shown, (share * click).sum() / np.sqrt(max(1, click.sum()))])
        rows[-1].append(latest)
    return np.array(rows)


def test_the_inner_product_is_a_direct_count():
    module, values, seen = random_case(size=12, width=12)
    spreads = []
    for item in (1, 17, 35, 60):
        found = numbers(module, seen, item)[:, 0]
        np.testing.assert_allclose(found, counted(values, seen, item), atol=1e-5)
        spreads.append(found.std())
    assert max(spreads) > 0.1


def test_a_query_gives_the_terms_of_all_items():
    module, _, seen = random_case(size=50, width=16)
    module.weight_net.kernel.assign(tf.random.stateless_normal([2, 12], [1, 2]))
    state = tf.random.stateless_normal([40, 2], [3, 4])
    history, weight = module.history(seen), module.weights(state)
    vectors = module.vectors(tf.range(1, 61))
    terms = module.terms(history, weight, tf.repeat(vectors[None], 40, axis=0))  # [B, A, M]
    products = tf.einsum("bmw,aw->bam", module.query(history, weight), vectors)
    np.testing.assert_allclose(products, terms, atol=1e-4)
    assert terms.numpy().std() > 0.1


def test_a_sketch_has_the_stated_error():
    width, size = 32, 400
    module, values, seen = random_case(size=size, width=width, items=400, slots=1)
    assert module.width == width
    errors, bounds = [], []
    for item in range(1, 401, 5):
        errors.append(numbers(module, seen, item)[:, 0, 0] - counted(values, seen, item)[:, 0])
        if not values[item, 0]:
            assert not errors.pop().any()
            continue
        events = values[seen.history_item.numpy(), 0]  # [B, H]
        shown = np.sqrt((seen.history_item.numpy() > 0).sum(axis=1))
        squares = [
            (np.unique(row[(row > 0) & (row != values[item, 0])], return_counts=True)[1] ** 2)
            for row in events
        ]
        bounds.append(np.array([x.sum() for x in squares]) / shown**2 / width)
    errors = np.array(errors)
    assert abs(errors.mean()) < 0.03
    np.testing.assert_allclose(errors.std(), np.sqrt(np.mean(bounds)), rtol=0.15)


def test_codes_stay_when_a_column_grows():
    wide = types.CrossSpec(slot=0, slots=1, first=3, size=100, width=16)
    place, entry = history_crosses.codes((wide,), 200)
    grown = dataclasses.replace(wide, first=5, size=150)
    later_place, later_entry = history_crosses.codes((grown,), 200)
    np.testing.assert_array_equal(later_place[5:105], place[3:103])
    np.testing.assert_array_equal(later_entry[5:105], entry[3:103])
    # Each value has an entry of +-1/2 in each quarter.
    assert (place[3:103] // 4 == [0, 1, 2, 3]).all()
    assert (np.abs(entry[3:103]) == 0.5).all() and not entry[103:].any()
    assert 0.4 < (entry[3:103] > 0).mean() < 0.6
    assert set(place[3:103].ravel().tolist()) == set(range(16))


def test_without_crossed_columns_there_is_nothing():
    assert crosses(columns=()) is None
    plain = item_embedding.ItemEmbedding(small.SPEC, np.zeros([7, 2], np.float32))
    assert history_crosses.of_items(plain, 2, 1) is None


def test_terms_start_at_zero_and_have_a_gradient():
    module = crosses(outputs=2)
    seen = observation([[0, 1, 3, 2]], [[0, 1, 1, 0]])
    with tf.GradientTape() as tape:
        weight = module.weights(tf.ones([1, 2]))
        terms = module.terms(
            module.history(seen), weight, module.vectors(tf.constant([[1, 5]]))
        )
        total = tf.reduce_sum(terms)
    np.testing.assert_array_equal(terms, 0.0)
    assert (tape.gradient(total, module.weight_net.bias).numpy() != 0).any()


@pytest.mark.parametrize("late", [2.0, 0.5])
def test_feedback_is_counted_at_most_once(late):
    seen = observation([[0, 0, 2, 1]], [[0, 0, 1, late]])
    share = min(late, 1.0) / np.sqrt(1 + min(late, 1.0))
    np.testing.assert_allclose(numbers(crosses(), seen, 3)[0, 0, 1], share, rtol=1e-6)
