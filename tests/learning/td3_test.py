"""TD3 finds what each user likes and waits with the bait; blind to the future, it does not.

A user likes one of items 1..4, the last item clicked before the session: it pays 1 each time.
The bait, item 5, pays 1.5 to everybody, and the user leaves. Items 6..8 pay nothing. In five
steps the best is the liked item four times and then the bait, 5.5; a policy that looks one
step ahead takes the bait at once, 1.5. The log is of random sessions.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.baselines import td3
from tfrec.environments import contract, playing, users

pytestmark = pytest.mark.slow

LIKED, BAIT = 4, 5

SPEC = types.DataSpec(
    feedback=(types.FeedbackColumn("worth", "amount", "points"),),
    num_items=8,
    num_users=LIKED,
    history_length=6,
    max_steps=5,
)

# Opposite items lie opposite each other: +e_1 .. +e_4, -e_1 .. -e_4.
VECTORS = np.concatenate([np.zeros((1, 4)), np.eye(4), -np.eye(4)]).astype(np.float32)


class BaitWorld:
    """Its state is what the user likes."""

    spec, repeats = SPEC, True

    def reset(self, starts):
        return starts.user

    def step(self, state, item, seed):
        bait = item == BAIT
        worth = tf.where(bait, 1.5, tf.cast(item == state, tf.float32))
        return state, worth[:, None], bait


ENVIRONMENT = users.UserEnvironment(BaitWorld())


def starts(batch):
    user = tf.range(batch) % LIKED + 1
    before = SPEC.history_length - 1
    item = tf.pad(user[:, None], [[0, 0], [before, 0]])  # [B, H]
    return types.Starts(user, item, tf.cast(item > 0, tf.float32)[..., None])


def play(policy, batch, seed):
    run = tf.function(lambda seed: playing.rollout(ENVIRONMENT, policy, starts(batch), seed))
    return run(tf.constant([seed, 0]))


def worth(episodes):
    """Points of a mean session."""
    return float(tf.reduce_sum(episodes.feedback) / len(episodes.length))


@pytest.fixture(scope="module")
def log():
    played = play(contract.random_policy(ENVIRONMENT), 2000, seed=1)
    return types.rows(played, slice(None))


def learned(log, discount, **changes):
    config = td3.Td3Config(
        discount=discount, n_steps=1, tau=0.1, learning_rate=3e-3, batch=128,
        embedding=4, units=8, state=16, hidden=32,
        replay_sessions=2000, sessions_per_round=2000, log_rounds=5, updates_per_round=120,
        **changes,
    )  # fmt: skip
    learner = td3.Td3Learner(config, SPEC, log, None, VECTORS, seed=2)
    for _ in range(learner.total_iterations):
        learner.advance()
    return play(learner.policy(), 200, seed=3)


def test_it_keeps_users_with_what_they_like(log):
    assert worth(log) < 1.5
    sessions = learned(log, discount=0.95)
    liked = sessions.item.numpy() == sessions.user.numpy()[:, None]  # [B, T]
    assert liked[:, :4].mean() > 0.9
    assert worth(sessions) > 4.5


def test_without_a_future_it_takes_the_bait(log):
    assert worth(learned(log, discount=0.0)) < 2.0
