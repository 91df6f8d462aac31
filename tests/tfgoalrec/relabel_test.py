import numpy as np
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import relabel
from tfrec.replay import episodes as replay

SEED = tf.constant([3, 4])


def transitions(batch):
    outcome = np.tile([[3.0, -4.0]], (batch, 1))
    outcome[0] = 0.0  # no hindsight goal
    return relabel.Transition(
        observation=small.observations(batch),
        item=tf.range(batch, dtype=tf.int32),
        measurement=tf.random.stateless_normal([batch, 2], SEED),
        outcome=tf.constant(outcome, tf.float32),
        goal=tf.tile([[0.0, 1.0]], [batch, 1]),
    )


def test_no_share_changes_nothing():
    before = transitions(50)
    np.testing.assert_array_equal(relabel.relabel(before, 0.0, SEED).goal, before.goal)


def test_the_whole_share_takes_the_goal_that_the_session_reached():
    before = transitions(50)
    after = relabel.relabel(before, 1.0, SEED)
    np.testing.assert_allclose(after.goal[0], [0.0, 1.0])  # a zero outcome keeps its goal
    np.testing.assert_allclose(after.goal[1:], np.tile([0.6, -0.8], (49, 1)), rtol=1e-6)
    for name in ("observation", "item", "measurement", "outcome"):
        tf.nest.map_structure(
            np.testing.assert_array_equal, getattr(after, name), getattr(before, name)
        )


def test_a_share_is_a_probability_for_each_row():
    before = transitions(20_001)
    first = relabel.relabel(before, 0.3, SEED).goal.numpy()[1:, 0] == np.float32(0.6)
    assert abs(first.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)
    other = relabel.relabel(before, 0.3, SEED + 1).goal.numpy()[1:, 0] == np.float32(0.6)
    # Drawn anew: rows of two draws agree as often as independent coins do, .09 + .49.
    assert abs((first == other).mean() - 0.58) < 4 * np.sqrt(0.58 * 0.42 / 20_000)


def test_log_rows_get_random_goals_and_played_rows_keep_theirs():
    agent = small.agent(hindsight_share=0.0)
    played = small.unit_goals(8, 11).numpy()
    played[::2] = 0.0  # rows from the log have no goal
    rows = replay.Rows(
        observation=small.observations(8),
        item=tf.ones([8], tf.int32),
        label=tf.ones([8, 11]),
        first_label=2 * tf.ones([8, 11]),
        goal=tf.constant(played),
        slot=tf.range(8, dtype=tf.int64),
    )
    goal = agent.transition(rows).goal.numpy()
    np.testing.assert_allclose(np.linalg.norm(goal, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(goal[1::2], played[1::2])
    again = agent.transition(rows).goal.numpy()
    assert (again[::2] != goal[::2]).any(axis=1).all()  # redrawn in every batch
