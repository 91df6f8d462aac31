"""Item counts: rates, the index of a session, and learning by play."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import embedded_test
from tfrec import types
from tfrec.baselines import config as config_lib
from tfrec.baselines import item_counts
from tfrec.data import synthetic
from tfrec.environments import player, users


def test_value_of_a_list_weighs_clicks_by_who_is_still_there():
    click, leave = tf.constant([[0.5, 0.2, 0.9]]), tf.constant([[0.5, 0.1, 1.0]])
    # In the order 2, 1, 3: .2, then .9 of the users see .5, then .9 * .5 see .9.
    score = tf.constant([[2.0, 3.0, 1.0]])
    value = item_counts.session_value(click, leave, score, steps=3, repeats=False)
    assert value.numpy()[0] == pytest.approx(0.2 + 0.9 * 0.5 + 0.45 * 0.9)
    short = item_counts.session_value(click, leave, score, steps=2, repeats=False)
    assert short.numpy()[0] == pytest.approx(0.2 + 0.9 * 0.5)


def test_value_with_repeats_is_that_of_the_best_item_throughout():
    click, leave = tf.constant([[0.5, 0.2]]), tf.constant([[0.5, 0.1]])
    score = tf.constant([[0.0, 1.0]])
    value = item_counts.session_value(click, leave, score, steps=3, repeats=True)
    assert value.numpy()[0] == pytest.approx(0.2 * (1 + 0.9 + 0.81))


def test_an_item_that_drives_users_away_is_ranked_below_one_that_keeps_them():
    # Item 1 is clicked more, but half leave; item 2 earns .4 / .05 = 8 clicks a session.
    click, leave = tf.constant([[0.5, 0.4]]), tf.constant([[0.5, 0.05]])
    short = item_counts.index(click, leave, steps=1, repeats=True).numpy()[0]
    long = item_counts.index(click, leave, steps=1000, repeats=True).numpy()[0]
    assert long[1] > long[0]
    # With V of about 8 clicks: .5 - .5 * 8 and .4 - .05 * 8.
    assert long == pytest.approx([0.5 - 4.0, 0.0], abs=0.01)
    assert short[0] == pytest.approx(0.5 - 0.5 * 0.4, abs=0.01)


def test_a_posterior_is_the_prior_and_the_counts():
    a, b = item_counts.posterior(tf.constant([3.0, 0.0]), tf.constant([4.0, 2.0]), 8.0)
    # All items: (3 + 1) / (6 + 2) = .5; 4 of 8 shows before any.
    assert a.numpy().tolist() == [7.0, 4.0]
    assert b.numpy().tolist() == [5.0, 6.0]


def test_draws_have_the_mean_and_variance_of_the_beta_distribution():
    a, b = tf.constant([2.0, 30.0]), tf.constant([6.0, 10.0])
    drawn = item_counts.beta(a, b, 20_000, tf.constant([1, 2])).numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), [0.25, 0.75], atol=0.005)
    # ab / ((a + b)^2 (a + b + 1))
    np.testing.assert_allclose(drawn.var(axis=0), [12 / (64 * 9), 300 / (1600 * 41)], rtol=0.05)


def _episodes(world, item, feedback, length, exited):
    item = np.asarray(item, np.int32)
    sessions, steps = item.shape
    history = world.spec.history_length
    return types.Episodes(
        user=np.ones(sessions, np.int32),
        history_item=np.zeros([sessions, history], np.int32),
        history_feedback=np.zeros([sessions, history, 2], np.float32),
        item=item,
        feedback=np.asarray(feedback, np.float32),
        length=np.asarray(length, np.int32),
        exited=np.asarray(exited),
    )


def _learner(world, log, use_world=False, **changes):
    numbers = {"log_rounds": 0, "sessions_per_round": 64, "play_rounds": 6, "keep_log": False}
    config = config_lib.ItemCountsConfig(**(numbers | changes))
    return item_counts.ItemCountsLearner(
        config, world.spec, log, world if use_world else None, np.zeros([1, 1]), seed=0
    )


def test_steps_of_the_log_are_counted_and_padding_is_not():
    world, _ = embedded_test.world()
    item = [[2, 3, 2, 0], [3, 0, 0, 0]]
    feedback = np.zeros([2, 4, 2])
    feedback[0, 0, 0] = feedback[1, 0, 0] = 1.0
    feedback[1, 2, 0] = 1.0  # behind the end
    log = _episodes(world, item, feedback, [3, 1], [True, False])
    counts = _learner(world, log).counts
    assert counts.shows.numpy()[:4].tolist() == [0, 2, 2, 0]
    assert counts.clicks.numpy()[:4].tolist() == [0, 1, 1, 0]
    assert counts.exits.numpy()[:4].tolist() == [0, 1, 0, 0]  # the second user stayed


def _clicks(world, learner):
    starts = embedded_test.starts(world, times=8)
    environment = users.UserEnvironment(world)
    played = player.Player(environment, learner.policy()).play(starts, seed=5)
    return float(played.feedback[..., 0].sum(axis=1).mean())


@pytest.mark.parametrize("exploration", ["thompson", "uniform"])
def test_play_finds_better_items_than_chance(exploration):
    config = synthetic.SyntheticConfig(num_users=40, num_items=30, num_tastes=1, max_steps=12)
    world, _ = embedded_test.world(config)
    empty = _episodes(world, np.zeros([1, 12]), np.zeros([1, 12, 2]), [0], [False])
    learner = _learner(world, empty, use_world=True, exploration=exploration)
    before = _clicks(world, learner)
    while int(learner.iteration) < learner.total_iterations:
        learner.advance()
    assert float(tf.reduce_sum(learner.counts.shows)) > 1_000
    assert _clicks(world, learner) > 1.5 * before
