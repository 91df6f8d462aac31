"""DIEN as a ranker: both forms, all candidates at once, and what it learns."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines import click_log
from tfrec import types
from tfrec.baselines import dien_ranker
from tfrec.training import checkpoint, finite

SPEC = click_log.SPEC
SMALL = dien_ranker.DienConfig(
    embedding=4,
    units=8,
    state=8,
    hidden=8,
    batch=64,
    embedding_noise=0.1,
    replay_sessions=512,
    sessions_per_round=64,
    updates_per_round=30,
    log_rounds=10,
    play_rounds=2,
    learning_rate=2e-2,
)


def learner(log=None, world=None, seed=0, **changes):
    config = dataclasses.replace(SMALL, **changes)
    log = click_log.planted(400, 1) if log is None else log
    vectors = np.zeros([SPEC.num_items + 1, config.embedding], np.float32)
    return dien_ranker.DienLearner(config, SPEC, log, world, vectors, seed)


def some_states(count=5):
    seen, _, _ = click_log.first_steps(click_log.planted(count, 3))
    return types.constants(seen)


@pytest.mark.slow
@pytest.mark.parametrize("query", ["latest", "candidate"])
def test_all_scores_are_those_of_each_candidate(query, monkeypatch):
    # Five states at seven candidates a pass: the third pass is not full.
    monkeypatch.setattr(dien_ranker, "_PAIRS", 35)
    one = learner(query=query, crossed=32)
    one._learn(tf.constant(5))
    seen = some_states()
    every = tf.function(one.network.all_logits)(seen).numpy()
    assert every.shape == (5, 18) and every.std() > 1e-3
    for a in range(1, 19):
        np.testing.assert_allclose(
            every[:, a - 1], one.predict(seen, tf.fill([5], a)), rtol=1e-3, atol=1e-4
        )


@pytest.mark.slow
def test_only_the_candidate_form_reads_the_history_anew_for_each_item():
    seen, one = some_states(1), {}
    for query in ("latest", "candidate"):
        one[query] = learner(query=query)
        one[query]._learn(tf.constant(5))
    items = [tf.constant([a]) for a in (1, 2)]
    latest = [one["latest"].network._encode(seen, a).state.numpy() for a in items]
    candidate = [one["candidate"].network._encode(seen, a).state.numpy() for a in items]
    np.testing.assert_array_equal(*latest)
    assert np.abs(candidate[0] - candidate[1]).max() > 1e-6


@pytest.mark.parametrize("query", ["latest", "candidate"])
def test_every_variable_moves(query):
    moved = click_log.moved(learner(query=query, crossed=32), updates=5)
    assert all(moved.values()), moved


def test_the_loss_is_the_clicks_and_alpha_times_the_auxiliary():
    parts = {}
    for alpha in (0.0, 1.0, 2.0):
        one = learner(auxiliary_weight=alpha)
        seen, item, clicked = click_log.first_steps(click_log.planted(50, 4))
        seen = types.constants(seen)
        parts[alpha] = one.network.loss(
            seen, tf.constant(item), tf.constant(clicked), tf.constant([1, 2])
        )
    auxiliary = {a: float(p["weighted_auxiliary_loss"]) for a, p in parts.items()}
    assert auxiliary[0.0] == 0.0 and auxiliary[1.0] > 0.5
    assert auxiliary[2.0] == pytest.approx(2 * auxiliary[1.0], rel=1e-5)
    one = learner()
    logit = one.predict(seen, tf.constant(item)).numpy().astype(np.float64)
    expected = np.mean(np.log1p(np.exp(logit)) - clicked * logit)
    assert float(parts[1.0]["click_loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("query", ["latest", "candidate"])
def test_it_plays(query):
    one = learner(world=click_log.ParityWorld(), query=query, log_rounds=1, play_rounds=1)
    one.advance()
    assert one.advance()["play/depth_steps"] >= 1.0


@pytest.mark.parametrize("query", ["latest", "candidate"])
def test_it_finds_a_planted_rule(query):
    one = learner(query=query)
    for _ in range(SMALL.log_rounds):
        one.advance()
    assert click_log.held_out_auc(one) > 0.9


def test_coins_teach_it_nothing():
    one = learner(click_log.planted(400, 1, shuffled=True))
    for _ in range(SMALL.log_rounds):
        one.advance()
    assert abs(click_log.held_out_auc(one, shuffled=True) - 0.5) < 0.1


def test_what_is_not_finite_moves_nothing():
    one = learner()
    embedding = one.network.towers.item_embedding
    embedding.assign(embedding * np.nan)
    before = [v.numpy() for v in one.network.trainable_variables]
    with pytest.raises(finite.NonFiniteError, match="loss is not finite"):
        one.advance()
    for old, variable in zip(before, one.network.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@pytest.mark.slow
def test_a_restored_learner_goes_on_alike(tmp_path):
    one, other = learner(updates_per_round=3), learner(updates_per_round=3, seed=5)
    one.advance()
    checkpoint.write(tmp_path / "kept", one, one.config)
    checkpoint.read(tmp_path / "kept", other, other.config)
    assert one.advance() == other.advance()
    for a, b in zip(one.network.variables, other.network.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
