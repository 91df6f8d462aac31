"""Lists of a user model, made by the same call as those of an agent."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tests.tfrec.evaluation import offline_test
from tfrec import types
from tfrec.data import protocols, sequences
from tfrec.environments import user_models
from tfrec.evaluation import offline, user_lists

data = offline_test.data  # the fixture: users click every other item, the first one included


class State(NamedTuple):
    user: tf.Tensor
    clicked: tf.Tensor


class World:
    """Users who click item a with probability (user + 3 a + clicked items) mod 7 / 7."""

    repeats, fingerprint = True, "clicks"

    def __init__(self, spec: types.DataSpec):
        self.spec = spec

    def reset(self, starts: types.Starts) -> State:
        clicked = tf.cast(starts.history_feedback[..., 0], tf.int32) * starts.history_item
        return State(starts.user, tf.reduce_sum(clicked, axis=1))

    def responses(self, state: State, candidates: tf.Tensor) -> user_models.Responses:
        click = (state.user[:, None] + 3 * candidates + state.clicked[:, None]) % 7
        return user_models.Responses(
            tf.cast(click, tf.float32)[..., None] / 7.0, tf.zeros_like(click, tf.float32)
        )

    def step(self, state, item, seed, distort=None):
        raise NotImplementedError


def test_lists_follow_the_click_probabilities_of_each_user(data, tmp_path):
    split = protocols.user_ratio(sequences.of_prepared(data))
    training = offline.first_events(split.train)
    train = offline.training_data(data, training, tmp_path / "training", 9, history_length=4)
    model = user_lists.UserModelLists(World(train.spec), train)
    lists = offline.lists(model, data, split.test, k=3)
    number = {item: n + 1 for n, item in enumerate(train.vocabulary.items.tolist())}
    for row, user in enumerate(split.test.users):
        name = data.vocabulary.users[user]
        before = offline_test.LOG[name][:-1]
        dense = train.vocabulary.users.tolist().index(name) + 1
        clicked = sum(number.get(item, 0) for item in before[::2])
        scores = {n: (dense + 3 * n + clicked) % 7 for n in number.values()}
        for item in before:
            scores.pop(number.get(item), None)
        best = sorted(scores, key=lambda n: (-scores[n], n))[:3]
        expected = [train.vocabulary.items[n - 1] for n in best]
        listed = [data.vocabulary.items[item - 1] for item in lists[row] if item]
        assert listed == expected and listed


def test_users_outside_the_training_events_are_unknown(data):
    model = user_lists.UserModelLists(World(data.spec), data)
    observation = types.Observation(
        np.zeros([1, 4], np.int32), np.zeros([1, 4, 1], np.float32), np.zeros([1], np.int32)
    )
    blocked = np.zeros([1, 5], bool)
    item, probability = model.lists_of_users(np.array(["x"]), observation, blocked, 2)
    # Probabilities of items 1 to 5 are 3, 6, 2, 5 and 1 of 7.
    assert item.tolist() == [[2, 4]]
    np.testing.assert_allclose(probability, [[6 / 7, 5 / 7]])
