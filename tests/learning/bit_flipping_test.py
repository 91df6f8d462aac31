"""Hindsight goals teach what no average over random behaviour shows: flipping bits.

The game: n bits, all down. Even steps may flip the second bit of a pair, odd steps both of
its bits; after n steps the session ends and the user's only feedback is the final bits,
as +1 and -1. The measurement is that final sign vector, a goal is a target pattern, and a
session succeeds if every bit matches: at random, one in 2^n does.

Experience is 4,000 sessions played at random, each under a random target that it was asked
for and nearly never reached. What each arm can learn from them:

- Whatever an even step does, the odd step after it leaves both bits fair coins. So under
  random behaviour no measurement's mean tells its actions apart, and without hindsight
  even steps are guesses: the last half of the flips is right, the first is chance, and
  (1/2)^(n/2) of the sessions succeed.
- With hindsight half of the rows carry the pattern that was reached as their goal. Where
  an action makes a pattern likelier, more of the rows under that goal are those that
  reached it, so g . M(s, a, g) is higher: the even steps are learned.

The world, replay, relabelling, update, policy and rollout are those of the product.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfgoalrec import acting, measurements
from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config as goalrec_config
from tfrec import types
from tfrec.environments import contract, playing, users
from tfrec.replay import episodes as replay_lib

pytestmark = pytest.mark.slow

BITS, SESSIONS, UPDATES, TEST = 6, 4000, 1200, 512
LEAVE, FLIP = 1, 2  # the two items

SPEC = types.DataSpec(
    feedback=tuple(types.FeedbackColumn(f"bit{i}", "binary", "bits") for i in range(BITS)),
    num_items=2,
    num_users=1,
    history_length=BITS,
    max_steps=BITS,
)


class BitWorld:
    """The game; its state is the step and the bits, -1 or 1."""

    spec, repeats = SPEC, True

    def reset(self, starts):
        batch = tf.shape(starts.user)[0]
        return {"step": tf.zeros([batch], tf.int32), "bits": -tf.ones([batch, BITS])}

    def step(self, state, item, seed):
        step = state["step"][:, None]  # [B, 1]
        place = tf.range(BITS)[None, :]
        here = tf.where(step % 2 == 0, place == step + 1, place // 2 == step // 2)  # [B, n]
        flips = tf.logical_and(here, (item == FLIP)[:, None])
        bits = tf.where(flips, -state["bits"], state["bits"])
        over = step == BITS - 1
        return {"step": state["step"] + 1, "bits": bits}, tf.where(over, bits, 0.0), over[:, 0]


ENVIRONMENT = users.UserEnvironment(BitWorld())


def starts(batch):
    return types.Starts(
        tf.ones([batch], tf.int32),
        tf.zeros([batch, BITS], tf.int32),
        tf.zeros([batch, BITS, BITS]),
    )


def targets(batch, seed):
    """Random patterns as goals, float [B, n] of unit length."""
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], (batch, BITS))
    return tf.constant(sign / np.sqrt(BITS), tf.float32)


def play(policy, batch, seed):
    run = tf.function(lambda seed: playing.rollout(ENVIRONMENT, policy, starts(batch), seed))
    return run(tf.constant([seed, 0]))


def success(episodes, goal):
    """Share of sessions that end in their goal's pattern."""
    final = tf.reduce_sum(episodes.feedback, axis=1)  # [B, n]
    return float(np.mean(np.all(np.sign(final) == np.sign(goal), axis=1)))


def learned_success(hindsight_share):
    config = goalrec_config.GoalRecConfig(
        measurements=tuple(f"bit{i}@0.." for i in range(BITS)),
        goals=("up = 1*bit0@0..",),
        hindsight_share=hindsight_share,
        embedding=4, units=8, state=32, goal_units=32, stream=128, item_vector=4,
        dropout=0.0, averaging=0.99, learning_rate=6e-3, batch=256,
    )  # fmt: skip
    vectors = np.zeros((3, 4), np.float32)
    measured = measurements.Measurements(config.measurements, SPEC, vectors)  # signs: unfitted
    agent = goalrec_agent.GoalRecAgent(config, SPEC, measured, vectors, seed=1)
    asked = targets(SESSIONS, seed=2)
    episodes = play(contract.random_policy(ENVIRONMENT), SESSIONS, seed=3)
    assert success(episodes, asked) < 0.04  # sparse: 1 in 64 by luck
    replay = replay_lib.EpisodeReplay(SPEC, SESSIONS, measured.dim)
    replay.add(episodes, measured.standardised(episodes), asked)

    @tf.function
    def update(seed):
        batch = agent.transition(replay.sample(config.batch, seed))
        return agent.update(batch, agent.seeds())

    for number in range(UPDATES):
        update(tf.constant([4, number]))
    goal = targets(TEST, seed=5)
    return success(play(acting.greedy(agent.averaged, goal), TEST, seed=6), goal)


def test_with_hindsight_the_bits_are_flipped():
    assert learned_success(hindsight_share=0.5) > 0.9


def test_without_hindsight_half_of_the_steps_stay_guesses():
    # At chance: 1/8. The odd steps are learned, so the arm does learn what it can.
    assert 0.03 < learned_success(hindsight_share=0.0) < 0.3


@pytest.mark.parametrize("seed", [1, 2])
def test_the_game_can_be_won(seed):
    """Even steps make the pair's bits differ as the target's do, odd steps set the first."""
    goal = targets(100, seed)

    def policy(timestep):
        step = timestep.history.step
        first = tf.gather(goal, step // 2 * 2, axis=1, batch_dims=1)
        second = tf.gather(goal, step // 2 * 2 + 1, axis=1, batch_dims=1)
        flip = tf.where(step % 2 == 0, first * second < 0, first > 0)
        return contract.action_of(tf.where(flip, FLIP, LEAVE))

    assert success(play(policy, 100, seed), goal) == 1.0
