"""The embedded truth as a world."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.data import synthetic, vocabulary
from tfrec.environments import embedded

CONFIG = synthetic.SyntheticConfig(num_users=40, num_items=30, num_tastes=3, max_steps=12)
CLICKS = np.array([1.0, 0.0])
FINGERPRINT = "ccb6274c765055d3"  # of the world of CONFIG, which runs and studies record
TINY = dataclasses.replace(CONFIG, num_items=6, num_tastes=2, max_fatigue=3, exit_slope=5.0)
TYPED = dataclasses.replace(
    TINY, fatigue_steps=(2, -1, 1, 0, 1, -1), suited_fatigue=-1, exit_match=-1.5
)


def world(config=CONFIG, steps=None):
    """The world behind dense ids in the order of a real vocabulary: i1, i10, i11, .."""
    items = np.array(sorted(f"i{n + 1}" for n in range(config.num_items)))
    users = np.array(sorted(f"u{n + 1}" for n in range(config.num_users)))
    steps = steps or config.max_steps
    spec = types.DataSpec(synthetic.FEEDBACK, len(items), len(users), 4, steps)
    ids = vocabulary.Vocabulary(vocabulary.Ids(items), vocabulary.Ids(users))
    return embedded.EmbeddedWorld(config, spec, ids), ids


def starts(made, times=1):
    user = np.tile(np.arange(1, made.spec.num_users + 1, dtype=np.int32), times)
    return types.Starts(
        user, np.zeros((len(user), 4), np.int32), np.zeros((len(user), 4, 2), np.float32)
    )


def test_answers_are_the_truths_own_item_and_user():
    made, ids = world()
    truth = synthetic.truth(CONFIG)
    item = int(ids.items.tolist().index("i10")) + 1  # dense id of raw item 10
    user = int(ids.users.tolist().index("u7")) + 1
    state = made.reset(types.Starts(tf.constant([user]), None, None))
    assert state.segment.numpy()[0] == truth.taste[6]
    assert state.fatigue.numpy()[0] == state.step.numpy()[0] == 0
    expected = synthetic.click_probability(CONFIG, truth, truth.taste[6:7], np.array([0]))[0, 9]
    result = made.responses(state, tf.constant([item]))
    assert result.feedback.numpy()[0, 0, 0] == pytest.approx(expected, rel=1e-5)
    seconds = synthetic.expected_seconds(CONFIG, truth.kind[9])
    assert result.feedback.numpy()[0, 0, 1] == pytest.approx(expected * seconds, rel=1e-5)


def test_new_items_answer_as_the_others_do_in_any_order():
    config = dataclasses.replace(CONFIG, new_items=6)
    truth = synthetic.truth(config)
    new = synthetic.new_items(config, truth)
    order = np.random.default_rng(0).permutation(config.num_items)  # of dense ids
    items = np.array([f"i{n + 1}" for n in order])
    spec = types.DataSpec(synthetic.FEEDBACK, len(items), 1, 4, 12)
    ids = vocabulary.Vocabulary(vocabulary.Ids(items), vocabulary.Ids(np.array(["u7"])))
    made = embedded.EmbeddedWorld(config, spec, ids)
    np.testing.assert_array_equal(order[made.new_items - 1], order[np.isin(order, new)])
    state = made.reset(types.Starts(tf.constant([1]), None, None))
    result = made.responses(state, tf.range(1, 31))
    click = synthetic.click_probability(config, truth, truth.taste[6:7], np.array([0]))[0]
    np.testing.assert_allclose(result.feedback[0, :, 0], click[order], rtol=1e-5)
    after = synthetic.next_fatigue(config, np.array(0), truth.kind[order])
    exits = synthetic.exit_probability(config, after)
    np.testing.assert_allclose(result.exit[0], exits, rtol=1e-5)
    # The vocabulary of a log has none of them, and may lack other items.
    fewer = vocabulary.Vocabulary(
        vocabulary.Ids(np.setdiff1d(items, np.append(items[made.new_items - 1], "i1"))),
        ids.user_ids,
    )
    spec = dataclasses.replace(spec, num_items=len(fewer.items), candidates=3)
    logged = embedded.EmbeddedWorld(config, spec, fewer)
    assert logged.new_items.tolist() == []
    extended = embedded.with_new_items(logged)
    assert extended.vocabulary.items[:23].tolist() == fewer.items.tolist()
    assert set(extended.vocabulary.items[23:]) == {f"i{n + 1}" for n in new}
    assert extended.new_items.tolist() == list(range(24, 30))
    assert extended.spec.num_items == extended.spec.num_candidates == 29
    np.testing.assert_array_equal(
        embedded.with_new_items(made).vocabulary.items, made.vocabulary.items
    )


def test_users_are_the_same_whatever_is_logged_and_known_of_items():
    made, _ = world()
    assert made.fingerprint == FINGERPRINT
    for name, value in (("new_items", 3), ("attribute_noise", 0.5), ("attribute_missing", 0.5)):
        assert world(dataclasses.replace(CONFIG, **{name: value}))[0].fingerprint == FINGERPRINT
    for name, value in (
        ("match", 1.0),
        ("fatigue_steps", (2, -1, 1, 1, 2, -1)),
        ("suited_fatigue", -1),
        ("exit_match", -1.0),
    ):
        assert world(dataclasses.replace(CONFIG, **{name: value}))[0].fingerprint != FINGERPRINT


@pytest.mark.parametrize(("taste", "fatigue", "item"), [(0, 0, 1), (1, 4, 2), (2, 9, 12)])
def test_responses_are_what_users_do_on_average(taste, fatigue, item):
    many = 40_000
    made, _ = world()
    state = embedded.HiddenState(*(tf.fill([many], value) for value in (taste, fatigue, 3)))
    expected = made.responses(
        embedded.HiddenState(*(x[:1] for x in state)), tf.constant([item])
    )
    after, feedback, left = made.step(state, tf.fill([many], item), tf.constant([1, item]))
    feedback, left = feedback.numpy(), left.numpy()
    for column in range(2):
        error = feedback[:, column].std() / math.sqrt(many)
        mean = float(expected.feedback[0, 0, column])
        assert abs(feedback[:, column].mean() - mean) < 4 * error
    p = float(expected.exit[0, 0])
    assert abs(left.mean() - p) < 4 * math.sqrt(p * (1 - p) / many)
    kind = made.truth.kind[item - 1]
    assert set(after.fatigue.numpy()) == {int(synthetic.next_fatigue(CONFIG, fatigue, kind))}
    assert set(after.step.numpy()) == {4} and set(after.segment.numpy()) == {taste}
    assert ((feedback[:, 1] > 0) == (feedback[:, 0] > 0)).all()
