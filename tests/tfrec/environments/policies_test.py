import numpy as np
import tensorflow as tf
from scipy import stats

from tests.tfgoalrec import small
from tfrec import types
from tfrec.environments import policies, session


def timestep(batch, blocked=None, seed=(1, 2), world=None):
    observation = types.Observation(
        tf.zeros([batch, 4], tf.int32), tf.zeros([batch, 4, 2]), tf.zeros([batch], tf.int32)
    )
    blocked = None if blocked is None else tf.constant(np.tile(blocked, (batch, 1)))
    return session.SessionTimestep(observation, blocked, world, tf.constant(seed))


def test_random_is_uniform_over_what_may_be_shown():
    policy = policies.random(6)
    counts = np.bincount(policy(timestep(6000)).numpy(), minlength=7)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3
    blocked = [True, False, True, False, False, True]
    counts = np.bincount(policy(timestep(3000, blocked)).numpy(), minlength=7)
    assert set(np.flatnonzero(counts)) == {2, 4, 5}
    assert stats.chisquare(counts[[2, 4, 5]]).pvalue > 1e-3


def test_popularity_counts_clicks_and_not_showings():
    episodes = small.sessions()
    # Clicks: items 1 3 4 in session 0, items 1 3 in session 1; item 2 is shown most.
    policy = policies.popularity(episodes, 6)
    assert policy(timestep(3)).numpy().tolist() == [1, 1, 1]
    assert policy(timestep(1, [True, False, False, False, False, False])).numpy().tolist() == [
        3
    ]
    assert policy(timestep(1, [True, False, True, False, False, False])).numpy().tolist() == [4]


class Answers:
    """Item 1 is clicked most, item 2 watched longest, item 3 drives nobody away."""

    spec = types.DataSpec(small.SPEC.feedback, 3, 1, 4, 5)

    def responses(self, state, candidates):
        feedback = tf.constant([[[0.9, 1.0], [0.5, 9.0], [0.6, 2.0]]])
        return session.Responses(
            tf.gather(feedback, candidates - 1, axis=1),
            tf.gather(tf.constant([[0.5, 0.4, 0.1]]), candidates - 1, axis=1),
        )


def test_greedy_takes_the_best_expected_reward():
    def choice(reward, cost=0.0, blocked=None):
        policy = policies.greedy(Answers(), np.array(reward), cost)
        return int(policy(timestep(1, blocked))[0])

    assert choice([1.0, 0.0]) == 1
    assert choice([0.0, 1.0]) == 2
    assert choice([1.0, 0.01]) == 1  # .91, .59, .62
    assert choice([1.0, 0.0], cost=0.5) == 1  # .65, .3, .55
    assert choice([1.0, 0.0], cost=1.0) == 3  # .4, .1, .5
    assert choice([1.0, 0.0], blocked=[True, False, False]) == 3
