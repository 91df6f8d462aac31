"""SASRec: losses on one batch by plain TensorFlow, scores, and early stopping."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.sequential import walks
from tfrec.baselines.sequential import batches, learner, next_item_model, sasrec
from tfrec.data.sequences import Sequences

SMALL = {
    "width": 8, "inner": 8, "blocks": 1, "length": 6, "batch": 16, "learning_rate": 0.02,
}  # fmt: skip
NUM_ITEMS = walks.NUM_ITEMS


def model(**options):
    return sasrec.Sasrec(sasrec.SasrecConfig(**SMALL | options), NUM_ITEMS, seed=0)


def batch(users=5):
    result = batches.epoch(walks.cycles(users, 1), 16, SMALL["length"], "last", 0, 0)
    return next(iter(result))


SEED = tf.constant([3, 0])


def by_plain_softmax(net, some, own_negatives):
    hidden = net.hidden(some.inputs, SEED).numpy()
    logits = hidden @ net.items.numpy().T  # [T, N]
    target = some.target.numpy() - 1
    has = np.zeros([len(some.inputs.last), NUM_ITEMS], bool)
    has[tuple(some.user_items.numpy().T)] = True
    excluded = has[some.row.numpy()] & ~own_negatives
    excluded[np.arange(len(target)), target] = False
    powers = np.where(excluded, 0.0, np.exp(logits))
    chance = powers[np.arange(len(target)), target] / powers.sum(axis=1)
    return -np.log(chance).mean()


@pytest.mark.parametrize("own_negatives", [False, True])
def test_softmax_ranks_the_next_item_among_negatives(own_negatives):
    net, some = model(loss="softmax", own_negatives=own_negatives), batch()
    expected = by_plain_softmax(net, some, own_negatives)
    assert float(net.loss(some, SEED)) == pytest.approx(expected, rel=1e-5)


def test_many_sampled_negatives_come_near_the_softmax():
    """The mean over K negatives, times the items that may be negatives, is the full sum."""
    net, some = model(loss="sampled_softmax", negatives=40_000), batch(1)
    hidden = net.hidden(some.inputs, SEED).numpy()
    others = np.setdiff1d(np.arange(NUM_ITEMS), some.user_items.numpy()[:, 1])
    powers = np.exp(hidden @ net.items.numpy().T)
    target = powers[np.arange(len(hidden)), some.target.numpy() - 1]
    drawn = powers[:, others].sum(axis=1) * 40_000 / NUM_ITEMS
    expected = np.log((target + drawn) / target).mean()
    assert float(net.loss(some, SEED)) == pytest.approx(expected, rel=1e-3)


def test_losses_of_binary_cross_entropy():
    """At zero scores, a positive costs log 2 and a negative that the user lacks log 2."""
    some = batch(1)
    for name, negatives in (("bce", 1), ("gbce", 50)):
        net = model(loss=name, negatives=negatives, trust=0.0)
        net.items.assign(tf.zeros_like(net.items))
        value = float(net.loss(some, SEED))
        share = value / np.log(2) - 1  # negatives that count, of one
        if name == "gbce":
            share = (value / np.log(2) * (negatives + 1) - 1) / negatives
        lacked = 1 - len(np.unique(some.user_items.numpy()[:, 1])) / NUM_ITEMS
        assert share == pytest.approx(lacked, abs=0.45 if name == "bce" else 0.2)


@pytest.mark.parametrize("loss", ["bce", "gbce", "softmax", "sampled_softmax"])
def test_every_variable_gets_a_gradient(loss):
    net = model(loss=loss, negatives=5)
    with tf.GradientTape() as tape:
        value = net.loss(batch(), SEED)
    for gradient, variable in zip(
        tape.gradient(value, net.trainable_variables), net.trainable_variables, strict=True
    ):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name


def test_the_loss_depends_on_the_catalogue_when_it_is_chosen():
    config = sasrec.SasrecConfig()
    assert config.loss == "auto"
    assert next_item_model.loss_of(config, 60_000) == "softmax"
    assert next_item_model.loss_of(config, 60_001) == "sampled_softmax"
    assert next_item_model.loss_of(sasrec.SasrecConfig(loss="bce"), 10) == "bce"


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads is 3; expected a divisor of width"):
        sasrec.SasrecConfig(width=64, heads=3)


def test_scores_follow_the_latest_items_alone():
    net = model()
    old = Sequences(np.array([9, 9, 1, 2, 3, 4, 5, 6], np.int32), np.array([0, 8]), NUM_ITEMS)
    new = Sequences(np.array([1, 2, 3, 4, 5, 6], np.int32), np.array([0, 6]), NUM_ITEMS)
    assert net.scores(old) == pytest.approx(net.scores(new), abs=1e-6)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best():
    scores = iter([0.1, 0.3, 0.2, 0.25, 0.9])
    net = model(patience=2)
    taught = learner.SequenceLearner(net, walks.cycles(8, 1), lambda model: next(scores), 0)
    retained = None
    while not taught.finished:
        taught.advance()
        if int(taught.iteration) == 2:
            retained = net.items.numpy()
    assert int(taught.iteration) == 4
    assert int(taught.best_epoch) == 2
    assert float(taught.best_score) == pytest.approx(0.3)
    assert not np.array_equal(net.items, retained)
    taught.use_best()
    assert np.array_equal(net.items, retained)


def test_the_average_of_weights_is_validated_and_saved_and_training_goes_on_from_the_latest():
    net = model(averaging=0.9, patience=5)
    validated = []

    def validate(model):
        validated.append(model.items.numpy())
        return float(len(validated))

    # One batch an epoch, so one update.
    taught = learner.SequenceLearner(net, walks.cycles(8, 1), validate, 0)
    average, latest = net.items.numpy(), []
    for step in range(1, 4):
        taught.advance()
        latest.append(net.items.numpy())
        average += (1 - min(0.9, step / (step + 9))) * (latest[-1] - average)
        assert validated[-1] == pytest.approx(average, abs=1e-6)
        assert not np.array_equal(validated[-1], latest[-1])
    taught.use_best()
    assert np.array_equal(net.items, validated[-1])
    plain = model(averaging=0.0, patience=5)
    other = learner.SequenceLearner(plain, walks.cycles(8, 1), lambda model: 0.5, 0)
    for weights in latest:
        other.advance()
        assert np.array_equal(plain.items, weights)
