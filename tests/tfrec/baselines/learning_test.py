"""The schedule that all baselines share."""

import dataclasses

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
from tfrec.methods import registry
from tfrec.replay.episodes import EpisodeReplay
from tfrec.training import checkpoint


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


class Walking(Counting):
    """Its weight grows by 1 in each update."""

    def __init__(self, config, log):
        super().__init__(config, log)
        self.acting = tf.Module()
        self.acting.weight = tf.Variable(0.0)
        self.average_weights()

    def _update_on(self, batch):
        self.acting.weight.assign_add(1.0)
        return super()._update_on(batch)


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


def test_random_items_come_from_the_best_of_the_pool():
    config = dataclasses.replace(CONFIG, action_pool=1 / 3)
    learner = Counting(config, small.sessions())
    learner.scores = lambda observation, blocked: tf.tile(
        tf.constant([[0.0, 3.0, -np.inf, 9.0, 2.0, 1.0]]), [tf.size(observation.step), 1]
    )
    blocked = np.zeros((2000, 6), bool)
    blocked[:, 3] = True
    blocked[0] = [True, True, False, True, True, True]  # only the excluded item is left
    timestep = contract.history_timestep(
        small.observations(2000), tf.constant([1, 2]), tf.constant(blocked)
    )
    action = learner.explore(tf.constant(1.0))(timestep).numpy()[:, 0]
    share = np.bincount(action, minlength=6) / 2000
    np.testing.assert_allclose(share[[1, 4]], 0.5, atol=4 * 0.5 / np.sqrt(2000))
    assert action[0] == 2


def test_the_average_of_the_weights_acts_and_the_latest_ones_learn():
    learner = Walking(dataclasses.replace(CONFIG, averaging=0.3), small.sessions())
    average, weight = 0.0, 0.0
    for count in range(1, 7):
        weight += 1.0
        decay = min(0.3, (1 + count) / (10 + count))
        average = decay * average + (1 - decay) * weight
        if count in (3, 6):  # the end of a round
            learner.advance()
            np.testing.assert_allclose(learner.acting.weight, average, rtol=1e-6)
            np.testing.assert_allclose(learner.other_weights[0], weight)
    # By hand: decays 2/11, 3/12 and then .3.
    assert average == pytest.approx(5.5725, abs=1e-4)


def test_without_averaging_the_latest_weights_act():
    learner = Walking(CONFIG, small.sessions())
    learner.advance()
    assert float(learner.acting.weight) == 3.0
    assert learner.other_weights == [] and learner.no_warm_start == ""


@pytest.mark.parametrize("name", ["wide_and_deep", "dien", "rainbow", "td3"])
def test_an_average_of_a_method_goes_on_exactly_after_a_checkpoint(name, tmp_path):
    def made():
        method = registry.get(name)
        config = method.config(
            averaging=0.9, updates_per_round=2, log_rounds=2, play_rounds=0,
            sessions_per_round=1, replay_sessions=4, batch=4, embedding=4, units=4, state=4,
            hidden=4,
        )  # fmt: skip
        return method.make(config, small.SPEC, small.sessions(), None, None, 0)

    one, other = made(), made()
    assert "averaging is 0.9" in one.no_warm_start
    one.advance()
    checkpoint.write(tmp_path / "saved", one, {})
    checkpoint.read(tmp_path / "saved", other)
    for learner in (one, other):
        learner.advance()
    pairs = zip(
        (*one.acting.trainable_variables, *one.other_weights),
        (*other.acting.trainable_variables, *other.other_weights),
        strict=True,
    )
    for left, right in pairs:
        np.testing.assert_array_equal(left, right)
    differ = [
        not np.array_equal(acting, latest)
        for acting, latest in zip(
            one.acting.trainable_variables, one.other_weights, strict=True
        )
    ]
    assert any(differ)
