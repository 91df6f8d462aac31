"""Translation scores, their loss, the distribution of negatives, and learning of a graph."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.baselines.paths import translations

# Three items; relation 3 has no triple.
TRIPLES = np.array([[8, 1, 1], [9, 1, 1], [9, 2, 4], [8, 2, 4], [7, 2, 5], [4, 4, 6]])


def test_score_and_loss_by_hand():
    source, tail = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, -1.0]])
    assert translations.score(source, tail, tf.constant([0.5])).numpy() == pytest.approx(
        [1 * 3 - 2 * 1 + 0.5]
    )
    positive, negative = tf.constant([2.0, 0.0]), tf.constant([[-1.0, 1.0], [0.0, 3.0]])
    log_sigmoid = lambda x: -np.log1p(np.exp(-x))  # noqa: E731
    by_hand = -(
        log_sigmoid(2) + log_sigmoid(1) + log_sigmoid(-1)
        + log_sigmoid(0) + log_sigmoid(0) + log_sigmoid(-3)
    ) / 2  # fmt: skip
    assert float(translations.sampled_loss(positive, negative)) == pytest.approx(by_hand)


def test_negatives_are_all_items_or_tails_by_count_to_the_three_quarters():
    tails = translations.tails_of(TRIPLES, items=3)
    assert tails.tail.tolist() == [1, 2, 3, 4, 5, 6]
    share = 2**0.75 / (2**0.75 + 1)
    assert tails.cumulative == pytest.approx([1 / 3, 2 / 3, 1, 1 + share, 2.0, 4.0])
    relation = tf.constant([1] * 400 + [2] * 400 + [4] * 400)
    samples = translations.drawn(
        tf.constant(tails.cumulative), tf.constant(tails.tail), relation, 5, tf.constant([1, 2])
    ).numpy()
    assert samples.shape == (1200, 5)
    assert np.unique(samples[800:]).tolist() == [6]
    assert set(np.unique(samples[400:800])) == {4, 5}
    assert (samples[400:800] == 4).mean() == pytest.approx(share, abs=0.04)
    # An item without a training event is a negative too.
    shares = np.bincount(samples[:400].ravel(), minlength=4)[1:] / 2000
    assert shares == pytest.approx([1 / 3] * 3, abs=0.04)


def test_the_loss_of_a_batch_is_that_of_its_vectors():
    parts = translations.Translations(nodes=10, relations=4, width=4, seed=0)
    assert not parts.node[0].numpy().any() and parts.node[1].numpy().any()
    assert np.abs(parts.node.numpy()).max() <= 0.5 / 4
    rng = np.random.default_rng(0)
    node, bias = rng.normal(size=[10, 4]), rng.normal(size=10)
    relation = rng.normal(size=[4, 4])
    parts.node.assign(node)
    parts.bias.assign(bias)
    parts.relation.assign(relation)
    negative = np.array([[2, 1], [3, 3], [5, 4], [4, 4], [4, 5], [6, 6]])
    total = 0.0
    for (h, r, t), others in zip(TRIPLES, negative, strict=True):
        source = node[h] + relation[r - 1]
        total += np.log1p(np.exp(-(source @ node[t] + bias[t])))
        total += sum(np.log1p(np.exp(source @ node[o] + bias[o])) for o in others)
    loss = parts.loss(tf.constant(TRIPLES, tf.int32), tf.constant(negative, tf.int32))
    assert float(loss) == pytest.approx(total / 6, rel=1e-5)


def test_gradients_of_the_tables_are_sparse():
    parts = translations.Translations(10, 4, 4, 0)
    with tf.GradientTape() as tape:
        loss = parts.loss(tf.constant(TRIPLES, tf.int32), tf.fill([6, 2], 5))
    gradients = tape.gradient(loss, [parts.node, parts.bias, parts.relation])
    assert all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients)


def test_relations_in_reverse_are_their_negatives():
    parts = translations.Translations(3, 2, 2, 0)
    parts.relation.assign([[1.0, 2.0], [3.0, 4.0]])
    assert parts.signed_relations().numpy().tolist() == [
        [0, 0], [1, 2], [3, 4], [-1, -2], [-3, -4],
    ]  # fmt: skip
