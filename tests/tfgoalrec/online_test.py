"""GoalRec in live simulators: slates, losses and goals by hand; learning in a toy world."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfrec.baselines.online import toy
from tfgoalrec import losses, online, online_model, relabel
from tfrec.environments import contract
from tfrec.ops import selection
from tfrec.training import checkpoint

SMALL = {
    "hidden": (8,), "stream": 8, "goal_units": 4, "item_vector": 3, "batch": 16,
    "replay_size": 500, "horizon": 3, "discount": 0.5, "dropout": 0.0,
}  # fmt: skip
TOY = {
    **SMALL, "hidden": (32,), "stream": 32, "item_vector": 8, "batch": 64,
    "replay_size": 5000, "learning_rate": 3e-3, "tau": 0.05,
}  # fmt: skip
SEEN, FEATURES, M = 4, 5, 6  # O, D


def made(simulator=None, seed=3, **changes):
    simulator = simulator or toy.Toy("changing", 2)
    return online.OnlineGoalRec(
        online.OnlineGoalRecConfig(**(SMALL | changes)), simulator, seed
    )


def model(advantage="bilinear"):
    config = online.OnlineGoalRecConfig(**SMALL, advantage=advantage)
    tf_keras.utils.set_random_seed(0)
    built = online_model.FeatureModel(config, np.ones(M, int), SEEN, (8,), FEATURES)
    noise = np.random.default_rng(1)
    for variable in built.trainable_variables:
        variable.assign_add(noise.normal(scale=0.3, size=variable.shape))
    return built


def inputs(batch=7, items=6):
    rng = np.random.default_rng(2)
    goal = rng.normal(size=(batch, M))
    goal /= np.linalg.norm(goal, axis=1, keepdims=True)
    parts = rng.normal(size=(batch, SEEN)), goal, rng.normal(size=(batch, items, FEATURES))
    return [tf.constant(part, tf.float32) for part in parts]


@pytest.mark.parametrize("head", ["bilinear", "mlp"])
def test_the_best_items_are_the_best_slate_of_all(head):
    built = model(head)
    observation, goal, features = inputs()
    top = selection.best_slate(built.scores(observation, goal, features), 2).numpy()
    code = built.encode(observation, goal)
    value = built.value(code).numpy()  # [B, M]
    pairs = list(itertools.combinations(range(6), 2))
    slate_scores = []
    for pair in pairs:
        vectors = built.encoded_items(tf.gather(features, pair, axis=1))
        advantage = built.learned_advantage(code, vectors).numpy().sum(axis=1)  # [B, M]
        slate_scores.append(((value + advantage) * goal.numpy()).sum(axis=1))
    best_pairs = [pairs[i] for i in np.argmax(slate_scores, axis=0)]
    assert [tuple(sorted(slate)) for slate in top] == best_pairs
    assert len(set(best_pairs)) > 1


@pytest.mark.parametrize("head", ["bilinear", "mlp"])
def test_shared_items_have_the_scores_of_separate_copies(head):
    built = model(head)
    observation, goal, features = inputs()
    shared = built.scores(observation, goal, features[0])
    separate = built.scores(observation, goal, tf.repeat(features[:1], 7, axis=0))
    np.testing.assert_allclose(shared, separate, atol=1e-5)


def test_the_loss_is_eq_9_and_the_value_loss_of_v_plus_the_slates_advantages():
    built = model()
    observation, goal, features = inputs(items=2)
    target = tf.constant(np.random.default_rng(3).normal(size=(7, M)), tf.float32)
    built.log_variance.assign(tf.linspace(-1.0, 1.0, M))
    loss, report = built.loss_of(observation, goal, features, target)
    code = built.encode(observation, goal)
    value = built.value(code)
    advantage = built.learned_advantage(code, built.encoded_items(features))
    prediction = value + advantage[:, 0] + advantage[:, 1]
    of, variance = np.arange(M), built.log_variance
    first = losses.measurement_loss(prediction, target, variance, of)
    second = losses.value_loss(value, target, variance, of)
    np.testing.assert_allclose(report["model_loss"], first, rtol=1e-6)
    np.testing.assert_allclose(report["value_loss"], second, rtol=1e-6)
    np.testing.assert_allclose(loss, first + second, rtol=1e-6)


def test_eq_9_has_a_gradient_in_the_advantage_and_none_in_v():
    built = model()
    observation, goal, features = inputs(items=2)
    with tf.GradientTape() as tape:
        _, report = built.loss_of(observation, goal, features, tf.zeros([7, M]))
    kernels = [built.value_net[1].kernel, built.projection[1].kernel]
    of_value, of_advantage = tape.gradient(report["model_loss"], kernels)
    assert of_value is None and np.abs(of_advantage).max() > 0


def observed(learner, simulator, progress=0.0, steps=6, seed=0):
    rollout = toy.played(simulator, learner, tf.constant([seed, 1]), sessions=8, steps=steps)
    learner.observe(rollout, tf.constant(progress))
    return rollout


def test_the_shares_of_the_goals_in_a_batch():
    simulator = toy.Toy("changing", 2)
    for hindsight, target in ((0.0, 1.0), (0.3, 0.5)):
        learner = made(simulator, hindsight_share=hindsight, target_share=target, batch=2000)
        observed(learner, simulator)
        rows = learner.sample(tf.constant(0)).transition
        goal = rows.goal.numpy()
        outcome = rows.outcome.numpy()
        reached = outcome / np.linalg.norm(outcome, axis=1, keepdims=True)
        target_goal = learner.goal(learner.named_goals["reward"]).numpy()
        is_reached = np.abs(goal - reached).max(axis=1) < 1e-5
        is_target = np.abs(goal - target_goal).max(axis=1) < 1e-5
        played = learner.replay.columns["goal"].numpy()[: int(learner.replay.ring.added)]
        is_played = np.abs(goal[:, None] - played).max(axis=2).min(axis=1) < 1e-5
        np.testing.assert_allclose(goal.shape, (2000, M))
        assert is_reached.mean() == pytest.approx(hindsight, abs=0.05)
        assert is_target.mean() == pytest.approx((1 - hindsight) * target, abs=0.05)
        assert (is_reached | is_target | is_played).all()


def test_hindsight_goals_are_those_of_relabel():
    simulator = toy.Toy("changing", 2)
    learner = made(simulator, hindsight_share=1.0)
    observed(learner, simulator)
    rows = learner.sample(tf.constant(0)).transition
    np.testing.assert_allclose(rows.goal, relabel.hindsight_goal(rows.outcome), atol=1e-6)


def test_a_goal_weighs_raw_units_by_their_deviation():
    learner = made(goals=("reward = 1*reward@0 + 0.5*reward@1..", "stay = 1*step@1.."))
    learner.measurements.std.assign([1.0, 1.0, 3.0, 8.0, 5.0, 1.0])
    goal = learner.goal(learner.named_goals["reward"]).numpy()
    np.testing.assert_allclose(goal, [0, 0, 0.6, 0.8, 0, 0], atol=1e-6)
    goal = learner.goal(learner.named_goals["stay"]).numpy()
    np.testing.assert_allclose(goal, [0, 0, 0, 0, 1, 0], atol=1e-6)


def test_a_session_keeps_its_goal_and_the_share_of_random_goals_falls():
    simulator = toy.Toy("changing", 2)
    learner = made(simulator, goal_epsilon=1.0, goal_epsilon_share=0.5)
    rollout = observed(learner, simulator, steps=6)
    session, goal = rollout.user.numpy(), rollout.info.numpy()
    for number in np.unique(session):
        assert (goal[session == number] == goal[session == number][0]).all()
    assert len(np.unique(goal.reshape(-1, M), axis=0)) == len(np.unique(session))
    state = simulator.reset(4000, tf.constant([5, 6]))
    timestep = contract.timestep_of(simulator, state, tf.constant([1, 2]))._replace(
        user=tf.range(4000)
    )
    target_goal = learner.goal(learner.named_goals["reward"]).numpy()
    for progress, share in ((0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (1.0, 0.0)):
        learner.observe(rollout, tf.constant(progress))
        target_goal = learner.goal(learner.named_goals["reward"]).numpy()
        random = (learner.session_goal(timestep).numpy() != target_goal).any(axis=1)
        assert random.mean() == pytest.approx(share, abs=0.03)


def test_random_slates_come_from_the_best_candidates():
    simulator = toy.Toy("changing", 1)
    learner = made(simulator, action_pool=0.4, epsilon=1.0, epsilon_share=0.5)
    rollout = observed(learner, simulator)
    learner.observe(rollout, tf.constant(0.25))
    assert float(learner.pool) == pytest.approx(0.7)
    learner.observe(rollout, tf.constant(0.5))
    learner.epsilon.assign(1.0)  # every slate is random, of the best 2 of 5
    state = simulator.reset(500, tf.constant([5, 6]))
    features = tf.random.stateless_normal([500, 5, 4], [1, 2])  # all different
    timestep = contract.timestep_of(simulator, state, tf.constant([1, 2]))
    timestep = timestep._replace(candidates=features)
    shown = learner.explore(timestep).action.numpy()[:, 0]
    goal = learner.session_goal(timestep)
    scores = learner.averaged.scores(timestep.observation, goal, features).numpy()
    rank = (scores > np.take_along_axis(scores, shown[:, None], axis=1)).sum(axis=1)
    assert set(rank) == {0, 1}
    assert (rank == 0).mean() == pytest.approx(0.5, abs=0.1)
    learner.epsilon.assign(0.0)
    np.testing.assert_array_equal(learner.explore(timestep).action[:, 0], scores.argmax(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "slate"), [("catalogue", 1), ("changing", 2)])
def test_it_learns_the_users_preferences(kind, slate):
    simulator = toy.Toy(kind, slate)
    learner = made(simulator, **TOY)
    random = toy.earned(simulator, contract.random_policy(simulator))
    enough = random + 0.7 * (toy.best(simulator) - random)
    # The controls: no updates, and a goal with a negative weight of the reward.
    assert toy.earned(simulator, learner.greedy) < enough
    toy.trained(simulator, learner, 20, updates=8)
    assert toy.earned(simulator, learner.greedy) > enough
    assert toy.earned(simulator, learner.greedy_for({"reward@0": -1.0})) < random


def test_bad_numbers_change_no_weight_and_the_same_seed_gives_the_same():
    simulator = toy.Toy("changing", 2)
    first, second, other = made(simulator), made(simulator), made(simulator, seed=4)
    for learner in (first, second, other):
        observed(learner, simulator)
        learner.learn(tf.constant(2))
    for one, two in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(one, two)
    kernel = first.world_model.value_net[0].kernel.numpy()
    assert (kernel != other.world_model.value_net[0].kernel.numpy()).all()
    measured = first.replay.columns["measurement"]
    measured.assign(measured * np.nan)
    moving = checkpoint.named_variables(first).items()
    moving = {name: v for name, v in moving if "generator" not in name}
    before = {name: v.numpy() for name, v in moving.items()}
    _, bad, _ = first.learn(tf.constant(3))
    assert first.checked[int(bad)] == "model loss"
    for path, variable in moving.items():
        np.testing.assert_array_equal(variable, before[path], err_msg=path)


def test_no_update_is_made_before_a_horizon_is_over():
    simulator = toy.Toy("changing", 2)
    learner = made(simulator, horizon=5)
    observed(learner, simulator, steps=4)
    learner.learn(tf.constant(2))
    assert int(learner.optimizers["model"].iterations) == 0
    observed(learner, simulator, steps=4, seed=1)
    learner.learn(tf.constant(2))
    assert int(learner.optimizers["model"].iterations) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"goals": ("r = 1*reward@5",)}, "goal names 'reward@5'"),
        ({"goals": ("r = 0*reward@0",)}, "weighs nothing"),
        ({"goals": ("r",)}, "goal 'r'; expected"),
        (
            {"measurements": ("reward@0", "reward@7"), "goals": ("r = 1*reward@0",)},
            "beyond the horizon of 3 steps",
        ),
        (
            {"measurements": ("mean(click)",), "goals": ("r = 1*mean(click)",)},
            "a live simulator gives sums",
        ),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_goals_that_were_not_named_are_rejected():
    learner = made()
    with pytest.raises(ValueError, match="no goal 'stay'; there are reward, clicks, steps"):
        learner.greedy_for("stay")
    with pytest.raises(ValueError, match="goal names 'watch@0'"):
        learner.greedy_for({"watch@0": 1.0})
    with pytest.raises(ValueError, match="recommends items; .* asks for a continuous action"):
        made(toy.Toy("continuous"))
