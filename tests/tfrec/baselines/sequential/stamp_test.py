"""STAMP against its equations, one prefix at a time, and learning next to controls."""

import numpy as np
import pytest

from tfrec.baselines.sequential import batches, controls, learner, stamp
from tfrec.data import protocols
from tfrec.data.sequences import Sequences
from tfrec.evaluation import next_items

NUM_ITEMS = 10


def small(**options):
    config = stamp.StampConfig(**{"width": 4, "length": 6, "batch": 32} | options)
    return stamp.Stamp(config, NUM_ITEMS, seed=0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(net, x):
    """The hidden vector of one prefix, x [t, D], from the equations."""
    mean, last = x.mean(axis=0), x[-1]
    memory = np.zeros(x.shape[1])
    for vector in x:
        gate = sigmoid(
            vector @ net.w_1.numpy()
            + last @ net.w_2.numpy()
            + mean @ net.w_3.numpy()
            + net.attention_bias.numpy()
        )
        memory += (net.w_0.numpy() @ gate) * vector
    session = np.tanh((memory + mean) @ net.w_s.numpy() + net.session_bias.numpy())
    return session * np.tanh(last @ net.w_t.numpy() + net.last_bias.numpy())


def test_hidden_vectors_are_those_of_the_equations():
    net, rng = small(), np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    rows = [[3, 1, 4], [1], [5, 9, 2, 6]]
    log = Sequences(
        np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]), NUM_ITEMS
    )
    inputs, order = batches.scoring_inputs(log, 6)
    result = net.hidden(inputs, None).numpy()
    table = net.items.numpy()
    expected = [
        reference(net, table[np.array(rows[row][: t + 1]) - 1])
        for row in order
        for t in range(len(rows[row]))
    ]
    assert result == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.slow
def test_what_follows_is_learned_from_earlier_items_too():
    """After 1 or 2 and the shared items 3, 4 comes 5 or 6: only the first item tells which."""
    rng = np.random.default_rng(1)
    first = rng.integers(1, 3, 200)
    items = np.stack([first, np.full(200, 3), np.full(200, 4), first + 4, first + 6], axis=1)
    log = Sequences(items.ravel().astype(np.int32), np.arange(201) * 5, NUM_ITEMS)
    net = small(width=16, learning_rate=0.02)
    # Whole sessions are trained on; asked is what follows the third event.
    split = protocols.HeldOut(
        np.arange(200),
        log.between(np.zeros(200, int), np.full(200, 3)),
        log.between(np.full(200, 3), np.full(200, 4)),
    )
    taught = learner.SequenceLearner(
        net, log, lambda model: next_items.ndcg_at_10(model, split), 0
    )
    for _ in range(12):
        taught.advance()

    def first_hits(ranker):
        return next_items.evaluate(ranker, split, log, (1,)).by_user["recall@1"].mean()

    assert first_hits(net) > 0.95
    assert first_hits(controls.Popularity(log)) < 0.7
