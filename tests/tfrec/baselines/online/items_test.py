"""Slates drawn from scores, SlateQ's decomposition, TPGR's paths; what is rejected."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.online import toy
from tfrec.baselines.online import deers, items, slateq, tpgr
from tfrec.environments.ports import recogym
from tfrec.replay import ring


def test_a_slate_s_probability_is_that_of_its_picks():
    scores = tf.math.log([[1.0, 2.0, 3.0]])
    # 3/6 for item 2, then 1/3 for item 0 of what is left.
    log_prob = items.slate_log_prob(scores, tf.constant([[2, 0]]))
    assert float(log_prob[0]) == pytest.approx(math.log(3 / 6 * 1 / 3), rel=1e-5)
    every = tf.constant(list(itertools.permutations(range(3), 2)))
    all_of_them = items.slate_log_prob(tf.repeat(scores, len(every), axis=0), every)
    assert float(tf.reduce_sum(tf.exp(all_of_them))) == pytest.approx(1.0, rel=1e-5)


def test_slates_are_drawn_with_their_probability():
    scores = tf.repeat(tf.math.log([[1.0, 2.0, 3.0]]), 20_000, axis=0)
    slate = items.drawn(scores, 2, tf.constant([1, 2])).numpy()
    assert (slate == [2, 0]).all(axis=1).mean() == pytest.approx(1 / 6, abs=0.01)
    assert (slate[:, 0] != slate[:, 1]).all()


def test_the_entropy_of_equal_scores_is_that_of_a_die():
    assert float(items.entropy(tf.zeros([1, 6]))[0]) == pytest.approx(math.log(6), rel=1e-5)


def test_a_slate_is_worth_what_the_choice_among_it_is():
    values, nothing = tf.constant([[10.0, 4.0]]), tf.constant([2.0])
    log_v = tf.math.log([[1.0, 2.0]])
    # Shares 1/4 and 2/4, and 1/4 for nothing: 10/4 + 8/4 + 2/4.
    worth = slateq.slate_value(values, nothing, log_v)
    assert float(worth[0]) == pytest.approx(5.0, rel=1e-5)
    # With a click, shares 1/3 and 2/3: 10/3 + 8/3.
    reported = slateq.expected_value(values, nothing, log_v, tf.constant([True]))
    assert float(reported[0]) == pytest.approx(6.0, rel=1e-5)
    reported = slateq.expected_value(values, nothing, log_v, tf.constant([False]))
    assert float(reported[0]) == pytest.approx(2.0, rel=1e-5)


def test_a_slate_of_one_bootstraps_from_the_best_item():
    learner = slateq.Slateq(
        slateq.SlateqConfig(hidden=(8,), choice_model=False), toy.Toy("changing"), 0
    )
    state, features = tf.eye(4)[:2], tf.random.stateless_normal([2, 5, 4], [1, 2])
    np.testing.assert_allclose(
        learner.next_value(state, features),
        tf.reduce_max(learner.target_network.of_item(state, features), axis=1),
    )


def test_what_nobody_clicks_ranks_below_what_is_worth_waiting_for():
    learner = slateq.Slateq(slateq.SlateqConfig(hidden=(8,)), toy.Toy("changing", slate=2), 0)
    state, features = tf.eye(4)[:2], tf.random.stateless_normal([2, 5, 4], [1, 2])
    v = tf.exp(learner.choice(state, features))
    more = learner.values.of_item(state, features) - learner.values.nothing(state)[:, None]
    np.testing.assert_allclose(learner.ranks(state, features), v * more, rtol=1e-5)


def test_a_path_is_the_product_of_its_nodes():
    root = tf.math.log([[1.0, 3.0]])
    leaves = tf.math.log([[[1.0, 1.0, 2.0, 9.0], [9.0, 9.0, 9.0, 5.0]]])
    result = tf.exp(tpgr.path_log_prob(root, leaves, tf.constant([[0, 0, 0, 1]])))
    # Branch 0 has 1/4, of it 1/4, 1/4, 2/4; branch 1 has one leaf.
    np.testing.assert_allclose(result[0], [1 / 16, 1 / 16, 2 / 16, 3 / 4], rtol=1e-5)


def test_a_branch_without_items_is_not_walked_to():
    root = tf.math.log([[1.0, 3.0, 4.0]])
    result = tf.exp(tpgr.path_log_prob(root, tf.zeros([1, 3, 2]), tf.constant([[0, 2]])))
    np.testing.assert_allclose(result[0], [1 / 5, 4 / 5], rtol=1e-5)


def test_a_path_to_what_is_blocked_has_no_share():
    root = tf.math.log([[1.0, 3.0]])
    leaves = tf.math.log([[[1.0, 1.0, 2.0, 9.0], [9.0, 9.0, 9.0, 5.0]]])
    branch = tf.constant([[0, 0, 0, 1]])
    blocked = tf.constant([[True, False, False, False]])
    result = tf.exp(tpgr.path_log_prob(root, leaves, branch, blocked))
    np.testing.assert_allclose(result[0], [0, 1 / 12, 2 / 12, 3 / 4], rtol=1e-5)
    blocked = tf.constant([[False, False, False, True]])  # all of branch 1
    result = tf.exp(tpgr.path_log_prob(root, leaves, branch, blocked))
    np.testing.assert_allclose(result[0], [1 / 4, 1 / 4, 2 / 4, 0], rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_leaves_by_branch_have_the_probabilities_of_all_items_at_all_nodes(share):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(11, 4)).astype(np.float32)
    slabs = tpgr.Slabs(features, 3)
    assert sorted(slabs.item.ravel().tolist()) == [-1, *range(11)]
    assert slabs.item.ravel()[slabs.leaf].tolist() == list(range(11))
    root = tf.constant(rng.normal(size=(5, 3)), tf.float32)
    queries = tf.constant(rng.normal(size=(5, 3, 4)), tf.float32)
    blocked = tf.constant(rng.random((5, 11)) < share) if share else None
    branch = tf.constant(np.tile(slabs.leaf // slabs.item.shape[1], (5, 1)))
    everywhere = tf.einsum("bcd,md->bcm", queries, features)
    expected = tpgr.path_log_prob(root, everywhere, branch, blocked)
    leaves = tf.einsum("bcd,cnd->bcn", queries, features[np.maximum(slabs.item, 0)])
    result = tpgr.leaf_log_prob(root, leaves, slabs.leaf, tf.constant(slabs.item), blocked)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    if share < 1:
        np.testing.assert_allclose(tf.reduce_sum(tf.exp(result), axis=1), 1.0, rtol=1e-5)


def test_the_next_value_is_of_what_may_be_shown():
    config = slateq.SlateqConfig(hidden=(8,), choice_model=False)
    learner = slateq.Slateq(config, toy.Toy("changing"), 0)
    state, features = tf.eye(4)[:2], tf.random.stateless_normal([2, 5, 4], [1, 2])
    values = learner.target_network.of_item(state, features).numpy()
    best = values.argmax(axis=1)
    value = learner.next_value(state, features, tf.one_hot(best, 5) > 0)
    np.testing.assert_allclose(value, np.sort(values, axis=1)[:, -2], rtol=1e-5)


def test_branches_are_equal_and_neighbours_stay_together():
    features = np.array(
        [[5.0, 0.1], [1.0, 0.0], [4.0, 0.0], [2.0, 0.1], [3.0, 0.0]], np.float32
    )
    slabs = tpgr.Slabs(features, 2)
    branches = [sorted(row[row >= 0].tolist()) for row in slabs.item]
    assert branches == [[1, 3, 4], [0, 2]]
    later = slabs(tf.constant([[[0.0, 0.0], [9.0, 0.0]]]))
    assert later.numpy().tolist() == [[0, 1]]


def test_the_tree_of_a_catalogue_has_the_root_of_its_size():
    learner = tpgr.Tpgr(tpgr.TpgrConfig(hidden=(8,)), toy.Toy("catalogue"), 0)
    assert learner.slabs.branches == 2
    assert sorted(learner.slabs.leaf.tolist()) == [0, 1, 2, 3]
    assert learner.slabs.item.shape == (2, 2)
    scores = learner.scores(tf.eye(4), tf.eye(4), None)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(scores), axis=1), np.ones(4), rtol=1e-5)


def test_the_tree_is_cut_by_learned_vectors_where_there_are_some():
    simulator = recogym.RecoGymV1(recogym.RecoGymV1Config(products=9, flips=0))
    config = tpgr.TpgrConfig(hidden=(8,), vectors="views", vector_width=3, vector_sessions=20)
    learner = tpgr.Tpgr(config, simulator, 0)
    assert learner.sessions_before == 20
    assert learner.observation_size == 10  # of the viewed items' vectors, not 3 * 9
    vectors = learner.adapter.variables[0].numpy()
    assert learner.slabs.item.tolist() == tpgr.Slabs(vectors, 3).item.tolist()
    assert learner.slabs.item.shape == (3, 3)


@pytest.mark.parametrize(
    ("module", "name"), [(slateq, "Slateq"), (tpgr, "Tpgr"), (deers, "Deers")]
)
def test_continuous_actions_are_rejected(module, name):
    with pytest.raises(ValueError, match=f"{name} recommends items; Toy asks for a continuous"):
        getattr(module, name)(getattr(module, f"{name}Config")(), toy.Toy("continuous"), 0)


def test_the_ring_keeps_the_latest_rows():
    retained = ring.Ring(3, {"x": tf.TensorSpec([], tf.int32)})
    retained.add({"x": tf.constant([1, 2])})
    retained.add({"x": tf.constant([3, 4])})
    assert sorted(retained.columns["x"].numpy().tolist()) == [2, 3, 4]
    assert set(retained.sample(50, tf.constant([0, 1]))["x"].numpy()) == {2, 3, 4}
    with pytest.raises(tf.errors.InvalidArgumentError, match="more rows than"):
        retained.add({"x": tf.constant([1, 2, 3, 4])})
