"""CauseRec: its losses and replacements by hand, and learning next to a control."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.baselines.sequential import batches, causerec, controls, learner
from tfrec.data import protocols
from tfrec.data.sequences import Sequences
from tfrec.evaluation import next_items

NUM_ITEMS = 12
SEED = tf.constant([1, 0])


def small(**options):
    given = {"width": 4, "length": 5, "hidden": 6, "concepts": 4, "batch": 16, "bank": 8}
    return causerec.CauseRec(causerec.CauseRecConfig(**given | options), NUM_ITEMS, seed=0)


def walks(users, seed=0):
    """Users walk along the cycle of items."""
    rng = np.random.default_rng(seed)
    lengths, starts = rng.integers(5, 9, users), rng.integers(0, NUM_ITEMS, users)
    items = [(s + np.arange(n)) % NUM_ITEMS + 1 for s, n in zip(starts, lengths, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(np.concatenate(items).astype(np.int32), offsets, NUM_ITEMS)


def test_triplet_by_hand():
    user = tf.constant([[0.0, 0.0]])
    positive, negative = tf.constant([[[3.0, 4.0]]]), tf.constant([[[0.0, 5.5], [8.0, 0.0]]])
    # Distances 5; 5.5 and 8. With margin 1: .5 and nothing.
    assert float(causerec.triplet(user, positive, negative, 1.0)) == pytest.approx(0.25)


def test_item_contrast_by_hand():
    item = tf.constant([[2.0, 0.0]])
    positive = tf.constant([[[1.0, 1.0]]])  # cosine 1 / sqrt(2)
    negative = tf.constant([[[3.0, 0.0], [0.0, 1.0]]])  # cosines 1 and 0
    expected = 1 - 1 / np.sqrt(2) + (1 - 0.5) / 2
    result = causerec.item_contrast(item, positive, negative, 0.5)
    assert float(result) == pytest.approx(expected)


def test_the_concepts_nearest_to_the_item_are_indispensable():
    concepts = tf.constant([[[1.0, 0], [3, 0], [2, 9], [-5, 0]]])
    item = tf.constant([[1.0, 0.0]])
    assert causerec.most_similar(concepts, item, 0.5).numpy().tolist() == [
        [False, True, True, False]
    ]
    assert causerec.most_similar(concepts, item, 0.01).numpy().sum() == 1
    assert causerec.most_similar(concepts, item, 0.99).numpy().sum() == 3


def test_concepts_are_attention_over_one_row():
    net, rng = small(), np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    rows = [[3, 1], [5, 9, 2]]
    log = Sequences(np.array([3, 1, 5, 9, 2], np.int32), np.array([0, 2, 5]), NUM_ITEMS)
    inputs, order = batches.scoring_inputs(log, 5)
    result = net.concepts(inputs).numpy()
    for place, row in enumerate(order):
        x = net.items.numpy()[np.array(rows[row]) - 1]
        placed = x + net.positions.numpy()[5 - len(x) :]
        logits = np.tanh(placed @ net.w_1.numpy()) @ net.w_2.numpy()  # [t, K]
        weights = np.exp(logits) / np.exp(logits).sum(axis=0)
        assert result[place] == pytest.approx(weights.T @ x, abs=1e-5)


def test_a_counterfactual_user_keeps_the_concepts_that_are_not_replaced():
    net = small()
    concepts = tf.random.stateless_normal([2, 4, 4], [0, 1])
    nothing = tf.zeros([2, 4], bool)
    user = net.user_vectors(concepts).numpy()
    same = net._counterfactual(concepts, nothing, 3, SEED).numpy()
    assert same == pytest.approx(np.repeat(user[:, None], 3, axis=1))
    net.bank.assign(tf.ones_like(net.bank))
    replaced = net._counterfactual(concepts, ~nothing, 1, SEED)
    ones = net.user_vectors(tf.ones([2, 1, 4, 4]))
    assert replaced.numpy() == pytest.approx(ones.numpy())


def test_the_bank_remembers_the_latest_concepts():
    net = small()
    net._remember(tf.ones([3, 4, 4]), SEED)
    net._remember(2 * tf.ones([6, 4, 4]), SEED)
    assert net.bank.numpy()[:, 0].tolist() == [2] * 6 + [1] * 2


def a_batch():
    return next(iter(batches.epoch(walks(16), 16, 5, "last", 0, 0)))


def test_every_variable_gets_a_gradient_and_the_bank_none():
    net = small()
    with tf.GradientTape() as tape:
        loss = net.loss(a_batch(), SEED)
    assert net.bank.name not in [v.name for v in net.trainable_variables]
    gradients = tape.gradient(loss, net.trainable_variables)
    for gradient, variable in zip(gradients, net.trainable_variables, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name


def test_without_weights_the_loss_is_that_of_the_prediction():
    plain, whole = small(user_weight=0, item_weight=0), small()
    some = a_batch()
    user = plain.users(some.inputs)
    target = tf.gather(some.target, some.inputs.last)
    rows = tf.range(len(user))
    expected = plain.prediction_loss(user, target, rows, some, SEED)
    assert float(plain.loss(some, SEED)) == pytest.approx(float(expected))
    assert float(whole.loss(some, SEED)) > float(expected)


@pytest.mark.slow
def test_the_next_item_is_learned():
    split = protocols.leave_one_out(walks(300))
    net = small(width=16, hidden=32, learning_rate=0.01, batch=32)
    taught = learner.SequenceLearner(
        net, split.train, lambda model: next_items.ndcg_at_10(model, split.validation), 0
    )
    for _ in range(15):
        taught.advance()

    def recall(ranker):
        evaluation = next_items.evaluate(ranker, split.test, split.train, (1,))
        return evaluation.by_user["recall@1"].mean()

    assert recall(net) > 0.8
    assert recall(controls.Popularity(split.train)) < 0.4
