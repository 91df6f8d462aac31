"""The schedule that all baselines share."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec.baselines import learning
from tfrec.baselines.config import BaselineConfig
from tfrec.environments import contract
from tfrec.environments.fitted import variants
from tfrec.replay.episodes import EpisodeReplay


class Counting(learning.BaselineLearner):
    """Shows item 1 and learns nothing; its optimiser follows the schedule."""

    checked = ("loss",)

    def __init__(self, config, log, world=None):
        super().__init__(config, small.SPEC, log, world, 0, "counting")
        self.weight = tf.Variable(0.0)
        self.optimizer = tf_keras.optimizers.Adam(config.learning_rate)
        self.optimizer.build([self.weight])
        self.stored = tf.Variable(0.0)
        self.last = tf.Variable(tf.zeros([2, 5]), shape=[None, 5])
        self.replay = EpisodeReplay(small.SPEC, 8, 1)
        self.bad = tf.Variable(-1)
        self.fill(log, capacity=2)

    def store(self, episodes, reward):
        self.stored.assign_add(tf.reduce_sum(reward))
        self.last.assign(reward)
        self.replay.add(episodes, reward[..., None], tf.zeros([tf.shape(reward)[0], 1]))

    def clear(self):
        self.replay.clear()

    def sample(self):
        return {"rows": tf.constant([4.0, np.nan]), "absent": None}

    def _update_on(self, batch):
        return {"loss": tf.constant(2.0)}, self.bad.read_value()

    def scores(self, observation, blocked):
        return tf.one_hot(0 * observation.step, small.SPEC.num_candidates)


CONFIG = BaselineConfig(learning_rate=0.1, log_rounds=4, updates_per_round=3)


def test_the_optimiser_follows_the_schedule():
    learner = Counting(CONFIG, small.sessions())
    rates = []
    for _ in range(4):
        assert learner.advance() == {"loss": 2.0}
        rates.append(float(learner.optimizer.learning_rate))
    expected = [0.1 * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * k / 4))) for k in range(4)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert int(learner.iteration) == 4


def test_only_the_last_sessions_that_fit_are_stored():
    learner = Counting(CONFIG, small.sessions())
    assert float(learner.stored) == 2.0 + 0.0  # clicks of sessions 1 and 2; 0 had 3


def test_the_logs_rewards_are_reported_as_late_as_those_of_play():
    world = variants.HighVariance(scripted.ScriptedWorld(small.SPEC, True), delay=3)
    learner = Counting(CONFIG, small.sessions(), world)
    # Session 1 clicks at steps 1 and 4 of 0..4: the first is reported at step 4 as well.
    # Session 2 has one step and no click.
    np.testing.assert_array_equal(learner.last, [[0, 0, 0, 0, 2], [0, 0, 0, 0, 0]])
    at_once = Counting(CONFIG, small.sessions())
    np.testing.assert_array_equal(at_once.last, [[0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])


@pytest.mark.parametrize(("keep_log", "sessions"), [(True, 2 + 3), (False, 3)])
def test_the_log_is_kept_or_dropped_when_play_begins(keep_log, sessions):
    config = BaselineConfig(
        keep_log=keep_log,
        log_rounds=1,
        play_rounds=1,
        sessions_per_round=3,
        updates_per_round=1,
    )
    world = scripted.ScriptedWorld(small.SPEC, True)
    learner = Counting(config, small.sessions(), world)
    learner.advance()
    assert np.count_nonzero(learner.replay.length) == 2
    learner.advance()
    assert np.count_nonzero(learner.replay.length) == sessions


def test_what_is_not_finite_stops_it():
    learner = Counting(CONFIG, small.sessions())
    learner.bad.assign(0)
    with pytest.raises(learning.finite.NonFiniteError, match="loss") as raised:
        learner.advance()
    assert list(raised.value.batch) == ["rows"]
    np.testing.assert_array_equal(raised.value.batch["rows"], [4.0, np.nan])


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_exploration_tries_items_that_may_be_shown(epsilon):
    learner = Counting(CONFIG, small.sessions())
    blocked = np.zeros((4000, 6), bool)
    blocked[:, [2, 4]] = True
    timestep = contract.history_timestep(
        small.observations(4000), tf.constant([1, 2]), tf.constant(blocked)
    )
    action = learner.explore(tf.constant(epsilon))(timestep).numpy()
    share = np.bincount(action[:, 0], minlength=6) / 4000
    assert share[2] == share[4] == 0.0
    others = epsilon / 4  # four items may be shown
    expected = [1 - epsilon + others, others, 0, others, 0, others]
    np.testing.assert_allclose(share, expected, atol=0.03)
