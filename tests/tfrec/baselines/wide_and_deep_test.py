"""Wide&Deep: crosses by hand, all candidates at once, and what it learns."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines import click_log
from tfrec import types
from tfrec.baselines import wide_and_deep
from tfrec.environments import playing, user_models, users
from tfrec.training import checkpoint, finite

SPEC = click_log.SPEC
SMALL = wide_and_deep.WideAndDeepConfig(
    embedding=4,
    units=4,
    state=8,
    hidden=8,
    batch=64,
    buckets=256,
    wide_events=3,
    wide_l1=0.0,
    embedding_noise=0.1,
    replay_sessions=512,
    sessions_per_round=64,
    updates_per_round=30,
    log_rounds=15,
    play_rounds=2,
    learning_rate=2e-2,
)


def learner(log=None, world=None, seed=0, **changes):
    config = dataclasses.replace(SMALL, **changes)
    log = click_log.planted(400, 1) if log is None else log
    vectors = np.zeros([SPEC.num_items + 1, config.embedding], np.float32)
    return wide_and_deep.WideAndDeepLearner(config, SPEC, log, world, vectors, seed)


def some_states(count=5):
    seen, _, _ = click_log.first_steps(click_log.planted(count, 3))
    return types.constants(seen)


def expected_bucket(item, clicked, candidate, buckets):
    """The hash in plain integers."""
    product = (2 * item + clicked) * 0x9E3779B97F4A7C1 % 2**63
    line = (product >> 24) % (buckets // 16)
    return (16 * line + candidate) % buckets


def test_crosses_by_hand():
    crosses = wide_and_deep.Crosses(SPEC, buckets=64, events=3)
    crosses.weight.assign(np.arange(64.0))
    crosses.item_weight.assign(1000.0 * np.arange(SPEC.num_items + 1))
    # Of six places the last three are crossed; the one before them is not, nor is padding.
    history = np.array([[0, 0, 9, 4, 7, 7], [0, 0, 0, 0, 0, 12]], np.int32)
    click = np.array([[0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]], np.float32)
    seen = types.Observation(
        tf.constant(history),
        tf.constant(np.stack([click, 0 * click], -1)),
        tf.zeros(2, tf.int32),
    )
    events = [[(4, 1), (7, 0), (7, 1)], [(12, 0)]]
    item = [5, 18]
    expected = [
        1000 * a + sum(expected_bucket(i, c, a, 64) for i, c in e)
        for a, e in zip(item, events, strict=True)
    ]
    result = crosses(seen, tf.constant(item))
    np.testing.assert_allclose(result, expected)
    # Whether an event was clicked makes another cross of it.
    assert expected_bucket(7, 0, 5, 1024) != expected_bucket(7, 1, 5, 1024)


@pytest.mark.parametrize("buckets", [32, 64, 1024])  # 18 candidates wrap around 32
def test_all_crosses_are_those_of_each_candidate(buckets):
    crosses = wide_and_deep.Crosses(SPEC, buckets, events=4)
    crosses.weight.assign(np.random.default_rng(0).normal(size=buckets))
    crosses.item_weight.assign(np.random.default_rng(1).normal(size=SPEC.num_items + 1))
    seen = some_states()
    every = crosses.all(seen).numpy()
    assert every.shape == (5, 18)
    for a in range(1, 19):
        np.testing.assert_allclose(every[:, a - 1], crosses(seen, tf.fill([5], a)), rtol=1e-5)


def test_an_event_shares_no_bucket_with_itself():
    crosses = wide_and_deep.Crosses(SPEC, 64, events=1)
    seen = some_states(1)
    buckets = {int(crosses.buckets(seen, tf.constant([a]))[0, 0]) for a in range(1, 19)}
    assert len(buckets) == 18


def test_buckets_must_fill_lines():
    with pytest.raises(ValueError, match="buckets is 100; expected a multiple of 16"):
        wide_and_deep.WideAndDeepConfig(buckets=100)


@pytest.mark.parametrize("crossed", [0, 32])
def test_all_scores_are_those_of_each_candidate(crossed):
    one = learner(crossed=crossed)
    one._learn(tf.constant(5))
    seen = some_states()
    every = one.network.all_logits(seen).numpy()
    assert every.shape == (5, 18) and every.std() > 1e-3
    for a in range(1, 19):
        np.testing.assert_allclose(
            every[:, a - 1], one.predict(seen, tf.fill([5], a)), rtol=1e-4, atol=1e-5
        )


def test_every_variable_moves():
    moved = click_log.moved(learner(crossed=32))
    assert all(moved.values()), moved


def test_l1_keeps_crosses_at_zero():
    free, held = learner(), learner(wide_l1=1e6)
    for one in (free, held):
        one._learn(tf.constant(3))
    assert (free.network.wide.weight.numpy() != 0).any()
    assert (held.network.wide.weight.numpy() == 0).all()


def test_it_plays_what_is_clicked_and_does_not_repeat_itself():
    one = learner(world=click_log.ParityWorld())
    while int(one.iteration) < one.total_iterations:
        report = one.advance()
    assert {"click_loss", "play/reward_clicks", "play/random_actions"} <= report.keys()
    starts = user_models.starts_of(click_log.planted(200, 7))
    starts = types.constants(starts)
    environment = users.UserEnvironment(click_log.ParityWorld())
    played = playing.rollout(environment, one.policy(), starts, tf.constant([1, 2]))
    shown = played.item.numpy()
    assert played.feedback.numpy()[..., 0].sum() / (shown > 0).sum() > 0.8
    for row in shown:
        assert len(set(row[row > 0])) == (row > 0).sum()


def test_each_step_of_the_replay_is_seen_once_in_a_pass():
    one = learner(batch=100)  # 2,000 steps: a pass is 20 batches
    rows = tf.function(one._next_rows)
    batches = [rows() for _ in range(40)]

    def key(some):
        columns = [b.observation.history_item for b in some], [b.item[:, None] for b in some]
        return sorted(map(tuple, np.concatenate([np.concatenate(c) for c in columns], 1)))

    log = click_log.planted(400, 1)
    item = np.concatenate([log.history_item, log.item], axis=1)
    steps = sorted(tuple(row[t : t + 7]) for row in item for t in range(SPEC.max_steps))
    assert key(batches[:20]) == steps
    assert key(batches[20:]) == steps
    assert (batches[0].item.numpy() != batches[20].item.numpy()).any()  # another order


def test_late_clicks_that_come_together_are_one():
    one = learner()
    log = click_log.planted(2, 5)
    episodes = types.constants(log)
    reward = tf.constant([[0.0, 0.0, 0.0, 0.0, 3.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
    at = int(one.replay.added) % one.replay.capacity
    one.store(episodes, reward)
    stored = one.replay.label.numpy()[at : at + 2, :, 0]
    np.testing.assert_array_equal(stored, [[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]])


def test_it_finds_a_planted_rule():
    one = learner()
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
    embedding = one.network.deep.item_embedding
    embedding.assign(embedding * np.nan)
    before = [v.numpy() for v in one.network.trainable_variables]
    with pytest.raises(finite.NonFiniteError, match="loss is not finite"):
        one.advance()
    for old, variable in zip(before, one.network.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_a_restored_learner_goes_on_alike(tmp_path):
    one, other = learner(updates_per_round=3), learner(updates_per_round=3, seed=5)
    one.advance()
    checkpoint.write(tmp_path / "kept", one, one.config)
    checkpoint.read(tmp_path / "kept", other, other.config)
    assert one.advance() == other.advance()
    for a, b in zip(one.network.variables, other.network.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
