"""The posterior over an embedded user's segment by hand, and what its policy earns."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import embedded_test
from tfrec import types
from tfrec.data import synthetic, synthetic_worlds
from tfrec.environments import (
    contract,
    embedded_belief,
    exact_values,
    player,
    users,
)

CLICKS = np.array([1.0, 0.0])
CONFIG = dataclasses.replace(
    embedded_test.TYPED, num_users=40, max_steps=4, tiring=0.5, quality=0.2
)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def by_hand(config, made, segment, items, clicks):
    """Log-likelihood of answers to items in a session that goes on, without `embedded`."""
    taste, user_type = divmod(segment, config.num_types)
    level, total = 0, 0.0
    for item, click in zip(items, clicks, strict=True):
        kind, suits = made.truth.kind[item - 1], made.truth.cluster[item - 1] == taste
        logit = made.truth.click_logit[item - 1] + config.match * suits
        p = sigmoid(logit - config.tiring * level / config.max_fatigue)
        total += math.log(p if click else 1 - p)
        level += config.fatigue_steps[3 * user_type + kind] + config.suited_fatigue * suits
        level = min(max(level, 0), config.max_fatigue)
        share = level / config.max_fatigue
        leave = config.exit_base + config.exit_slope * share**2 + config.exit_match * suits
        total += math.log(1 - sigmoid(leave))
    return total


def test_the_posterior_follows_bayes_rule_by_hand():
    made, _ = embedded_test.world(CONFIG)
    prior = np.log(np.tile([0.1, 0.2, 0.3, 0.4], (made.spec.num_users + 1, 1)))
    observed = embedded_belief.Observed(made, prior)
    starts = types.constants(embedded_test.starts(made))
    state, items, clicks = observed.reset(starts), (1, 4, 4), []
    for step, item in enumerate(items):
        shown = tf.fill([40], item)
        state, feedback, _ = observed.step(state, shown, tf.constant([0, step]))
        clicks.append(feedback[:, 0].numpy() > 0)
    for user in (0, 7, 39):
        answers = [click[user] for click in clicks]
        expected = [
            prior[0, segment] + by_hand(CONFIG, made, segment, items, answers)
            for segment in range(4)
        ]
        np.testing.assert_allclose(state[1][user], expected, rtol=1e-4)
    assert len({tuple(x) for x in np.array(clicks).T}) > 2  # users answered differently
    # Without a prior all segments are as likely.
    assert (embedded_belief.Observed(made).reset(starts)[1].numpy() == 0).all()


def test_evidence_of_the_log_by_hand():
    """Two sessions of one user: one that ends with an exit, and one that is cut."""
    made, _ = embedded_test.world(CONFIG)
    item = np.array([[3, 5, 0, 0], [2, 2, 6, 1]], np.int32)
    click = np.array([[1, 0, 0, 0], [0, 0, 1, 1]])
    sessions = types.Episodes(
        user=np.array([9, 9], np.int32), history_item=None, history_feedback=None, item=item,
        feedback=np.stack([click, 5.0 * click], axis=-1).astype(np.float32),
        length=np.array([2, 4], np.int32), exited=np.array([True, False]),
    )  # fmt: skip
    evidence = embedded_belief.log_evidence(made, sessions)
    assert evidence.shape == (41, 4)
    assert (np.delete(evidence, 9, axis=0) == 0).all()
    expected = []
    for segment in range(4):
        taste, user_type = divmod(segment, 2)
        total = 0.0
        for items, clicks, leaves in (([3, 5], [1, 0], True), ([2, 2, 6, 1], [0, 0, 1, 1], 0)):
            total += by_hand(CONFIG, made, segment, items, clicks)
            level = 0
            for position, shown in enumerate(items):
                state = np.array([taste]), np.array([level])
                p = synthetic.click_probability(CONFIG, made.truth, *state)[0]
                weight = np.exp(p / CONFIG.temperature)
                total += math.log(weight[shown - 1] / weight.sum())
                cell = (made.truth.kind[shown - 1], user_type)
                suits = made.truth.cluster[shown - 1] == taste
                level = int(synthetic.next_fatigue(CONFIG, level, *cell, suits))
                if position == len(items) - 1:  # `by_hand` says that the session goes on
                    exits = synthetic.exit_probability(CONFIG, level, suits)
                    total += math.log(exits if leaves else 1.0) - math.log(1 - exits)
        expected.append(total)
    np.testing.assert_allclose(evidence[9], expected, rtol=1e-5)


@pytest.fixture(scope="module")
def judged():
    """A named world of a few users, with a random and the optimal value."""
    config = synthetic_worlds.log_class("movielens_scale")(num_users=60, num_items=60)
    config = dataclasses.replace(config, max_steps=60)
    made, _ = embedded_test.world(config)
    return (
        made,
        exact_values.solve(made, CLICKS).value,
        exact_values.random_value(made, CLICKS),
    )


def earned(made, log_prior):
    """Mean clicks of a session with the posterior policy, and its standard error."""
    environment = users.UserEnvironment(embedded_belief.Observed(made, log_prior))
    runner = player.Player(environment, embedded_belief.posterior_policy(made))
    clicks = runner.play(embedded_test.starts(made, 20), seed=3).feedback[..., 0].sum(axis=1)
    return clicks.mean(), clicks.std() / math.sqrt(len(clicks))


def test_a_posterior_earns_less_than_the_truth_and_more_than_random(judged):
    made, optimum, random = judged
    best, least = (exact_values.session_values(made, x).mean() for x in (optimum, random))
    mean, error = earned(made, None)
    assert least + 10 * error < mean < best - 5 * error
    # An observer who knows the users from the start earns the optimum.
    certain = np.full([made.spec.num_users + 1, len(made.after)], -np.inf)
    certain[np.arange(1, made.spec.num_users + 1), made.user_segment] = 0.0
    mean, error = earned(made, certain)
    assert abs(mean - best) < 4 * error


def test_values_of_cells_are_those_of_the_optimum(judged):
    made, optimum, _ = judged
    cells = exact_values.cell_values(made)
    np.testing.assert_allclose(cells.value.max(axis=-1), optimum[:-1], rtol=1e-5)
    assert len(cells.item) == 15  # 5 clusters of 3 kinds, the most clicked item of each
    for item in cells.item:
        cell = made.item_cell == made.item_cell[item - 1]
        assert made.truth.click_logit[item - 1] == made.truth.click_logit[cell].max()


def test_the_observer_does_not_change_the_users(judged):
    made, _, _ = judged
    observed = embedded_belief.Observed(made)
    assert observed.fingerprint == made.fingerprint and observed.repeats
    starts = embedded_test.starts(made)
    played = [
        player.Player(
            users.UserEnvironment(world),
            lambda step: contract.action_of(tf.ones_like(contract.history_of(step).step)),
        ).play(starts, 5)
        for world in (made, observed)
    ]
    for one, other in zip(*played, strict=True):
        np.testing.assert_array_equal(one, other)
