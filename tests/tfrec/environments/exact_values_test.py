"""The embedded world's optimum and values of plans, against brute force and simulation."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments.embedded_test import CLICKS, CONFIG, TINY, TYPED, starts, world
from tfrec.data import synthetic
from tfrec.environments import contract, embedded, exact_values, player, policies, users
from tfrec.ops import selection


def sequences(config, made, items, reward, steps):
    """Value of every sequence of items, [K ** steps, S, L], without any code of `embedded`."""
    truth, types, levels = made.truth, config.num_types, config.max_fatigue + 1
    plans = list(itertools.product(items, repeat=steps))
    value = np.zeros((len(plans), config.num_tastes * types, levels))
    seconds = synthetic.expected_seconds(config, truth.kind)
    for segment, fatigue in itertools.product(range(value.shape[1]), range(levels)):
        taste, user_type = divmod(segment, types)
        for row, plan in enumerate(plans):
            level, alive = fatigue, 1.0
            for item in plan:
                click = synthetic.click_probability(
                    config, truth, np.array([taste]), np.array([level])
                )[0, item - 1]
                value[row, segment, fatigue] += (
                    alive * click * (reward[0] + reward[1] * seconds[item - 1])
                )
                kind, suits = truth.kind[item - 1], truth.cluster[item - 1] == taste
                level = int(synthetic.next_fatigue(config, level, kind, user_type, suits))
                alive *= 1 - synthetic.exit_probability(config, level, suits)
    return plans, value


@pytest.mark.parametrize(
    ("config", "reward", "steps"),
    [
        (TINY, CLICKS, 4),
        (TINY, np.array([0.0, 1.0]), 4),
        (TINY, np.array([2.0, 0.05]), 4),
        (TYPED, CLICKS, 3),
    ],
)
def test_value_iteration_equals_trying_every_sequence(config, reward, steps):
    """Fatigue follows the items alone, so the best plan is a fixed sequence: try all."""
    made, _ = world(config, steps)
    plans, value = sequences(config, made, range(1, 7), reward, steps)
    optimum = exact_values.solve(made, reward)
    assert optimum.value.shape == (steps + 1, 2 * config.num_types, 4)
    np.testing.assert_allclose(optimum.value[0], value.max(axis=0), rtol=1e-4)
    assert (optimum.value[steps] == 0).all()
    # Of random items every sequence is as likely.
    random = exact_values.random_value(made, reward)
    np.testing.assert_allclose(random[0], value.mean(axis=0), rtol=1e-4)
    # One plan for every user.
    row = plans.index((5, 1, 1, 6)[-steps:])
    planned = exact_values.plan_value(made, reward, np.array(plans[row])[:, None, None])
    np.testing.assert_allclose(planned[0], value[row], rtol=1e-4)
    planned = exact_values.plan_value(made, reward, optimum.item)
    np.testing.assert_allclose(planned, optimum.value, rtol=1e-12)


def test_the_value_of_types_by_hand():
    """Two steps and equal items of each kind, so that every number can be written down."""
    config = dataclasses.replace(
        TYPED, quality=0.0, tiring=0.0, click_base=(1.0, 0.0, -1.0), match=1.0,
        exit_base=-1.0, exit_slope=3.0, exit_match=-2.0,
    )  # fmt: skip
    made, ids = world(config, 2)
    value = exact_values.solve(made, CLICKS).value[0, :, 0]

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    # A suiting bait is clicked most, twice. It adds 2 - 1 levels of 3 to the fatigue of users
    # of type 0, and 0 - 1 to that of users of type 1, who stay rested.
    click = sigmoid(2.0)
    tired, rested = (1 - sigmoid(-1.0 + 3.0 * level**2 - 2.0) for level in (1 / 3, 0.0))
    expected = [click * (1 + tired), click * (1 + rested)] * 2  # of two tastes
    # A suiting calm item rests users of type 0 and earns less than it saves.
    assert sigmoid(1.0) + rested * click < expected[0]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    types = synthetic.truth(config)
    user = [int(name[1:]) - 1 for name in ids.users]
    segment = made.reset(starts(made)).segment.numpy()
    np.testing.assert_array_equal(segment, (2 * types.taste + types.user_type)[user])
    # Users of both types are shown items that do not suit: the exit is the kind's alone.
    state = embedded.HiddenState(*(tf.constant(x) for x in ([0, 1], [1, 1], [0, 0])))
    exits = made.responses(state, tf.range(1, 7)).exit.numpy()
    for item in range(6):
        kind, suits = made.truth.kind[item], made.truth.cluster[item] == 0
        for user_type in range(2):
            change = config.fatigue_steps[3 * user_type + kind] - suits
            after = min(max(1 + change, 0), 3) / 3
            leave = sigmoid(-1.0 + 3.0 * after**2 - 2.0 * suits)
            assert exits[user_type, item] == pytest.approx(leave, rel=1e-5)


def test_one_list_is_optimal_for_everybody_without_interactions():
    """The same users and items, with and without interactions."""

    def best_list_share(config):
        made, _ = world(config)
        optimum = exact_values.solve(made, CLICKS)
        random = exact_values.random_value(made, CLICKS)[0, :, 0].mean()
        best = -np.inf
        for segment in range(optimum.value.shape[1]):
            items, level = [], 0  # the optimal list of one segment, shown to all
            for step in range(config.max_steps):
                items.append(int(optimum.item[step, segment, level]))
                level = made.after[segment, level, made.item_cell[items[-1] - 1]]
            listed = np.array(items)[:, None, None]
            best = max(best, exact_values.plan_value(made, CLICKS, listed)[0, :, 0].mean())
        return (best - random) / (optimum.value[0, :, 0].mean() - random)

    alike = dataclasses.replace(CONFIG, match=0.0)
    assert best_list_share(alike) == pytest.approx(1.0, rel=1e-6)
    for change in (
        {"match": 1.0},
        {"exit_match": -2.0},
        {"suited_fatigue": -2},
        {"fatigue_steps": (2, -1, 1, 2, 1, -1)},
    ):
        assert best_list_share(dataclasses.replace(alike, **change)) < 0.99, change


def test_some_items_alone_may_be_shown():
    made, _ = world(TINY, 3)
    items = np.array([5, 2])
    plans, value = sequences(TINY, made, items, CLICKS, 3)
    optimum = exact_values.solve(made, CLICKS, items)
    np.testing.assert_allclose(optimum.value[0], value.max(axis=0), rtol=1e-4)
    assert set(optimum.item.ravel()) <= {2, 5}
    random = exact_values.random_value(made, CLICKS, items)
    np.testing.assert_allclose(random[0], value.mean(axis=0), rtol=1e-4)
    # The list of one item, and one item for each taste.
    always = exact_values.plan_value(made, CLICKS, np.array(5))
    np.testing.assert_allclose(always[0], value[plans.index((5, 5, 5))], rtol=1e-4)
    by_taste = exact_values.plan_value(made, CLICKS, np.array([[5], [2]]))
    np.testing.assert_allclose(by_taste[0, 0], always[0, 0])
    np.testing.assert_allclose(by_taste[0, 1], value[plans.index((2, 2, 2)), 1], rtol=1e-4)
    # Sessions start rested, and each user has a taste.
    sessions = exact_values.session_values(made, optimum.value)
    assert sessions.shape == (40,)
    for user in (0, 1, 7):
        assert sessions[user] == optimum.value[0, made.truth.taste[user], 0]


def test_one_step_of_policy_improvement():
    made, _ = world(TINY, 3)
    plans, value = sequences(TINY, made, np.arange(1, 7), CLICKS, 3)
    shape = made.logging_policy().shape
    # After a random item all plans are alike, so the first item of the best mean is shown.
    uniform = np.full(shape, 1 / shape[-1])
    plan = exact_values.improved_plan(made, CLICKS, uniform)
    first = np.array([plan[0] for plan in plans])
    means = np.stack([value[first == item].mean(axis=0) for item in range(1, 7)])
    np.testing.assert_array_equal(plan[0], means.argmax(axis=0) + 1)
    earned = exact_values.plan_value(made, CLICKS, plan)
    assert np.all(earned >= exact_values.random_value(made, CLICKS) - 1e-9)
    optimum = exact_values.solve(made, CLICKS)
    assert np.all(earned <= optimum.value + 1e-9)
    # A policy that always shows one item is improved to a plan that deviates from it once.
    always = np.eye(shape[-1])[np.full(shape[:2], 4)]
    better = exact_values.improved_plan(made, CLICKS, always)
    gain = exact_values.plan_value(made, CLICKS, better) - exact_values.plan_value(
        made, CLICKS, np.array(5)
    )
    assert gain.min() >= -1e-9 and gain.max() > 0.01


@pytest.mark.parametrize("items", [[], [0, 1], [7], [-1]])
def test_other_items_are_rejected(items):
    made, _ = world(TINY, 3)
    items = np.array(items, np.int64)
    for value in (
        exact_values.solve,
        exact_values.random_value,
        exact_values.plan_value,
    ):
        with pytest.raises(ValueError, match=r"expected at least one, each 1 to 6"):
            value(made, CLICKS, items)


def test_the_narrowed_catalogue_has_the_optimum_of_its_items():
    made, ids = world(TINY, 3)
    spec = dataclasses.replace(made.spec, candidates=2)
    narrowed = embedded.EmbeddedWorld(TINY, spec, ids)
    for function in (lambda *a: exact_values.solve(*a).value, exact_values.random_value):
        np.testing.assert_array_equal(
            function(narrowed, CLICKS), function(made, CLICKS, np.array([1, 2]))
        )


def reward_per_session(made, policy, reward=CLICKS, times=100):
    runner = player.Player(users.UserEnvironment(made), policy)
    episodes = runner.play(starts(made, times), seed=3)
    return episodes.feedback.sum(axis=1) @ reward  # [B]


def test_the_optimal_policy_earns_its_value_and_nobody_earns_more():
    made, _ = world()
    optimum = exact_values.solve(made, CLICKS)
    taste = made.reset(starts(made, 100)).segment.numpy()
    value = optimum.value[0, taste, 0]  # of each session

    def gain(policy):
        """Mean reward above the optimal value, and its standard error."""
        above = reward_per_session(made, policy) - value
        return above.mean(), above.std() / math.sqrt(len(above))

    mean, error = gain(exact_values.optimal_policy(optimum))
    assert abs(mean) < 3 * error
    kinds = np.stack([made.truth.kind == kind for kind in range(3)])  # [3, N]
    others = {
        "random": contract.random_policy(users.UserEnvironment(made)),
        **{f"exit cost {c}": policies.greedy(made, CLICKS, c) for c in (0.0, 1.0, 4.0, 16.0)},
        **{f"random of kind {k}": of_kind(kinds[k]) for k in range(3)},
    }
    gains = {name: gain(policy) for name, policy in others.items()}
    for name, (mean, error) in gains.items():
        assert mean < 3 * error, name
    mean, error = gains["random"]
    random = exact_values.random_value(made, CLICKS)[0, taste, 0] - value
    assert abs(mean - random.mean()) < 3 * error
    # The trade-off is real: who looks at the next click alone loses clearly.
    mean, error = gains["exit cost 0.0"]
    assert mean < -5 * error


def of_kind(member):
    def policy(timestep):
        shape = [tf.shape(timestep.observation)[0], len(member)]
        noise = tf.random.stateless_uniform(shape, timestep.seed)
        return selection.best_slate(tf.where(member[None, :], noise, -1.0), 1)

    return policy


def test_clicks_and_seconds_have_different_optima():
    made, _ = world()
    seconds = np.array([0.0, 1.0])
    by_clicks = exact_values.optimal_policy(exact_values.solve(made, CLICKS))
    by_seconds = exact_values.optimal_policy(exact_values.solve(made, seconds))
    for reward, winner, loser in (
        (CLICKS, by_clicks, by_seconds),
        (seconds, by_seconds, by_clicks),
    ):
        gap = reward_per_session(made, winner, reward) - reward_per_session(made, loser, reward)
        assert gap.mean() > 5 * gap.std() / math.sqrt(len(gap))
