"""The online method: its replay, synthetic transitions and ablations."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfimrl import imrl_method
from tfimrl.imrl_method import ImrlMethod, OnlineImrlConfig
from tfrec.environments import contract, users
from tfrec.environments.ports import recogym, recsim
from tfrec.methods import online_learner
from tfrec.training import checkpoint, finite

SMALL = OnlineImrlConfig(
    hidden=(8,),
    batch=16,
    replay_size=400,
    synthetic_size=200,
    threshold_max=4.0,
    augmentation="true",
    mask_units=4,
    mask_heads=1,
    mask_batch=8,
    mask_updates=1,
    mask_warm_up=1,
    pool=32,
    neighbours=4,
    vector_width=3,
    vector_sessions=30,
)
SIZES = online_learner.OnlineConfig(
    sessions=6, rollout_steps=5, updates=3, warm_up=60, total_iterations=20, test_sessions=4
)
EVOLUTION = recsim.InterestEvolution()
RECOGYM = recogym.RecoGymV1(recogym.RecoGymV1Config(products=6, flips=2))


def learner(simulator=EVOLUTION, **changes):
    config = dataclasses.replace(SMALL, **changes)
    return online_learner.OnlineLearner(SIZES, simulator, ImrlMethod(config, simulator, 1), 1)


def rows(replay, synthetic=False):
    """Returns all stored rows, in order."""
    first = replay.capacity if synthetic else 0
    size = replay.synthetic_size if synthetic else replay.size
    return replay.rows(first + tf.range(size))


@pytest.fixture
def eager():
    """Runs without graphs, as tracing takes longer than these runs."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def played():
    """The learner after three iterations of IMRL with the true graph, and their reports."""
    learning = learner()
    return learning, [learning.advance() for _ in range(3)]


@pytest.mark.usefixtures("eager")
def test_the_replay_holds_the_rollout():
    learning = learner(augmentation="none")
    *_, rollout = learning._iterate()
    stored = rows(learning.method.replay)
    flat = [np.reshape(x, [30, *x.shape[2:]]) for x in rollout if x is not None]
    observation, candidates, action, info, reward = flat[:5]
    np.testing.assert_array_equal(stored.state, observation)
    np.testing.assert_array_equal(stored.reward, reward)
    np.testing.assert_array_equal(stored.action[:, :20], info)
    shown = np.take_along_axis(candidates, action[:, :, None], axis=1).reshape(30, 40)
    np.testing.assert_array_equal(stored.action[:, 20:60], shown)
    np.testing.assert_array_equal(stored.action[:, 60:], candidates.reshape(30, 200))
    # The shown items are those that the proto-action selects.
    scores = np.einsum("bmd,bd->bm", candidates, info)
    np.testing.assert_array_equal(action[:, 0], scores.argmax(axis=1))
    done = rollout.done.numpy().ravel()
    np.testing.assert_array_equal(stored.own_next, ~done)
    np.testing.assert_array_equal(stored.discount, 1 - done)
    assert learning.method.replay.synthetic_size == 0


def test_only_rewarded_steps_are_augmented(played):
    learning, reports = played
    synthetic, real = rows(learning.method.replay, True), rows(learning.method.replay)
    assert 0 < len(synthetic.reward) <= (real.reward.numpy() > 0).sum()
    assert (synthetic.reward.numpy() > 0).all() and synthetic.synthetic.numpy().all()
    assert synthetic.own_next.numpy().all()
    total = sum(
        30 * report["augmentation/informative"] * report["augmentation/augmented"]
        for report in reports
    )
    assert len(synthetic.reward) == pytest.approx(total)
    # Synthetic steps have a real step's action, and other interests in topics that are not
    # shown, or the same ones if the second step is the same user's.
    exchanged = []
    for state, action in zip(synthetic.state.numpy(), synthetic.action.numpy(), strict=True):
        [origin] = np.where((real.action.numpy() == action).all(axis=1))[0]
        shown = action[20:40] + action[40:60] > 0
        moved = state != real.state.numpy()[origin]
        assert not (moved & shown).any()
        exchanged.append(moved.any())
    assert np.mean(exchanged) > 0.5
    assert all(report["augmentation/reward_error"] == 0 for report in reports)
    assert reports[0]["augmentation/threshold"] < reports[2]["augmentation/threshold"] <= 4


def test_copies_are_unchanged_informative_steps():
    learning = learner(augmentation="copies", copies=3)
    reports = [learning.advance() for _ in range(2)]
    copies, real = rows(learning.method.replay, True), rows(learning.method.replay)
    count = sum(30 * report["augmentation/informative"] for report in reports)
    assert len(copies.reward) == pytest.approx(3 * count) and count > 0
    for state, action, reward in zip(copies.state, copies.action, copies.reward, strict=True):
        same = (real.state == state).numpy().all(1) & (real.action == action).numpy().all(1)
        assert reward in real.reward.numpy()[same]
    assert all(report["augmentation/augmented"] == 1 for report in reports)


def test_learning_begins_after_the_warm_up(played):
    _, reports = played
    assert [report["q_loss"] > 0 for report in reports] == [False, True, True]
    assert 0 < reports[2]["augmentation/batch_share"] <= 0.5


@pytest.mark.usefixtures("eager")
def test_update_factor_multiplies_the_updates():
    learning = learner(augmentation="none", update_factor=2)
    for _ in range(3):
        learning.advance()
    assert (
        int(learning.method.agent.train_step_counter) == 2 * 2 * 3
    )  # iterations, factor, updates


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("partner", ["uniform", "nearest"])
def test_a_learned_graph_is_used_when_it_is_warm(partner):
    learning = learner(augmentation="learned", mask_warm_up=2, partner=partner)
    reports = [learning.advance() for _ in range(4)]
    # One update an iteration from the second on, after the rollout of the iteration.
    assert [report["augmentation/warm"] for report in reports] == [0, 0, 0, 1]
    assert reports[1]["graph_loss"] > 0
    assert reports[3]["augmentation/reward_error"] >= 0


@pytest.mark.usefixtures("eager")
def test_the_learned_graph_does_not_read_the_numbers_of_items():
    """Where items may not repeat, the observation has the items of the session."""
    items = 900
    vectors = np.random.default_rng(0).normal(0, 0.3, [items + 1, 2]).astype(np.float32)
    vectors[0] = 0.0
    spec = dataclasses.replace(small.SPEC, num_items=items, num_users=7)
    world = scripted.RestlessWorld(spec)
    environment = users.UserEnvironment(world, scripted.starts(40), vectors)
    learning = learner(environment, augmentation="learned", threshold_max=1.0, mask_warm_up=0)
    reports = [learning.advance() for _ in range(3)]
    # With the numbers of items, up to 900, it was 9,860.
    assert 0 < reports[2]["graph_loss"] < 50

    augmentation = learning.method.augmentation
    state = rows(learning.method.replay).state[:4].numpy()
    action = rows(learning.method.replay).action[:4]
    other = state.copy()
    other[:, environment.shown_columns] = 7.0
    assert (state != other).any()
    one, two = (augmentation.influence(tf.constant(x), action) for x in (state, other))
    np.testing.assert_array_equal(one, two)
    other[:, 0] += 1.0
    assert (augmentation.influence(tf.constant(other), action) != one).numpy().any()


@pytest.mark.usefixtures("eager")
def test_steps_below_the_threshold_are_not_augmented():
    learning = learner(threshold_start=4.5, threshold_max=5.0)
    assert learning.advance()["augmentation/informative"] == 0
    assert learning.method.replay.synthetic_size == 0


@pytest.mark.usefixtures("eager")
def test_pairs_bounds_the_augmented_transitions():
    learning = learner(pairs=3, copies=2)
    report = learning.advance()
    assert report["augmentation/informative"] > 3 / 30
    synthetic = rows(learning.method.replay, True)
    assert len(synthetic.reward) == round(6 * report["augmentation/augmented"]) <= 6
    # Each of the three was exchanged with two others.
    assert len(np.unique(synthetic.action.numpy(), axis=0)) <= 3


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("vectors", "critic_input", "encode", "width"),
    [("views", "proto", 10, 3), ("viewers", "shown", 3, 6)],
)
def test_recogym_in_terms_of_item_vectors(vectors, critic_input, encode, width):
    changes = {"augmentation": "heuristic", "threshold_max": 1.0}
    learning = learner(RECOGYM, vectors=vectors, critic_input=critic_input, **changes)
    method = learning.method
    assert method.info_size == width and method.replay.action.shape[1] == width + 6
    assert method.replay.state.shape[1] == 18
    networks = method.agent.networks
    assert networks.policy.variables[0].shape[0] == encode
    assert networks.critics[0].layers[0].kernel.shape[0] == encode + width
    reports = [learning.advance() for _ in range(2)]
    assert reports[0]["sessions"] >= 30 and reports[0]["steps"] > 30 + 30
    assert reports[1]["q_loss"] > 0
    assert "augmentation/reward_error" not in reports[0]  # it declares no expected reward


def test_the_learning_rate_falls_over_the_run(eager):
    learning = learner(augmentation="none", learning_rate=1e-2, final_rate=0.1)
    learning.advance()  # one of twenty iterations
    rate = 1e-2 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi / 20)))
    np.testing.assert_allclose(learning.method.agent.optimizer.learning_rate, rate, rtol=1e-5)


def test_a_proto_action_may_be_the_critic_input(eager):
    learning = learner(critic_input="proto")
    assert learning.method.agent.networks.critics[0].layers[0].kernel.shape[0] == 40
    assert [learning.advance() for _ in range(2)][1]["q_loss"] > 0


def test_parts_that_the_ablations_do_not_have():
    without = ImrlMethod(dataclasses.replace(SMALL, augmentation="none"), EVOLUTION, 0)
    assert without.augmentation is None and without.replay.synthetic_capacity == 0
    entropy = dataclasses.replace(SMALL, exploration="entropy", augmentation="none")
    assert ImrlMethod(entropy, EVOLUTION, 0).agent.networks.inverse is None


@pytest.mark.slow
def test_resumes_exactly(tmp_path):
    changes = {"augmentation": "learned"}
    whole = learner(**changes)
    expected = [whole.advance() for _ in range(4)]
    half = learner(**changes)
    for _ in range(2):
        half.advance()
    checkpoint.write(tmp_path / "at2", half, {})
    again = learner(**changes)
    checkpoint.read(tmp_path / "at2", again)
    assert [again.advance() for _ in range(2)] == expected[2:]


def test_greedy_is_the_mean_and_exploring_is_not(played):
    learning, _ = played
    method = learning.method
    timestep = contract.timestep_of(
        EVOLUTION, EVOLUTION.reset(4, tf.constant([1, 2])), tf.constant([3, 4])
    )
    weights = method.agent.act(timestep.observation)
    np.testing.assert_array_equal(
        method.greedy(timestep), method.adapter.to_action(weights, timestep)
    )
    infos = [
        method.explore(timestep._replace(seed=tf.constant([s, 0]))).info for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(infos[0], infos[1])
    assert (infos[0] != infos[2]).numpy().all() and (infos[0] != weights).numpy().all()


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("critic", ["bilinear", "perceptron"])
@pytest.mark.parametrize("refined", [3, 50])  # of six items
def test_critics_select_among_the_nearest_items(critic, refined):
    changes = {"augmentation": "none", "vectors": "viewers", "critic": critic}
    method = learner(RECOGYM, refined=refined, **changes).method
    state = RECOGYM.reset(40, tf.constant([1, 2]))
    timestep = contract.timestep_of(RECOGYM, state, tf.constant([3, 4]))
    if critic == "bilinear":  # its initial weights are 0
        for number, each in enumerate(method.agent.networks.critics):
            shape = each.weights.shape
            each.weights.assign(tf.random.stateless_normal(shape, [number, 7]))
    encode = method.adapter.encode(timestep.observation)
    q_of_items = [
        method.agent.q_value(encode, tf.repeat(RECOGYM.catalogue[None, item], 40, axis=0))
        for item in range(6)
    ]
    nearest = np.argsort(-method.agent.act(encode).numpy(), axis=1)[:, :refined]
    q_values = np.take_along_axis(np.stack(q_of_items, axis=1), nearest, axis=1)
    expected = np.take_along_axis(nearest, q_values.argmax(axis=1)[:, None], axis=1)
    np.testing.assert_array_equal(method.greedy(timestep), expected)
    assert (expected[:, 0] != nearest[:, 0]).any(), "the critics differ from the policy"


def test_an_undeclared_graph_is_rejected(monkeypatch):
    structure = imrl_method.knowledge.of(RECOGYM)._replace(graphs={})
    monkeypatch.setattr(imrl_method.knowledge, "of", lambda simulator: structure)
    with pytest.raises(ValueError, match="RecoGymV1 declares no such graph; expected learned"):
        learner(RECOGYM, vectors="viewers", augmentation="true")


def test_only_one_item_is_refined():
    with pytest.raises(ValueError, match="refined is 3; expected 1"):
        learner(augmentation="none", refined=3)


@pytest.mark.usefixtures("eager")
def test_a_bad_weight_is_named():
    learning = learner(augmentation="none")
    learning.advance()
    networks = learning.method.agent.networks
    before = networks.policy.variables[0].numpy()
    for weight in networks.value.variables:
        weight.assign(np.nan * weight)
    with pytest.raises(finite.NonFiniteError, match="value loss"):
        learning.advance()
    np.testing.assert_array_equal(networks.policy.variables[0], before)


@pytest.mark.parametrize(
    ("field", "value"),
    [("augmentation", "some"), ("partner", "best"), ("vectors", "mine"), ("copies", 0),
     ("neighbours", 1000), ("discount", 2.0), ("refined", 0)],
)  # fmt: skip
def test_numbers_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        imrl_method.OnlineImrlConfig(**{field: value})
