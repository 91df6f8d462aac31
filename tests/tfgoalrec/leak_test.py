"""The label leak's controls, against numbers worked out by hand and against brute force."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import leak, leak_report, leak_truth
from tfrec import types
from tfrec.data import synthetic, vocabulary
from tfrec.environments import contract, embedded, exact_values, player, users
from tfrec.environments.fitted import recurrent_model


def held(count=99, seed=0):
    return leak.held_out(small.sessions(), small.fitted(), count, seed)


# Concordance.


def test_concordance_counts_ordered_pairs():
    truth = np.array([[3.0, 2.0, 1.0]] * 3)
    scores = np.array([[9.0, 5.0, 1.0], [9.0, 1.0, 5.0], [1.0, 5.0, 9.0]])
    np.testing.assert_allclose(leak.concordance(scores, truth), [1, 2 / 3, 0])


def test_concordance_of_ties():
    # Equal scores: one pair counts half, two agree. Equal truth: that pair does not count.
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 5.0, -1.0], [1.0, 2.0, 3.0]])
    truth = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [7.0, 7.0, 7.0]])
    np.testing.assert_allclose(leak.concordance(scores, truth), [2.5 / 3, 1, np.nan])


def test_concordance_in_blocks_is_the_same(monkeypatch):
    random = np.random.default_rng(0)
    scores, truth = random.integers(0, 4, (2, 7, 5))
    whole = leak.concordance(scores, truth)
    monkeypatch.setattr(leak, "_PAIRS_AT_ONCE", 20)  # two states at a time
    np.testing.assert_array_equal(leak.concordance(scores, truth), whole)


# Variance explained, and the bias of the advantages.


def test_explained_is_r_squared_by_measurement():
    # Measurement 0 is column 0; measurement 1 is columns 1 and 2, the latter constant.
    target = np.array([[0.0, 2.0, 5.0], [4.0, 6.0, 5.0]])  # variances 4, 4, 0
    prediction = np.array([[0.0, 4.0, 0.0], [2.0, 4.0, 0.0]])
    terms = leak.explained(prediction, target, [1, 2])
    # Column 0 is off by 0 and 2: terms 1 and 0. Column 1 is always its mean: terms 0.
    np.testing.assert_allclose(terms, [[1, 0], [0, 0]])
    np.testing.assert_allclose(leak.explained(target, target, [1, 2]), np.ones((2, 2)))
    vector = leak.explained(prediction[:, :2], target[:, :2], [2])
    np.testing.assert_allclose(vector, [[0.5], [0.0]])
    assert np.isnan(leak.explained(prediction, target, [2, 1])[:, 1]).all()


def test_advantage_bias_is_in_units_of_the_measurement():
    target = np.array([[0.0, 1.0], [4.0, 1.0]])  # standard deviations 2, 0
    advantage = np.array([[-3.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(leak.advantage_bias(advantage, target), [0.5, 0.0])


# Held-out steps and goals.


def test_held_out_steps_are_those_of_the_sessions():
    steps = held()
    assert len(steps.item) == 10
    assert sorted(
        zip(steps.session.tolist(), steps.observation.step.tolist(), strict=True)
    ) == [
        *((0, t) for t in range(4)),
        *((1, t) for t in range(5)),
        (2, 0),
    ]
    row = int(np.flatnonzero((steps.session == 0) & (steps.observation.step == 2))[0])
    assert steps.item[row] == 3 and steps.user[row] == 1
    assert steps.observation.history_item[row].tolist() == [5, 6, 1, 2]
    assert steps.observation.history_feedback[row, :, 0].tolist() == [1, 0, 1, 0]
    label = small.fitted().standardised(small.tensors(small.sessions())).numpy()
    np.testing.assert_allclose(steps.measurement[row], label[0, 2])
    np.testing.assert_allclose(steps.outcome[row], label[0, 0])
    few = leak.first_states(steps, 3)
    assert few.item.tolist() == steps.item[:3].tolist()
    assert few.observation.step.tolist() == steps.observation.step[:3].tolist()
    assert len(held(count=4).item) == 4


def test_goals_of_a_share():
    steps, measured = held(), small.fitted()
    unit = steps.outcome / np.linalg.norm(steps.outcome, axis=1, keepdims=True)
    np.testing.assert_allclose(leak.mixed_goals(steps, measured, 1.0, 0), unit, atol=1e-6)
    drawn = leak.mixed_goals(steps, measured, 0.0, 0)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, atol=1e-5)
    assert not np.isclose(drawn, unit, atol=1e-3).all(axis=1).any()
    half = leak.mixed_goals(steps, measured, 0.5, 0)
    relabelled = np.isclose(half, unit, atol=1e-6).all(axis=1)
    assert 0 < relabelled.sum() < 10
    np.testing.assert_array_equal(half[~relabelled], drawn[~relabelled])


def test_predictions_and_scores_are_the_models(monkeypatch):
    model, steps = small.agent().averaged, held()
    goal = small.unit_goals(10, 11).numpy()
    monkeypatch.setattr(leak, "_STEPS_AT_ONCE", 4)
    monkeypatch.setattr(leak, "_STATES_AT_ONCE", 4)
    predicted = leak.predict(model, steps, goal)
    observation = types.constants(steps.observation)
    code = model.encode(observation, goal)
    every = model.advantage(code, tf.tile(tf.range(1, 7)[None], [10, 1])).numpy()  # [L, N, M]
    rows = np.arange(10)
    np.testing.assert_allclose(predicted.value, model.value(code), atol=1e-5)
    np.testing.assert_allclose(predicted.advantage, every[rows, steps.item - 1], atol=1e-5)
    candidates = np.tile(np.array([[5, 2]], np.int32), (10, 1))
    one = np.tile(goal[:1], (10, 1))
    code = model.encode(observation, one)
    every = model.advantage(code, tf.constant(candidates)).numpy()
    expected = (model.value(code).numpy()[:, None] + every) @ goal[0]
    scores = leak.scores_of(model, steps, goal[0], candidates)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


# The truth.


def test_candidates_leave_out_what_was_shown():
    episodes, steps = small.sessions(), held()
    every = leak_truth.candidates(episodes, steps, 6, 99, True, 0)
    assert (np.sort(every, axis=1) == np.arange(1, 7)).all()
    some = leak_truth.candidates(episodes, steps, 6, 99, False, 0)
    assert some.shape == (10, 3)  # session 1 has shown 5, 1, 2, 2 at its last step
    for session, step, items in zip(
        steps.session, steps.observation.step, some.tolist(), strict=True
    ):
        assert len(set(items)) == 3 and 0 not in items
        assert not set(items) & set(episodes.item[session, :step].tolist())
    assert leak_truth.candidates(episodes, steps, 6, 2, True, 0).shape == (10, 2)


@pytest.fixture(scope="module")
def world():
    config = synthetic.SyntheticConfig(num_users=20, num_items=12, num_tastes=3, max_steps=9)
    items = np.array(sorted(f"i{n + 1}" for n in range(12)))
    users = np.array(sorted(f"u{n + 1}" for n in range(20)))
    spec = types.DataSpec(synthetic.FEEDBACK, 12, 20, 4, 9)
    ids = vocabulary.Vocabulary(vocabulary.Ids(items), vocabulary.Ids(users))
    return embedded.EmbeddedWorld(config, spec, ids)


def logged(world):
    environment = users.UserEnvironment(world)
    starts = types.Starts(
        np.arange(1, 21, dtype=np.int32),
        np.zeros((20, 4), np.int32),
        np.zeros((20, 4, len(world.spec.feedback)), np.float32),
    )
    policy = contract.random_policy(environment)
    return player.Player(environment, policy).play(starts, seed=3)


def states_of(episodes):
    """Returns every step of the sessions as a state; measurements do not matter here."""
    length = episodes.length
    session = np.repeat(np.arange(len(length)), length)
    step = np.concatenate([np.arange(n) for n in length]).astype(np.int32)
    nothing = np.zeros((len(session), 1))
    observation = types.Observation(nothing, nothing, step)
    item = episodes.item[session, step]
    return leak.HeldOut(session, episodes.user[session], observation, item, nothing, nothing)


def test_the_embedded_truth_follows_fatigue_and_is_optimal(world):
    episodes = logged(world)
    states = states_of(episodes)
    every = np.tile(np.arange(1, 13, dtype=np.int32), (len(states.item), 1))
    truth = leak_truth.of(world, episodes, states, every)
    optimum = exact_values.solve(world, np.array([1.0, 0.0]))
    config, kind = world.config, world.truth.kind
    for row in range(len(states.item)):
        session, step = states.session[row], states.observation.step[row]
        fatigue = 0
        for item in episodes.item[session, :step]:
            fatigue = int(synthetic.next_fatigue(config, fatigue, kind[item - 1]))
        taste = world.truth.taste[episodes.user[session] - 1]
        click = synthetic.click_probability(
            config, world.truth, np.array([taste]), np.array([fatigue])
        )
        np.testing.assert_allclose(truth.click[row], click[0], rtol=1e-5)
        best = optimum.value[step, taste, fatigue]
        assert truth.optimal[row].max() == pytest.approx(best, rel=1e-5)
        # One step ahead written out, for one item.
        after = int(synthetic.next_fatigue(config, fatigue, kind[4]))
        stays = 1 - synthetic.exit_probability(config, after)
        expected = click[0, 4] + stays * optimum.value[step + 1, taste, after]
        assert truth.optimal[row, 4] == pytest.approx(expected, rel=1e-5)
    assert states.observation.step.max() >= 3


def test_candidates_may_be_a_part_of_the_catalogue(world):
    episodes = logged(world)
    states = states_of(episodes)
    every = np.tile(np.arange(1, 13, dtype=np.int32), (len(states.item), 1))
    some = np.tile(np.array([[7, 2]], np.int32), (len(states.item), 1))
    whole = leak_truth.of(world, episodes, states, every)
    part = leak_truth.of(world, episodes, states, some)
    np.testing.assert_array_equal(part.click, whole.click[:, [6, 1]])
    np.testing.assert_array_equal(part.optimal, whole.optimal[:, [6, 1]])


def test_the_fitted_truth_is_what_the_world_answers(world, monkeypatch):
    sizes = recurrent_model.RecurrentModelConfig(
        hidden_units=6, item_units=4, head_units=6, rank=2
    )
    fitted = recurrent_model.RecurrentModel(world.spec, sizes, seed=1)
    episodes = logged(world)
    states = states_of(episodes)
    some = np.stack([states.item, states.item % 12 + 1], axis=1).astype(np.int32)
    monkeypatch.setattr(leak_truth, "_SESSIONS_AT_ONCE", 14)  # seven states at a time
    truth = leak_truth.of(fitted, episodes, states, some)
    assert truth.optimal is None
    # The shown item has the same probability under teacher forcing.
    expected = fitted.expect(types.constants(episodes)).numpy()[:, 0]
    np.testing.assert_allclose(truth.click[:, 0], expected, rtol=1e-4)
    # Another item at a first step has that of a session that starts.
    first = np.flatnonzero(states.observation.step == 0)
    start = fitted.reset(types.Starts(*(tf.constant(x) for x in episodes[:3])))
    answers = fitted.responses(start, tf.range(1, 13)).feedback[..., 0].numpy()  # [20, N]
    np.testing.assert_allclose(
        truth.click[first, 1], answers[np.arange(20), some[first, 1] - 1], rtol=1e-4
    )


# Intervals and the report.


def test_intervals_hold_the_mean_over_seeds():
    user = np.repeat(np.arange(30), 2)
    values = np.random.default_rng(0).normal(0.7, 0.1, (2, 60))
    intervals = leak.intervals(user, [{"auc": one} for one in values])
    assert set(intervals) == {"auc"}
    assert intervals["auc"]["mean"] == pytest.approx(values.mean())
    assert intervals["auc"]["low"] < values.mean() < intervals["auc"]["high"]


def test_differences_are_paired():
    user = np.arange(40)
    base = np.random.default_rng(0).normal(0.7, 0.2, (2, 40))
    a, b = ([{"auc": one + more} for one in base] for more in (0.01, 0.0))
    difference = leak.differences(user, a, b)["auc"]
    # Users differ by 0.2, yet each is 0.01 better: only pairing shows this difference.
    assert difference["mean"] == pytest.approx(0.01)
    assert difference["low"] == pytest.approx(0.01) and difference["p_value"] < 0.01


def test_seed_interval_is_students():
    interval = leak.seed_interval([0.01, 0.02, 0.03])
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert interval["mean"] == pytest.approx(0.02)
    assert interval["high"] == pytest.approx(0.02 + half)
    assert interval["low"] == 0.0
    assert leak.seed_interval([0.3]) == {"mean": 0.3, "low": 0.3, "high": 0.3}


def arm(exact, beyond=0.0):
    names = ["reward", "ranking_click", "explained_hindsight", "explained_random"]
    names += ["share", "ranking_optimal"] if exact else []
    values = {name: {"mean": 0.5, "low": 0.4, "high": 0.6} for name in names}
    return values | {
        "advantage_bias": {"mean": 0.02, "low": 0.0, "high": 0.04},
        "advantage_bias_by_seed": [0.01, 0.06],
        "beyond_default": {"reward": {"mean": beyond, "low": -0.5, "high": 0.5}},
        "explained_by_measurement": {"click@0": {"hindsight": 0.9, "random": 0.1}},
    }


@pytest.mark.parametrize("exact", [True, False])
def test_report(tmp_path, exact):
    one = {"mean": 1.0, "low": 0.9, "high": 1.1}
    document = {
        "policies": {"hindsight 30%": {"reward": one, "ctr": one, "depth": one}},
        "arms": {"hindsight 30%": arm(exact), "no goal input": arm(exact, 0.125)},
        "default": "hindsight 30%",
        "updates": 600,
        "steps": 1000,
        "states": 100,
        "candidates": 12,
    }
    leak_report.write(tmp_path, document)
    text = (tmp_path / "report.md").read_text()
    assert "0.500 [0.400, 0.600]" in text
    assert "6.0%, NOT below the limit of 5%" in text
    assert "| no goal input | 0.125 [-0.500, 0.500] |" in text
    assert "| hindsight 30% | 0.000" not in text
    assert "| click@0 | 0.90 / 0.10 |" in text
    assert ("Share of the way from random to the optimum" in text) == exact
    assert (tmp_path / "leak.png").stat().st_size > 10_000
    assert "data:image/png" in (tmp_path / "report.html").read_text()
