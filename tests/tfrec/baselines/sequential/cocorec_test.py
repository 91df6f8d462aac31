"""CoCoRec: categories, patterns and other users by hand, and learning from categories."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.sequential import walks
from tfrec.baselines.sequential import batches, cocorec, controls, learner
from tfrec.data import protocols
from tfrec.evaluation import next_items

SEED = tf.constant([1, 0])


def build(category=None, **options):
    given = {
        "width": 4, "length": 6, "batch": 16, "num_categories": 3, "memory": 8, "neighbours": 2,
        "dropout": 0.0,
    }  # fmt: skip
    config = cocorec.CocorecConfig(**given | options)
    if category is None:
        category = np.arange(walks.NUM_ITEMS) % 3
    return cocorec.Cocorec(config, walks.NUM_ITEMS, 0, category)


def test_masks_by_hand():
    category = tf.constant([[0, 1, 0, 1]])
    assert cocorec.same_category(category).numpy()[0].astype(int).tolist() == [
        [1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1],
    ]  # fmt: skip
    assert cocorec.latest_of_category(category).numpy()[0].astype(int).tolist() == [
        [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1],
    ]  # fmt: skip
    assert cocorec.latest_cells(3, 2).numpy().astype(int).tolist() == [
        [1, 0, 0], [1, 1, 0], [0, 1, 1],
    ]  # fmt: skip


def test_masked_attention_by_hand():
    query, key = tf.constant([[[2.0], [1.0]]]), tf.constant([[[1.0], [3.0]]])
    value, mask = tf.constant([[[10.0], [20.0]]]), tf.constant([[True, False], [True, True]])
    share = 1 / (1 + np.exp(3 - 1))
    output = cocorec.masked_attention(query, key, value, mask).numpy()[0, :, 0]
    assert output == pytest.approx([10, 10 * share + 20 * (1 - share)])


def test_the_expected_pattern_weighs_the_latest_of_each_category():
    pattern = tf.constant([[[1.0], [10.0], [100.0]]])
    chance = tf.constant([[[0.2, 0.8], [0.3, 0.7], [0.5, 0.5]]])
    result = cocorec.expected_pattern(pattern, chance, tf.constant([[0, 1, 0]]))
    # The last event takes the place of the first, which is of its category.
    assert result.numpy()[0, :, 0] == pytest.approx([0.2, 0.3 + 7, 5 + 50])


def test_other_users_are_read_within_the_category_and_never_oneself():
    net = build(neighbours=2)
    net.query.assign(tf.eye(4))
    net.value.assign(tf.eye(4))
    one = tf.eye(4)
    net._remember(one, tf.constant([1, 1, 1, 2]), tf.constant([5, 6, 7, 5]))
    request, category = tf.zeros([4, 4]), tf.constant([1, 1, 2, 0])
    result = net._of_others(request, category, tf.constant([5, 9, 5, 5])).numpy()
    # Equal scores: halves of the first two in the category that are of others.
    assert result.tolist() == [
        [0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0],
    ]  # fmt: skip
    # While predicting nobody is left out. The softmax of 2 and 0, over sqrt(4), and its values.
    request = 2 * one[2:3]
    result = net._of_others(request, tf.constant([1]), None).numpy()[0]
    share = 1 / (1 + np.exp(-1))
    assert result == pytest.approx([1 - share, 0, share, 0])


def test_the_memory_keeps_the_latest():
    net = build()
    net._remember(tf.ones([3, 4]), tf.fill([3], 1), tf.fill([3], 4))
    net._remember(2 * tf.ones([6, 4]), tf.fill([6], 2), tf.fill([6], 5))
    assert net.patterns.numpy()[:, 0].tolist() == [2] * 6 + [1] * 2
    assert net.of_category.numpy().tolist() == [2] * 6 + [1] * 2
    assert net.of_user.numpy().tolist() == [5] * 6 + [4] * 2


def test_the_loss_is_that_of_item_and_category():
    some = next(iter(batches.epoch(walks.cycles(16, 1), 16, 6, "last", 0, 0)))
    plain, both = build(category_weight=0.0), build(category_weight=2.0)
    x = tf.gather(both.items, some.inputs.item - 1)
    _, _, logits = both._read(x, some.inputs, None, None)
    chance = tf.nn.softmax(logits).numpy()
    following = (some.target.numpy() - 1) % 3
    of_category = -np.log(chance[np.arange(len(following)), following]).mean()
    expected = float(plain.loss(some, SEED)) + 2 * of_category
    assert float(both.loss(some, SEED)) == pytest.approx(expected, rel=1e-5)


def test_more_neighbours_than_the_memory_holds_are_rejected():
    with pytest.raises(ValueError, match="neighbours is 9; expected at most memory, 8"):
        build(neighbours=9)


@pytest.mark.slow
def test_what_follows_in_a_category_is_learned():
    """Two walks in turns: what comes next is told by the event before the last."""
    rng = np.random.default_rng(0)
    starts, turns = rng.integers(0, 6, [200, 2]), np.arange(8)
    items = (starts[:, turns % 2] + turns // 2) % 6 + 6 * (turns % 2) + 1  # [200, 8]
    log = walks.of_rows(items.tolist())
    split = protocols.leave_one_out(log)
    net = build(np.arange(12) // 6, num_categories=2, width=16, learning_rate=0.02)
    taught = learner.SequenceLearner(
        net, split.train, lambda model: next_items.ndcg_at_10(model, split.validation), 0
    )
    for _ in range(15):
        taught.advance()

    def first(ranker):
        return next_items.evaluate(ranker, split.test, split.train, (1,)).by_user["recall@1"]

    assert first(net).mean() > 0.9
    assert first(controls.Popularity(split.train)).mean() < 0.6
