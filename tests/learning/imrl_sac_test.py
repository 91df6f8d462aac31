"""The agent walks past a small reward to a large one; blind to the future, it stays.

A walker at 0 on a line of -1..1 moves by half its action, six times. Left of 0 it is paid .2
a unit of distance; right of .5, 4 a unit. Always right is best: 0, then 2 five times, 10 in
all. The first step to the right pays nothing and the first to the left .1, so a learner with
gamma 0 goes left, where six steps earn .1 + 5 * .2 = 1.1. Transitions are of random walks.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfimrl.agent import ImrlAgent
from tfimrl.config import ImrlConfig
from tfrec.replay.steps import Steps

STEPS, BEST, BLIND = 6, 10.0, 1.1


def observed(place, step):
    return np.stack([place, np.full_like(place, step / STEPS)], axis=-1).astype(np.float32)


def walk(place, action):
    place = np.clip(place + action / 2, -1, 1)
    return place, np.where(place < 0, -0.2 * place, 4 * np.maximum(place - 0.5, 0))


@pytest.fixture(scope="module")
def transitions():
    """4,000 random walks; the last state of each is somebody else's, far to the right."""
    draw = np.random.default_rng(0)
    walks, place = [], np.zeros(4000)
    for step in range(STEPS):
        action = draw.uniform(-1, 1, place.shape)
        after, reward = walk(place, action)
        last = step == STEPS - 1
        here, following = observed(place, step), observed(after, step + 1)
        if last:
            following = np.full_like(here, 9.0)
        flags = (
            np.zeros(place.shape, np.int32),
            np.full(place.shape, not last),
            np.zeros(place.shape, bool),
        )
        ones = np.ones(place.shape)
        walks.append((here, action[:, None], reward, following, ones, *flags))
        place = after
    columns = [np.concatenate(column) for column in zip(*walks, strict=True)]
    return Steps(*(
        tf.constant(c, tf.float32 if c.dtype == np.float64 else None) for c in columns
    ))  # fmt: skip


def earned(transitions, calls=40, **changes):
    """Reward of six steps of the mean action, after 20 updates a call."""
    config = ImrlConfig(
        hidden=(32, 32),
        batch=128,
        learning_rate=3e-3,
        tau=0.05,
        initial_temperature=0.1,
        **changes,
    )
    agent = ImrlAgent(config, 2, 1, seed=1, jit_compile=False)  # compiling takes longer
    number = len(transitions.reward)

    def source(shape, seed):
        index = tf.random.stateless_uniform(shape, seed, 0, number, tf.int32)
        return Steps(*(tf.gather(column, index) for column in transitions))

    for _ in range(calls):
        agent.train_many(source, 20)
    place, total = np.zeros(1), 0.0
    for step in range(STEPS):
        action = agent.act(tf.constant(observed(place, step)))[:, 0].numpy()
        place, reward = walk(place, action)
        total += float(reward[0])
    return total


def test_it_reaches_the_far_reward(transitions):
    assert earned(transitions) > 0.9 * BEST


@pytest.mark.slow
def test_blind_to_the_future_it_stays(transitions):
    assert earned(transitions, discount=0.0) < 1.5 * BLIND
