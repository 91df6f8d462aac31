"""A small log whose probabilities are known, to fit simulated users to.

Two kinds of users and two kinds of items: a user clicks items of their own kind with
probability 0.8 and others with 0.2. Odd items drive users away: p(exit) is 0.4 after
them and 0.1 after even ones. A click is liked with probability 0.5 and watched for
exp(N(2, 0.5)) seconds; a non-click is neither.
"""

import numpy as np

from tfrec import types

NUM_ITEMS, NUM_USERS, HISTORY, STEPS = 12, 150, 6, 10

SPEC = types.DataSpec(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("like", "binary", "likes"),
        types.FeedbackColumn("seconds", "amount", "seconds", scale=5.0),
    ),
    num_items=NUM_ITEMS,
    num_users=NUM_USERS,
    history_length=HISTORY,
    max_steps=STEPS,
)


def click_probability(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """The arguments broadcast; items 1..6 are of kind 0, 7..12 of kind 1."""
    return np.where(user % 2 == (item > NUM_ITEMS // 2), 0.8, 0.2)


def exit_probability(item: np.ndarray) -> np.ndarray:
    return np.where(item % 2 == 1, 0.4, 0.1)


def log(sessions_per_user: int = 8, seed: int = 0) -> types.Episodes:
    """Sessions of every user; the history holds the session before it."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(1, NUM_USERS + 1), sessions_per_user).astype(np.int32)
    shape = (len(user), STEPS)
    item = rng.integers(1, NUM_ITEMS + 1, shape)
    left = rng.random(shape) < exit_probability(item)
    exited = left.any(axis=1)
    length = np.where(exited, left.argmax(axis=1) + 1, STEPS).astype(np.int32)
    real = np.arange(STEPS) < length[:, None]
    click = rng.random(shape) < click_probability(user[:, None], item)
    like = click & (rng.random(shape) < 0.5)
    seconds = click * np.exp(2.0 + 0.5 * rng.standard_normal(shape))
    item = (item * real).astype(np.int32)
    feedback = np.stack([click, like, seconds], axis=-1) * real[..., None]
    feedback = feedback.astype(np.float32)
    history_item = np.zeros((len(user), HISTORY), np.int32)
    history_feedback = np.zeros((len(user), HISTORY, 3), np.float32)
    for row in range(1, len(user)):
        if user[row] == user[row - 1]:
            retained = min(length[row - 1], HISTORY)
            events = slice(length[row - 1] - retained, length[row - 1])
            history_item[row, HISTORY - retained :] = item[row - 1, events]
            history_feedback[row, HISTORY - retained :] = feedback[row - 1, events]
    return types.Episodes(user, history_item, history_feedback, item, feedback, length, exited)
