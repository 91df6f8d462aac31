"""CASR: replaced events by hand, and the anchor alone where counterfactuals weigh nothing."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.sequential import walks
from tfrec.baselines.sequential import batches, casr, learner, sasrec, stamp

SEED = tf.constant([1, 0])
SMALL = {"width": 4, "length": 6, "batch": 16, "learning_rate": 0.02}
ANCHORS = {
    "stamp": (stamp.Stamp, stamp.StampConfig, casr.CasrStampConfig),
    "sasrec": (sasrec.Sasrec, sasrec.SasrecConfig, casr.CasrSasrecConfig),
}
SIZES = {"stamp": {}, "sasrec": {"inner": 8, "blocks": 1}}


def build(anchor="stamp", **options):
    model, _, config = ANCHORS[anchor]
    given = {**SMALL, **SIZES[anchor], "warm_up": 0, "kept": 1.0}
    return casr.Casr(model, config(**given | options), walks.NUM_ITEMS, 0)


def a_batch(users=16):
    return next(iter(batches.epoch(walks.cycles(users, 1), 16, 6, "last", 0, 0)))


def test_the_nearest_other_item_by_hand():
    items = tf.constant([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    vectors = tf.constant([[0.1, 0.0], [0.1, 0.0], [0.9, 9.0]])
    # Item 1 is the nearest to the first two, and is not answered for the second.
    result = casr.nearest_other(vectors, items, tf.constant([2, 1, 1]))
    assert result.numpy().tolist() == [1, 2, 3]


@pytest.mark.parametrize("replacement", ["random", "data", "model"])
def test_a_counterfactual_row_differs_in_one_event_and_ends_in_the_samplers_prediction(
    replacement,
):
    net, some = build(replacement=replacement), a_batch()
    changed, target, used = net.counterfactuals(some, SEED)
    differs = changed.item.numpy() != some.inputs.item.numpy()
    assert np.bincount(some.row.numpy(), differs).tolist() == [1] * 16
    expected = net.sampler.scores_of(changed).numpy().argmax(axis=1) + 1
    assert target.numpy().tolist() == expected.tolist()
    assert used.numpy().all()


def test_a_changed_embedding_raises_the_loss_of_the_prediction():
    """By hand: the scores are x @ items, of which a step away from the prediction is known."""

    class Last:
        items = tf.constant([[1.0, 0.0], [0.0, 1.0]])

        def catalogue(self):
            return self.items

        def contextual(self, x, inputs, seed):
            return x

        def scores_of(self, inputs):
            return tf.gather(self.items, inputs.item - 1) @ tf.transpose(self.items)

    net = build(replacement="data", steps=1, step_size=0.5, alpha=1.0)
    inputs, _ = batches.scoring_inputs(walks.of_rows([[1]], 2), 6)
    batch = batches.Batch(
        inputs,
        np.array([2], np.int32),
        np.array([0], np.int32),
        np.array([0], np.int32),
        np.zeros([1, 2], np.int32),
    )
    result = net._changed(Last(), batch, tf.constant([0])).numpy()
    # The prediction is item 1: its probability falls along (-1, 1) / sqrt(2), by a step of .5.
    assert result[0] == pytest.approx([1 - 0.5 / np.sqrt(2), 0.5 / np.sqrt(2)], abs=1e-6)


def test_only_confident_predictions_are_used():
    net, some = build(confidence=1.0), a_batch()
    assert not net.counterfactuals(some, SEED)[2].numpy().any()
    assert float(net.counterfactual_loss(some, SEED)) == 0.0


def test_the_surest_predictions_are_used():
    chance = tf.constant([0.1, 0.4, 0.2, 0.4, 0.3])
    assert casr.surest(chance, 0.3).numpy().tolist() == [False, True, False, True, False]
    assert casr.surest(chance, 0.41).numpy().tolist() == [False, True, False, True, True]
    assert casr.surest(chance, 1.0).numpy().all()


def test_counterfactuals_begin_after_the_warm_up():
    net, some = build(warm_up=2), a_batch()
    net.begin_epoch(1)
    plain = net.anchor.loss(some, SEED) + net.sampler.loss(some, SEED + [1, 0])
    assert float(net.loss(some, SEED)) == pytest.approx(float(plain))
    net.begin_epoch(2)
    assert float(net.loss(some, SEED)) > float(plain) + 0.1


def test_the_prediction_is_no_negative_of_its_row():
    """With one item that is neither the row's nor the prediction, the loss is that pair's."""
    net = build(replacement="random", own_negatives=False)
    some = a_batch(1)
    inputs, target, _ = net.counterfactuals(some, SEED)
    hidden = tf.gather(net.anchor.hidden(inputs, None), inputs.last)
    scores = (hidden @ tf.transpose(net.anchor.items)).numpy()[0]
    negative = np.ones(walks.NUM_ITEMS, bool)
    negative[some.user_items.numpy()[:, 1]] = False
    negative[target[0] - 1] = False
    selected = np.exp(scores[target[0] - 1])
    expected = -np.log(selected / (selected + np.exp(scores[negative]).sum()))
    assert float(net.counterfactual_loss(some, SEED)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_without_weight_it_is_its_anchor(anchor):
    model, config, _ = ANCHORS[anchor]
    alone = model(config(**SMALL, **SIZES[anchor], loss="bce"), walks.NUM_ITEMS, 0)
    nets = alone, build(anchor, loss="bce", counterfactual_weight=0.0)
    for net in nets:
        taught = learner.SequenceLearner(net, walks.cycles(40, 1), lambda net: 0.5, 0)
        taught.advance()
    for one, other in zip(*(net.trainable_variables for net in nets), strict=True):
        assert np.array_equal(one, other), one.name


def test_counterfactuals_change_the_gradient_of_the_anchor_and_not_of_the_sampler():
    some, slopes = a_batch(), []
    for weight in (1.0, 7.0):
        net = build(replacement="random", counterfactual_weight=weight)
        with tf.GradientTape() as tape:
            loss = net.loss(some, SEED)
        slopes.append(tape.gradient(loss, [net.anchor.items, net.sampler.items]))
    (one, sampler), (other, same) = slopes
    assert np.array_equal(tf.convert_to_tensor(sampler), tf.convert_to_tensor(same))
    assert not np.allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other))
