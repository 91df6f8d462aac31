"""The schedule that all baselines share."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfrec.baselines import learning
from tfrec.simulators import session


class Counting(learning.BaselineLearner):
    """Shows item 1 and learns nothing; its optimiser follows the schedule."""

    checked = ("loss",)

    def __init__(self, config, log):
        super().__init__(config, small.SPEC, log, None, 0, "counting")
        self.weight = tf.Variable(0.0)
        self.optimizer = tf_keras.optimizers.Adam(config.learning_rate)
        self.optimizer.build([self.weight])
        self.stored = tf.Variable(0.0)
        self.bad = tf.Variable(-1)
        self.fill(log, capacity=2)

    def store(self, episodes, reward):
        self.stored.assign_add(tf.reduce_sum(reward))

    def update(self):
        return {"loss": tf.constant(2.0)}, self.bad.read_value()

    def policy(self):
        return lambda turn: tf.ones_like(turn.observation.step)


CONFIG = learning.BaselineConfig(learning_rate=0.1, log_rounds=4, updates_per_round=3)


def test_the_optimiser_follows_the_schedule():
    learner = Counting(CONFIG, small.sessions())
    rates = []
    for _ in range(4):
        assert learner.advance() == {"loss": 2.0}
        rates.append(float(learner.optimizer.learning_rate))
    expected = [0.1 * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * k / 4))) for k in range(4)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert int(learner.unit) == 4


def test_only_the_last_sessions_that_fit_are_stored():
    learner = Counting(CONFIG, small.sessions())
    assert float(learner.stored) == 2.0 + 0.0  # clicks of sessions 1 and 2; 0 had 3


def test_what_is_not_finite_stops_it():
    learner = Counting(CONFIG, small.sessions())
    learner.bad.assign(0)
    with pytest.raises(learning.finite.NonFiniteError, match="loss"):
        learner.advance()


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_exploration_tries_items_that_may_be_shown(epsilon):
    learner = Counting(CONFIG, small.sessions())
    blocked = np.zeros((4000, 6), bool)
    blocked[:, [2, 4]] = True
    turn = session.Turn(
        small.observations(4000), tf.constant(blocked), None, tf.constant([1, 2])
    )
    chosen = learner.explore(tf.constant(epsilon))(turn).numpy()
    share = np.bincount(chosen, minlength=7)[1:] / 4000
    assert share[2] == share[4] == 0.0
    others = epsilon / 4  # four items may be shown
    expected = [1 - epsilon + others, others, 0, others, 0, others]
    np.testing.assert_allclose(share, expected, atol=0.03)
