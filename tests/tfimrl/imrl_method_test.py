"""The method around the agent: the replay, synthetic transitions, and the ablations."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfimrl import imrl_method
from tfimrl.imrl_method import ImrlMethod, OnlineImrlConfig
from tfrec.environments import contract
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
    """Every row held, in order."""
    first = replay.capacity if synthetic else 0
    size = replay.synthetic_size if synthetic else replay.size
    return replay.rows(first + tf.range(size))


@pytest.fixture
def eager():
    """Without graphs, which take longer to trace than such runs to run."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def played():
    """Three iterations of IMRL with the true graph: its learner and the numbers of each."""
    learning = learner()
    return learning, [learning.advance() for _ in range(3)]


@pytest.mark.usefixtures("eager")
def test_the_replay_holds_what_was_played():
    learning = learner(augmentation="none")
    *_, rollout = learning._unit()
    kept = rows(learning.method.replay)
    flat = [np.reshape(x, [30, *x.shape[2:]]) for x in rollout if x is not None]
    observation, candidates, action, info, reward = flat[:5]
    np.testing.assert_array_equal(kept.state, observation)
    np.testing.assert_array_equal(kept.reward, reward)
    np.testing.assert_array_equal(kept.action[:, :20], info)
    shown = np.take_along_axis(candidates, action[:, :, None], axis=1).reshape(30, 40)
    np.testing.assert_array_equal(kept.action[:, 20:60], shown)
    np.testing.assert_array_equal(kept.action[:, 60:], candidates.reshape(30, 200))
    # What was shown is what the proto-action asked for.
    scores = np.einsum("bmd,bd->bm", candidates, info)
    np.testing.assert_array_equal(action[:, 0], scores.argmax(axis=1))
    done = rollout.done.numpy().ravel()
    np.testing.assert_array_equal(kept.own_next, ~done)
    np.testing.assert_array_equal(kept.discount, 1 - done)
    assert learning.method.replay.synthetic_size == 0


def test_only_rewarded_steps_are_augmented(played):
    learning, said = played
    made, real = rows(learning.method.replay, True), rows(learning.method.replay)
    assert 0 < len(made.reward) <= (real.reward.numpy() > 0).sum()
    assert (made.reward.numpy() > 0).all() and made.synthetic.numpy().all()
    assert made.own_next.numpy().all()
    total = sum(30 * s["augmentation/informative"] * s["augmentation/augmented"] for s in said)
    assert len(made.reward) == pytest.approx(total)
    # Synthetic steps have a real step's action and other interests, but where it shows;
    # or the same ones, where the second step is the same user's.
    exchanged = []
    for state, action in zip(made.state.numpy(), made.action.numpy(), strict=True):
        [origin] = np.where((real.action.numpy() == action).all(axis=1))[0]
        shown = action[20:40] + action[40:60] > 0
        moved = state != real.state.numpy()[origin]
        assert not (moved & shown).any()
        exchanged.append(moved.any())
    assert np.mean(exchanged) > 0.5
    assert all(s["augmentation/reward_error"] == 0 for s in said)
    assert said[0]["augmentation/threshold"] < said[2]["augmentation/threshold"] <= 4


def test_copies_are_the_informative_steps_themselves():
    learning = learner(augmentation="copies", copies=3)
    said = [learning.advance() for _ in range(2)]
    made, real = rows(learning.method.replay, True), rows(learning.method.replay)
    count = sum(30 * s["augmentation/informative"] for s in said)
    assert len(made.reward) == pytest.approx(3 * count) and count > 0
    for state, action, reward in zip(made.state, made.action, made.reward, strict=True):
        same = (real.state == state).numpy().all(1) & (real.action == action).numpy().all(1)
        assert reward in real.reward.numpy()[same]
    assert all(s["augmentation/augmented"] == 1 for s in said)


def test_learning_begins_after_the_warm_up(played):
    _, said = played
    assert [s["q_loss"] > 0 for s in said] == [False, True, True]
    assert 0 < said[2]["augmentation/batch_share"] <= 0.5


@pytest.mark.usefixtures("eager")
def test_more_updates_than_the_run_asks_for():
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
    said = [learning.advance() for _ in range(4)]
    # One update an iteration from the second on, and a rollout comes before its updates.
    assert [s["augmentation/warm"] for s in said] == [0, 0, 0, 1]
    assert said[1]["graph_loss"] > 0
    assert said[3]["augmentation/reward_error"] >= 0


@pytest.mark.usefixtures("eager")
def test_only_what_is_informative_passes_a_threshold():
    learning = learner(threshold_start=4.5, threshold_max=5.0)
    assert learning.advance()["augmentation/informative"] == 0
    assert learning.method.replay.synthetic_size == 0


@pytest.mark.usefixtures("eager")
def test_so_many_pairs_at_most():
    learning = learner(pairs=3, copies=2)
    said = learning.advance()
    assert said["augmentation/informative"] > 3 / 30
    made = rows(learning.method.replay, True)
    assert len(made.reward) == round(6 * said["augmentation/augmented"]) <= 6
    # Each of the three stands there twice, crossed with others.
    assert len(np.unique(made.action.numpy(), axis=0)) <= 3


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
    said = [learning.advance() for _ in range(2)]
    assert said[0]["sessions"] >= 30 and said[0]["steps"] > 30 + 30
    assert said[1]["q_loss"] > 0
    assert "augmentation/reward_error" not in said[0]  # the simulator cannot be asked


def test_the_learning_rate_falls_over_the_run(eager):
    learning = learner(augmentation="none", learning_rate=1e-2, final_rate=0.1)
    learning.advance()  # one of twenty iterations
    rate = 1e-2 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi / 20)))
    np.testing.assert_allclose(learning.method.agent.optimizer.learning_rate, rate, rtol=1e-5)


def test_a_proto_action_may_be_the_critic_input(eager):
    learning = learner(critic_input="proto")
    assert learning.method.agent.networks.critics[0].layers[0].kernel.shape[0] == 40
    assert [learning.advance() for _ in range(2)][1]["q_loss"] > 0


def test_what_the_ablations_leave_out():
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
def test_of_the_items_pointed_at_critics_choose(critic):
    changes = {"augmentation": "none", "vectors": "viewers", "critic": critic}
    method = learner(RECOGYM, refined=3, **changes).method
    state = RECOGYM.reset(40, tf.constant([1, 2]))
    timestep = contract.timestep_of(RECOGYM, state, tf.constant([3, 4]))
    if critic == "bilinear":  # which begins at 0
        for number, each in enumerate(method.agent.networks.critics):
            shape = each.weights.shape
            each.weights.assign(tf.random.stateless_normal(shape, [number, 7]))
    encode = method.adapter.encode(timestep.observation)
    every = [
        method.agent.q_value(encode, tf.repeat(RECOGYM.catalogue[None, item], 40, axis=0))
        for item in range(6)
    ]
    pointed_at = np.argsort(-method.agent.act(encode).numpy(), axis=1)[:, :3]
    worth = np.take_along_axis(np.stack(every, axis=1), pointed_at, axis=1)
    expected = np.take_along_axis(pointed_at, worth.argmax(axis=1)[:, None], axis=1)
    np.testing.assert_array_equal(method.greedy(timestep), expected)
    assert (expected[:, 0] != pointed_at[:, 0]).any(), "the critics differ from the policy"


def test_a_graph_that_nobody_knows_is_rejected(monkeypatch):
    known = imrl_method.knowledge.of(RECOGYM)._replace(graphs={})
    monkeypatch.setattr(imrl_method.knowledge, "of", lambda simulator: known)
    with pytest.raises(
        ValueError, match="no such graph is known of RecoGymV1; expected learned"
    ):
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
