import numpy as np
import tensorflow as tf
from scipy import stats

from tests.tfgoalrec import small
from tfrec import types
from tfrec.environments import contract, policies, user_models, users


class Answers:
    """Item 1 is clicked most, item 2 watched longest, item 3 drives nobody away."""

    spec = types.DataSpec(small.SPEC.feedback, 3, 1, 4, 5)
    repeats = True

    def reset(self, starts):
        return ()

    def responses(self, state, candidates):
        feedback = tf.constant([[[0.9, 1.0], [0.5, 9.0], [0.6, 2.0]]])
        return user_models.Responses(
            tf.gather(feedback, candidates - 1, axis=1),
            tf.gather(tf.constant([[0.5, 0.4, 0.1]]), candidates - 1, axis=1),
        )


class Many(Answers):
    spec = small.SPEC


def timestep(batch, blocked=None, world=Answers):
    """The first one of as many sessions."""
    environment = users.UserEnvironment(world())
    starts = types.Starts(
        tf.zeros([batch], tf.int32), tf.zeros([batch, 4], tf.int32), tf.zeros([batch, 4, 2])
    )
    blocked = None if blocked is None else tf.constant(np.tile(blocked, (batch, 1)))
    state = environment.begin(starts)
    return contract.timestep_of(environment, state, tf.constant([1, 2]))._replace(
        blocked=blocked
    )


def test_random_is_uniform_over_what_may_be_shown():
    policy = contract.random_policy(users.UserEnvironment(Many()))
    action = policy(timestep(6000, world=Many)).numpy()
    assert action.shape == (6000, 1)
    assert stats.chisquare(np.bincount(action[:, 0], minlength=6)).pvalue > 1e-3
    blocked = [True, False, True, False, False, True]
    action = policy(timestep(3000, blocked, Many)).numpy()
    counts = np.bincount(action[:, 0], minlength=6)
    assert set(np.flatnonzero(counts)) == {1, 3, 4}
    assert stats.chisquare(counts[[1, 3, 4]]).pvalue > 1e-3


def test_popularity_counts_clicks_and_not_showings():
    episodes = small.sessions()
    # Clicks: items 1 3 4 in session 0, items 1 3 in session 1; item 2 is shown most.
    policy = policies.popularity(episodes, 6)

    def items(*arguments):
        return contract.item_of(policy(timestep(*arguments))).numpy().tolist()

    assert items(3) == [1, 1, 1]
    assert items(1, [True, False, False, False, False, False]) == [3]
    assert items(1, [True, False, True, False, False, False]) == [4]


def test_greedy_takes_the_best_expected_reward():
    def choice(reward, cost=0.0, blocked=None):
        policy = policies.greedy(Answers(), np.array(reward), cost)
        return int(contract.item_of(policy(timestep(1, blocked)))[0])

    assert choice([1.0, 0.0]) == 1
    assert choice([0.0, 1.0]) == 2
    assert choice([1.0, 0.01]) == 1  # .91, .59, .62
    assert choice([1.0, 0.0], cost=0.5) == 1  # .65, .3, .55
    assert choice([1.0, 0.0], cost=1.0) == 3  # .4, .1, .5
    assert choice([1.0, 0.0], blocked=[True, False, False]) == 3
