"""Returns by hand, action dropout, and learning from the last rollout alone."""

import numpy as np
import tensorflow as tf

from tests.tfrec.baselines.online import toy
from tfrec.baselines.online import on_policy, pgpr, reinforce
from tfrec.training import checkpoint


def test_returns_go_on_with_the_value_where_the_stretch_cuts_a_session():
    reward = tf.constant([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    done = tf.constant([[False, False], [True, False], [False, False]])
    returns = on_policy.discounted(reward, done, tf.constant([10.0, 20.0]), 0.5)
    # Column 0: 3 + 5; 2, its session's last; 1 + 1. Column 1: 3 + 10; 2 + 6.5; 1 + 4.25.
    np.testing.assert_allclose(returns, [[2.0, 5.25], [2.0, 8.5], [8.0, 13.0]])


def test_nothing_follows_a_session_that_ends_with_the_stretch():
    returns = on_policy.discounted(
        tf.ones([1, 1]), tf.constant([[True]]), tf.constant([100.0]), 0.9
    )
    assert returns.numpy().tolist() == [[1.0]]


def test_a_piece_is_every_so_many_th_session_and_all_are_used():
    simulator = toy.Toy("changing")
    learner = reinforce.Reinforce(
        reinforce.ReinforceConfig(hidden=(8,), pieces=4), simulator, 0
    )
    rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=6, steps=2)
    learner.observe(rollout, tf.constant(0.0))
    assert int(learner.planned(tf.constant(9))) == 4
    assert int(learner.planned(tf.constant(0))) == 0
    sizes = [len(learner.sample(tf.constant(i)).returns) for i in range(4)]
    assert sizes == [4, 4, 2, 2]  # 2 steps of sessions 0 and 4, 1 and 5, 2, 3
    second = learner.sample(tf.constant(1))
    np.testing.assert_array_equal(second.action[0], rollout.action[0, 1])
    np.testing.assert_array_equal(second.features[1], rollout.candidates[0, 5])


def test_the_log_probability_is_that_of_what_was_drawn():
    simulator = toy.Toy("continuous")
    learner = reinforce.Reinforce(reinforce.ReinforceConfig(hidden=(8,)), simulator, 0)
    rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=2, steps=1)
    np.testing.assert_allclose(tf.tanh(rollout.info), rollout.action, rtol=1e-5)
    learner.observe(rollout, tf.constant(0.0))
    learner.config = reinforce.ReinforceConfig(pieces=1)
    piece = learner.sample(tf.constant(0))
    mean, log_std = (x.numpy() for x in learner.policy(piece.observation))
    std = np.exp(log_std)
    by_hand = -0.5 * ((piece.info.numpy() - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi))
    result, entropy = learner.log_prob(piece)
    np.testing.assert_allclose(result, by_hand.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(
        entropy, (0.5 * np.log(2 * np.pi * np.e * std**2)).sum(axis=1), rtol=1e-4
    )


def test_action_dropout_leaves_a_slate_and_tells_what_it_kept():
    simulator = toy.Toy("changing", slate=2)
    learner = pgpr.Pgpr(pgpr.PgprConfig(hidden=(8,), action_dropout=0.9), simulator, 0)
    assert learner.info_size == 5
    retained = learner.dropout_mask(tf.constant([2000, 5]), tf.constant([3, 4])).numpy()
    assert retained.sum(axis=1).min() == 2
    half = pgpr.Pgpr(pgpr.PgprConfig(hidden=(8,)), simulator, 0)
    share = half.dropout_mask(tf.constant([2000, 5]), tf.constant([3, 4])).numpy().mean()
    assert 0.5 < share < 0.56  # a little more than half: rows with fewer than 2 keep 2
    rollout = toy.played(simulator, learner, tf.constant([0, 1]))
    of_shown = tf.gather(rollout.info, rollout.action, batch_dims=2)
    assert of_shown.numpy().min() == 1.0


def test_a_stretch_is_part_of_the_checkpoint(tmp_path):
    simulator = toy.Toy("changing")
    config = reinforce.ReinforceConfig(hidden=(8,))
    learner, other = (reinforce.Reinforce(config, simulator, seed) for seed in (0, 1))
    rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=4, steps=3)
    learner.observe(rollout, tf.constant(0.0))
    checkpoint.write(tmp_path / "c", learner, {})
    checkpoint.read(tmp_path / "c", other)
    (_, bad, _), (_, same, _) = learner.learn(tf.constant(1)), other.learn(tf.constant(1))
    assert int(bad) == int(same) == -1
    for one, two in zip(learner.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one, two)
