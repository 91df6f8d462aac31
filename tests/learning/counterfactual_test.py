"""Exchanging what the action does not reach helps; exchanging what it does reach hurts.

A user has a taste (which of three kinds is liked) and a warmth from 0 to 2. The liked kind
warms by one, any other cools to 0, and the liked kind at warmth 2 pays 1 and ends the
session: by chance one try in 27. Weekday, season and device pass by themselves and change
nothing, but a table of values has a line for each of their 105 combinations, 945 states in
all, and the log is 1,200 random steps.

The true graph links the action with warmth and taste: weekday, season and device may be
exchanged, the reward r_1 stays right, and the lines of the table that the log has never
seen are filled. The wrong graph links the action with all but taste: taste is exchanged
between steps, as if what warms one user warmed another, and what was seen is buried in
steps that cannot happen.
"""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfimrl import causal_graph, counterfactual
from tfrec.replay.steps import StepReplay, Steps

SIZES = np.array([3, 3, 7, 5, 3])  # warmth, taste, weekday, season, device
KINDS, STEPS, DISCOUNT = 3, 12, 0.9
SLOTS = causal_graph.Slots.of_sizes([1] * 5, [1])
SEEDS = range(8)


def graph(*links):
    influence = np.eye(6)
    for i, j in links:
        influence[i, j] = 1.0
    return causal_graph.constant(influence)


TRUE = graph((5, 0), (1, 0))  # action and taste bear on warmth
WRONG = graph((5, 0), (5, 2), (5, 3), (5, 4))  # on all but taste


def users(batch, random):
    return random.integers(SIZES, size=[batch, 5])


def play(state, kind, random):
    """Next state [B, 5], reward [B], and whether the session goes on [B]."""
    liked = kind == state[:, 1]
    pays = liked & (state[:, 0] == 2)
    following = np.stack(
        [
            np.where(liked, np.minimum(state[:, 0] + 1, 2), 0),
            state[:, 1],
            (state[:, 2] + 1) % 7,
            (state[:, 3] + (random.random(len(state)) < 0.2)) % 5,
            np.where(random.random(len(state)) < 0.1, random.integers(3), state[:, 4]),
        ],
        axis=1,
    )
    return following, pays.astype(np.float32), ~pays


def log(steps, seed):
    random = np.random.default_rng(seed)
    state = users(steps, random)
    kind = random.integers(KINDS, size=steps)
    following, reward, goes_on = play(state, kind, random)
    return Steps(
        state=tf.constant(state, tf.float32),
        action=tf.constant(kind[:, None], tf.float32),
        reward=tf.constant(reward),
        next_state=tf.constant(following, tf.float32),
        discount=tf.constant(DISCOUNT * goes_on, tf.float32),
        user=tf.range(steps),
        own_next=tf.fill([steps], True),
        synthetic=tf.fill([steps], False),
    )


def filled(seed, influence, steps=1200, made_steps=12_000):
    """A replay of the log and, with a graph, of what it makes of pairs of its steps."""
    replay = StepReplay(5, 1, steps, made_steps)
    replay.add(log(steps, seed))
    if influence is not None:
        seeds = tf.random.experimental.stateless_split([seed, 0], 3)
        pair = [replay.sample_real(made_steps, s) for s in tf.unstack(seeds[:2])]
        made = counterfactual.augment(*pair, influence, SLOTS, seeds[2])
        replay.add_synthetic(made.steps, made.valid)
    return replay


def line(state):
    return np.ravel_multi_index(np.asarray(state).astype(int).T, SIZES)


def fitted_q(rows):
    """Values [states, kinds]: each is the mean target of its rows, 0 where there are none."""
    cell = line(rows.state) * KINDS + np.asarray(rows.action[:, 0]).astype(int)
    following = line(rows.next_state)
    count = np.bincount(cell, minlength=SIZES.prod() * KINDS)
    value = np.zeros([SIZES.prod(), KINDS])
    for _ in range(20):
        target = rows.reward.numpy() + rows.discount.numpy() * value[following].max(axis=1)
        total = np.bincount(cell, weights=target, minlength=len(count))
        value = (total / np.maximum(count, 1)).reshape(value.shape)
    return value


def paid(value, batch=3000):
    """Share of cold users who pay within STEPS steps; ties are broken by chance."""
    random = np.random.default_rng(99)
    state = users(batch, random)
    state[:, 0] = 0
    done = np.zeros(batch, bool)
    for _ in range(STEPS):
        kind = (value[line(state)] + 1e-9 * random.random([batch, KINDS])).argmax(axis=1)
        state, reward, _ = play(state, kind, random)
        done |= reward > 0
    return done.mean()


@pytest.fixture(scope="module")
def scores():
    """Each arm's score for each seed's log."""
    arms = {"none": None, "true": TRUE, "wrong": WRONG}
    return {
        arm: np.array(
            [
                paid(fitted_q(filled(seed, influence).sample(24_000, tf.constant([seed, 7]))))
                for seed in SEEDS
            ]
        )
        for arm, influence in arms.items()
    }


def interval(difference):
    """The mean difference's 95 % interval over the seeds, paired."""
    low, high = scipy.stats.t.interval(
        0.95, len(difference) - 1, difference.mean(), scipy.stats.sem(difference)
    )
    return low, high


def test_the_log_is_sparse():
    rewards = log(6000, seed=0).reward.numpy()
    assert 0.05 < rewards.mean() < 0.15
    assert paid(np.zeros([SIZES.prod(), KINDS])) < 0.35


def test_the_true_graph_helps(scores):
    low, _ = interval(scores["true"] - scores["none"])
    assert low > 0.3, scores


def test_a_wrong_graph_hurts(scores):
    _, high = interval(scores["wrong"] - scores["none"])
    assert high < -0.1, scores


def test_only_the_wrong_graph_makes_impossible_steps():
    for influence, all_possible in ((TRUE, True), (WRONG, False)):
        replay = filled(0, influence)
        rows = replay.rows(replay.capacity + tf.range(replay.synthetic_size))
        state, kind = rows.state.numpy().astype(int), rows.action.numpy()[:, 0]
        following, _, _ = play(state, kind, np.random.default_rng(0))
        told = rows.next_state.numpy()
        possible = (told[:, :3] == following[:, :3]).all(axis=1)
        possible &= np.isin(told[:, 3] - state[:, 3], [0, 1, -4])  # season and device by chance
        assert possible.all() == all_possible
