import numpy as np
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import acting
from tfrec.environments import contract


def setting(batch):
    model = small.agent().averaged
    goal = small.unit_goals(1, 11)[0]
    observation = small.observations(batch)
    goals = tf.tile(goal[None], [batch, 1])
    scores = model.scores(model.encode(observation, goals), goals).numpy()
    return model, goal, observation, np.argsort(-scores, axis=1)  # best position first


def test_exploring_tries_items_of_the_pool_at_the_given_rate():
    model, goal, observation, ranking = setting(3000)
    policy = acting.explore(model, goal, epsilon=0.3, pool=0.5)  # 3 of 6 items
    action = policy(contract.history_timestep(observation, tf.constant([1, 2]))).numpy()
    rank = (ranking == action).argmax(axis=1)
    counts = np.bincount(rank, minlength=6)
    assert (counts[3:] == 0).all()
    # The best item: .7 + .3 / 3; the other two: .1 each. Four standard errors.
    for place, expected in enumerate([0.8, 0.1, 0.1]):
        error = np.sqrt(expected * (1 - expected) / 3000)
        assert abs(counts[place] / 3000 - expected) < 4 * error


def test_no_epsilon_gives_the_greedy_policy():
    model, goal, observation, ranking = setting(50)
    timestep = contract.history_timestep(observation, tf.constant([1, 2]))
    explored = acting.explore(model, goal, epsilon=0.0, pool=1.0)(timestep).numpy()
    np.testing.assert_array_equal(explored, ranking[:, :1])
    np.testing.assert_array_equal(explored, acting.greedy(model, goal)(timestep))


def test_blocked_items_are_not_tried():
    model, goal, observation, ranking = setting(400)
    blocked = np.zeros((400, 6), bool)
    np.put_along_axis(blocked, ranking[:, :4], True, axis=1)  # all but the last two
    timestep = contract.history_timestep(observation, tf.constant([1, 2]), tf.constant(blocked))
    action = acting.explore(model, goal, epsilon=1.0, pool=0.5)(timestep).numpy()
    assert not np.take_along_axis(blocked, action, axis=1).any()
    assert len(np.unique((ranking == action).argmax(axis=1))) == 2


def test_each_session_keeps_its_goal_when_others_have_left():
    model = small.agent().averaged
    goals, observation = small.unit_goals(40, 11), small.observations(40)
    left = tf.constant([31, 2, 17, 5])
    whole = contract.history_timestep(observation, tf.constant([1, 2]))
    some = whole._replace(
        history=tf.nest.map_structure(lambda x: tf.gather(x, left), observation), user=left
    )
    policy = acting.greedy(model, goals)
    shown = policy(whole).numpy()
    assert len(np.unique(shown)) > 1
    np.testing.assert_array_equal(policy(some), shown[left.numpy()])
