"""Rainbow finds the long way round, in a world whose best item now is the worst choice."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.baselines import rainbow
from tfrec.environments import contract, player, playing, user_models, users

pytestmark = pytest.mark.slow

OPENER, MAIN, BAIT = 1, 2, 3  # dense item ids
SPEC = types.DataSpec(
    feedback=(types.FeedbackColumn("click", "binary", "clicks"),),
    num_items=6,
    num_users=1,
    history_length=4,
    max_steps=8,
)


class CourseWorld:
    """The main course is clicked after an opener; the bait at any time, and the user leaves.

    Nothing else is clicked. An opener and a main course in turn earn half a click a step,
    four in all: the best that can be done. Whoever looks one step ahead shows the bait,
    one click in all (or two: if by chance an opener came before).
    """

    spec, repeats = SPEC, True

    def reset(self, starts):
        return tf.zeros_like(starts.user)  # the item before

    def responses(self, state, candidates):
        after_opener = tf.logical_and((state == OPENER)[:, None], candidates == MAIN)
        bait = tf.broadcast_to(candidates == BAIT, tf.shape(after_opener))
        click = tf.cast(tf.logical_or(after_opener, bait), tf.float32)
        return user_models.Responses(click[..., None], tf.cast(bait, tf.float32))

    def step(self, state, item, seed):
        clicked = tf.logical_or(item == BAIT, tf.logical_and(state == OPENER, item == MAIN))
        return item, tf.cast(clicked, tf.float32)[:, None], item == BAIT


ENVIRONMENT = users.UserEnvironment(CourseWorld())


def starts(count):
    history = tf.zeros([count, SPEC.history_length], tf.int32)
    feedback = tf.zeros([count, SPEC.history_length, 1])
    return types.Starts(tf.ones([count], tf.int32), history, feedback)


def log():
    policy, seed = contract.random_policy(ENVIRONMENT), tf.constant([1, 2])
    played = playing.rollout(ENVIRONMENT, policy, starts(300), seed)
    return types.rows(played, slice(None))


FULL = rainbow.RainbowConfig(
    embedding=8,
    units=8,
    state=16,
    hidden=32,
    batch=64,
    atoms=21,
    discount=0.9,
    learning_rate=3e-3,
    replay_sessions=600,
    sessions_per_round=50,
    updates_per_round=50,
    log_rounds=6,
    play_rounds=4,
)
PLAIN = dict.fromkeys(("double_q", "dueling", "noisy", "prioritized"), False) | {
    "n_steps": 1,
    "atoms": 1,
}


def clicks_after_learning(**changes):
    """Clicks a session of the greedy policy, after as many updates in any case."""
    vectors = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
    config = dataclasses.replace(FULL, **changes)
    learner = rainbow.RainbowLearner(config, SPEC, log(), CourseWorld(), vectors, seed=3)
    for _ in range(learner.total_iterations):
        learner.advance()
    runner = player.Player(ENVIRONMENT, learner.policy())
    return float(np.sum(runner.play(starts(4), seed=5).feedback) / 4)


FROM_LOG = {"log_rounds": 10, "play_rounds": 0}


@pytest.mark.parametrize("switches", [{}, PLAIN | FROM_LOG], ids=["rainbow", "dqn"])
def test_it_finds_the_best_course(switches):
    assert clicks_after_learning(**switches) == 4.0


def test_without_a_future_it_takes_the_bait():
    """The control: the same learner and steps, but a discount of 0."""
    assert clicks_after_learning(discount=0.0, **FROM_LOG) == 1.0
