"""Every other method solves the toy; bad numbers move nothing; histories and graphs by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.online import toy
from tfrec.baselines.online import deers, kgrl, pgpr, reinforce, slateq, tpgr
from tfrec.environments import contract
from tfrec.environments.ports import seen as seen_lib
from tfrec.training import checkpoint

pytestmark = pytest.mark.slow

REPLAY = {
    "hidden": (32,), "batch": 64, "replay_size": 5000, "learning_rate": 3e-3, "tau": 0.05,
    "discount": 0.5,
}  # fmt: skip
ACTING = {**REPLAY, "random_steps": 600, "exploration_noise": 0.3}
POLICY = {"hidden": (32,), "learning_rate": 3e-3, "discount": 0.5}
# Module, name, kind of toy, slate, numbers, rounds.
CASES = [
    (slateq, "Slateq", "changing", 1, {**REPLAY, "choice_model": False}, 25),
    (slateq, "Slateq", "changing", 2, REPLAY, 25),
    (deers, "Deers", "catalogue", 2, REPLAY, 25),
    (reinforce, "Reinforce", "catalogue", 2, POLICY, 40),
    (reinforce, "Reinforce", "continuous", 1, POLICY, 50),
    (pgpr, "Pgpr", "changing", 2, POLICY, 40),
    (pgpr, "Pgpr", "continuous", 1, {**POLICY, "action_dropout": 0.0}, 50),
    (tpgr, "Tpgr", "changing", 2, POLICY, 40),
    (tpgr, "Tpgr", "catalogue", 1, POLICY, 50),
    (kgrl, "Kgrl", "catalogue", 2, ACTING, 30),
    (kgrl, "Kgrl", "changing", 1, {**ACTING, "item_graph": False}, 40),
    (kgrl, "Kgrl", "continuous", 1, {**ACTING, "item_graph": False}, 40),
]
# One of each form that a method has of its own.
LEARNED = [CASES[i] for i in (0, 1, 2, 3, 4, 5, 7, 8, 9)]


def learner_of(module, name, numbers, simulator):
    return getattr(module, name)(getattr(module, f"{name}Config")(**numbers), simulator, 3)


def named(case):
    return f"{case[1]}-{case[2]}-{case[3]}"


@pytest.mark.parametrize("case", LEARNED, ids=named)
def test_it_finds_what_the_user_wants(case):
    module, name, kind, slate, numbers, rounds = case
    simulator = toy.Toy(kind, slate)
    learner = learner_of(module, name, numbers, simulator)
    toy.trained(simulator, learner, rounds, updates=8)
    result = toy.earned(simulator, learner.greedy)
    random = toy.earned(simulator, contract.random_policy(simulator))
    assert result > random + 0.7 * (toy.best(simulator) - random)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_bad_numbers_move_no_weight(case):
    module, name, kind, slate, numbers, _ = case
    simulator = toy.Toy(kind, slate)
    learner = learner_of(module, name, numbers, simulator)
    rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=4, steps=3)
    assert rollout.info.shape == (3, 4, learner.info_size)
    learner.observe(rollout._replace(reward=rollout.reward * np.nan), tf.constant(0.5))
    moving = checkpoint.named_variables(learner).items()
    moving = {n: v for n, v in moving if "generator" not in n}
    before = {n: v.numpy() for n, v in moving.items()}
    _, bad, _ = learner.learn(tf.constant(3))
    assert learner.checked[int(bad)].endswith("loss")
    for path, variable in moving.items():
        np.testing.assert_array_equal(variable, before[path], err_msg=path)
    # And good ones do.
    learner.observe(rollout, tf.constant(0.5))
    if hasattr(learner, "replay"):
        learner.replay.added.assign(0)
        learner.observe(rollout, tf.constant(0.5))
    report, bad, _ = learner.learn(tf.constant(1))
    assert int(bad) == -1
    assert all(np.isfinite(float(value)) for value in report.values())
    weights = [v for part in learner._parts().values() for v in part]
    assert any((v.numpy() != before[n]).any() for n, v in moving.items() if v is weights[0])


@pytest.mark.parametrize("case", [CASES[1], CASES[5], CASES[9]], ids=named)
def test_the_same_seed_gives_the_same(case):
    module, name, kind, slate, numbers, _ = case
    simulator = toy.Toy(kind, slate)
    both = [learner_of(module, name, numbers, simulator) for _ in range(2)]
    for learner in both:
        rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=4, steps=3)
        learner.observe(rollout, tf.constant(0.5))
        learner.learn(tf.constant(2))
    for one, two in zip(both[0].variables, both[1].variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_more_updates_than_the_run_asks_for():
    learner = slateq.Slateq(
        slateq.SlateqConfig(hidden=(8,), batch=4, update_factor=3), toy.Toy(), 0
    )
    learner.observe(
        toy.played(toy.Toy(), learner, tf.constant([0, 1]), sessions=2, steps=3),
        tf.constant(0.5),
    )
    learner.learn(tf.constant(2))
    assert {int(o.iterations) for o in learner.optimizers.values()} == {6}
    with pytest.raises(ValueError, match="update_factor is 0; expected at least 1"):
        slateq.SlateqConfig(update_factor=0)


def test_tries_become_fewer_until_their_share_of_the_run():
    learner = slateq.Slateq(slateq.SlateqConfig(hidden=(8,), replay_size=50), toy.Toy(), 0)
    rollout = toy.played(toy.Toy(), learner, tf.constant([0, 1]), sessions=2, steps=1)
    for progress, expected in ((0.0, 1.0), (0.15, 0.525), (0.3, 0.05), (1.0, 0.05)):
        learner.observe(rollout, tf.constant(progress))
        assert float(learner.epsilon) == pytest.approx(expected)


def test_the_learning_rate_of_every_part_falls():
    config = reinforce.ReinforceConfig(hidden=(8,), learning_rate=1e-2, final_rate=0.1)
    learner = reinforce.Reinforce(config, toy.Toy(), 1)
    assert len(learner.optimizers) == 2
    for progress, expected in ((0.0, 1e-2), (0.5, 5.5e-3), (1.0, 1e-3)):
        learner.set_learning_rate(tf.constant(progress))
        for optimizer in learner.optimizers.values():
            np.testing.assert_allclose(optimizer.learning_rate, expected, rtol=1e-5)


def test_deers_reads_what_is_liked_and_what_not_the_strongest_last():
    # Two numbers for each of three features: sums 3, -1, 0.
    # The last column belongs to no feature.
    observation = tf.constant([[1.0, -1.0, 0.5, 2.0, 0.0, -0.5, 9.0]])
    columns = np.array([[0, 1, 2], [3, 4, 5]])
    (liked, first), (not_liked, second) = deers.histories(observation, columns, 2)
    assert first.numpy().tolist() == [[False, True]]
    assert liked[0, 1].numpy().tolist() == [1.0, 2.0, 1.0, 0.0, 0.0]
    assert second.numpy().tolist() == [[False, True]]
    assert not_liked[0, 1].numpy().tolist() == [-1.0, 0.0, 0.0, 1.0, 0.0]


def test_deers_reads_both_histories_in_recsim_whose_observation_has_one_column_more():
    simulator = seen_lib.RememberedEvolution()
    assert simulator.observation_size % simulator.action_size == 1
    learner = deers.Deers(deers.DeersConfig(hidden=(8,), replay_size=10), simulator, 0)
    assert [reader.name for reader in learner.values.readers] == ["positive", "negative"]
    read = {v.ref() for reader in learner.values.readers for v in reader.trainable_variables}
    assert read <= {v.ref() for v in learner._parts()["value"]} and len(read) == 6
    # The state is what is seen with both histories beside it.
    observation = tf.random.stateless_normal([3, 41], [1, 2])
    assert learner.values.state(observation, observation).shape == (3, 41 + 2 * 32)


def test_a_part_that_a_simulator_has_nothing_for_is_an_error(monkeypatch):
    simulator = toy.Toy("changing")
    simulator.feature_columns = None
    with pytest.raises(ValueError, match="Toy declares no feature_columns"):
        deers.Deers(deers.DeersConfig(hidden=(8,)), simulator, 0)
    with pytest.raises(ValueError, match="item_graph is True; Toy has no fixed catalogue"):
        kgrl.Kgrl(kgrl.KgrlConfig(hidden=(8,)), simulator, 0)
    monkeypatch.setattr(kgrl, "_MOST_ITEMS", 2)
    with pytest.raises(ValueError, match=r"item_graph is True with \d+ items; expected at mo"):
        kgrl.Kgrl(kgrl.KgrlConfig(hidden=(8,)), toy.Toy("catalogue"), 0)
    with pytest.raises(ValueError, match="action_dropout is 0.5; expected 0, as the cont"):
        pgpr.Pgpr(pgpr.PgprConfig(hidden=(8,)), toy.Toy("continuous"), 0)
    with pytest.raises(ValueError, match="choice_model is False; expected True for slates of"):
        slateq.Slateq(slateq.SlateqConfig(hidden=(8,), choice_model=False), toy.Toy(slate=2), 0)


def test_an_item_is_linked_to_its_most_frequent_companions():
    together = tf.constant([[9.0, 3.0, 1.0], [3.0, 9.0, 0.0], [1.0, 0.0, 9.0]])
    item, linked = kgrl.companions(together, 1)
    assert item.numpy().tolist() == [[1], [0], [0]] and linked.numpy().all()
    vectors = tf.constant([[1.0, 2.0], [3.0, 0.0], [0.0, 8.0]])
    mean = kgrl.mean_with_companions(vectors, item, linked)
    np.testing.assert_allclose(mean, [[2.0, 1.0], [2.0, 1.0], [0.5, 5.0]])

    # Item 1 has one companion alone, and there are no more than the other items.
    item, linked = kgrl.companions(together, 9)
    assert item.numpy()[:, 0].tolist() == [1, 0, 0] and item.shape == (3, 3)
    assert linked.numpy().sum(axis=1).tolist() == [2, 1, 1]
    mean = kgrl.mean_with_companions(vectors, item, linked)
    np.testing.assert_allclose(mean, [[4 / 3, 10 / 3], [2.0, 1.0], [0.5, 5.0]], rtol=1e-6)


def test_vectors_start_at_the_features_of_the_items():
    features = np.array([[3.0, 0.0], [0.0, 1.0]])  # mean square length 5
    vectors = kgrl.initial_vectors(features, 4, np.random.default_rng(0))
    np.testing.assert_allclose(vectors[:, :2], features / 5**0.5)
    assert (0 < np.abs(vectors[:, 2:])).all() and (np.abs(vectors[:, 2:]) < 0.2).all()
    # One-hot items of which not all fit: independent random vectors.
    vectors = kgrl.initial_vectors(np.eye(400), 16, np.random.default_rng(0))
    products = vectors @ vectors.T
    assert np.diag(products).mean() == pytest.approx(1.0, abs=0.05)
    assert np.std(products[np.triu_indices(400, 1)]) == pytest.approx(0.25, abs=0.02)


def test_the_graph_counts_and_its_vectors_follow():
    graph = kgrl.ItemGraph(np.eye(3), width=8, neighbours=1, seed=0)
    assert not graph.linked.numpy().any()
    alone = graph.vectors().numpy()
    graph.add(tf.constant([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]))
    assert graph.linked.numpy()[:, 0].tolist() == [True, False, True]
    assert graph.item.numpy()[[0, 2], 0].tolist() == [2, 0]
    moved = (np.abs(graph.vectors().numpy() - alone) > 1e-6).any(axis=1)
    assert moved.tolist() == [True, False, True]
    graph.add(tf.constant([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert graph.item.numpy()[[0, 1, 2], 0].tolist() == [1, 0, 0]


def test_items_clicked_by_one_session_go_together():
    simulator = toy.Toy("catalogue")
    learner = kgrl.Kgrl(kgrl.KgrlConfig(hidden=(8,), replay_size=50), simulator, 0)
    rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=2, steps=4)
    assert rollout.done.numpy()[:, 0].tolist() == [False, False, True, False]
    rollout = rollout._replace(
        action=tf.constant([[[0], [3]], [[1], [3]], [[2], [2]], [[3], [1]]]),
        clicks=tf.constant([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
    )
    # Column 0: items 0 and 1 of one session, 3 of the next. Column 1: 3 and 2.
    expected = np.diag([1.0, 1.0, 1.0, 2.0])
    expected[0, 1] = expected[1, 0] = expected[2, 3] = expected[3, 2] = 1.0
    np.testing.assert_array_equal(kgrl.co_occurrences(rollout, 4, None), expected)


def test_items_viewed_by_a_session_go_together_when_it_ends():
    simulator = toy.Toy("catalogue")
    learner = kgrl.Kgrl(kgrl.KgrlConfig(hidden=(8,), replay_size=50), simulator, 0)
    rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=1, steps=3)
    seen = tf.constant([[[9.0, 9.0, 9.0, 9.0]], [[9.0, 9.0, 9.0, 9.0]], [[0.5, 0.0, 2.0, 0.0]]])
    result = kgrl.co_occurrences(
        rollout._replace(observation=tf.concat([seen, seen], axis=2)), 4, np.arange(4)
    )
    expected = np.zeros((4, 4))
    expected[np.ix_([0, 2], [0, 2])] = 1.0
    np.testing.assert_array_equal(result, expected)
