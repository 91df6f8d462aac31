"""The adversarial user model as a world: its contract, its arithmetic, its files."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import known_users
from tfrec import errors, types
from tfrec.data import identity, vocabulary
from tfrec.environments import playing, user_models, users
from tfrec.environments.fitted import choice_model, kinds, model_files, recurrent_model
from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig

SMALL = ChoiceModelConfig(
    alternatives=3, clicks=4, positions=2, lstm_units=3, item_units=5, hidden_units=6,
    eta=1.3, repeats=True,
)  # fmt: skip
VARIANTS = {
    "position weights": SMALL,
    "lstm": dataclasses.replace(SMALL, state="lstm"),
    "impressions": dataclasses.replace(SMALL, alternatives=0),
}


def moved(config, spec=known_users.SPEC):
    """A model whose every weight has been moved from its initial value."""
    made = choice_model.ChoiceModel(spec, config, seed=3)
    rng = np.random.default_rng(3)
    for variable in made.reward.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape).astype(np.float32))
    made.further.assign([[0.1, 2.0], [0.6, 9.0]])
    return made


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request):
    return moved(request.param)


@pytest.fixture(scope="module")
def log():
    return known_users.log(sessions_per_user=2, seed=1)


def starts(log, chosen):
    return user_models.starts_of(types.constants(types.rows(log, chosen)))


def test_responses_of_many_equal_responses_of_one(model, log):
    together = model.responses(model.reset(starts(log, slice(0, 4))), tf.range(1, 13))
    assert together.feedback.shape == (4, 12, 3)
    for row in range(4):
        alone = model.reset(starts(log, slice(row, row + 1)))
        for item in (1, 7, 12):
            answer = model.responses(alone, tf.constant([item]))
            np.testing.assert_allclose(
                answer.feedback[0, 0], together.feedback[row, item - 1], rtol=1e-5
            )


def test_what_happens_is_what_was_expected(model, log):
    draws, item = 40_000, 5
    one = model.reset(starts(log, slice(3, 4)))
    expected = model.responses(one, tf.constant([item])).feedback[0, 0].numpy()
    many = tf.nest.map_structure(lambda x: tf.repeat(x, draws, axis=0), one)
    state, feedback, left = model.step(many, tf.fill([draws], item), tf.constant([1, 2]))
    error = feedback.numpy().std(axis=0) / math.sqrt(draws)
    seen = feedback.numpy().mean(axis=0)
    assert (np.abs(seen - expected) < 4 * error).all(), (seen, expected)
    assert (expected > 0).all() and not left.numpy().any()
    # The clicked item is the latest click of those who clicked, and of nobody else.
    clicked = feedback[:, 0].numpy() > 0
    before = one.clicks.numpy()[0]
    assert (state.clicks.numpy()[clicked] == [*before[1:], item]).all()
    assert (state.clicks.numpy()[~clicked] == before).all()
    assert 0 < clicked.sum() < draws


def test_same_seed_same_answers_other_seed_others(model, log):
    state, items = model.reset(starts(log, slice(0, 64))), tf.fill([64], 2)
    first, again, other = (
        model.step(state, items, tf.constant(seed))[1].numpy()
        for seed in ([0, 1], [0, 1], [0, 2])
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_click_s_probability_may_be_distorted(model, log):
    state = model.reset(starts(log, slice(0, 2)))
    item, seen = tf.constant([3, 4]), []

    def certain(logit):
        seen.append(tf.sigmoid(logit).numpy())
        return tf.constant([1.0, 0.0])

    _, feedback, _ = model.step(state, item, tf.constant([1, 2]), certain)
    assert feedback[:, 0].numpy().tolist() == [1, 0]
    expected = model.responses(state, item).feedback[..., 0].numpy().diagonal()
    np.testing.assert_allclose(seen[0], expected, rtol=1e-4)


def test_teacher_forcing_is_what_was_expected_when_playing(model, log):
    """Plays 6 steps, then asks what teacher forcing says of the same sessions."""
    begin = starts(log, slice(0, 8))
    state, items, answers, clicks = model.reset(begin), [], [], []
    for step in range(6):
        item = tf.constant([(3 * step + row) % 12 + 1 for row in range(8)])
        expected = model.responses(state, tf.range(1, 13)).feedback[..., 0]
        clicks.append(tf.gather(expected, item[:, None] - 1, batch_dims=1)[:, 0])
        state, feedback, _ = model.step(state, item, tf.constant([step, 9]))
        items.append(item)
        answers.append(feedback)
    episodes = types.Episodes(
        *begin[:3],
        tf.stack(items, 1),
        tf.stack(answers, 1),
        tf.fill([8], 6),
        tf.fill([8], False),
    )
    forced = model.expect(episodes).numpy().reshape(8, 6, -1)
    np.testing.assert_allclose(forced[..., 0], np.stack(clicks, axis=1), rtol=1e-4)
    assert not forced[..., -1].any()


def test_the_click_s_probability_by_hand():
    """Item a of reward ln 2 beside alternatives of reward ln 3, and beside itself once."""
    config = dataclasses.replace(SMALL, alternatives=2, eta=1.0)
    made = choice_model.ChoiceModel(known_users.SPEC, config)
    for variable in made.reward.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    made.reward.item_bias.assign([0.0, math.log(2.0), *[math.log(3.0)] * 11])
    made._displays = tf.constant([[2, 3], [1, 4]])  # items 2 and 3, or items 1 and 4
    state = choice_model.ChoiceState(tf.zeros([1, 4], tf.int32))
    click = made.responses(state, tf.constant([1, 4])).feedback[0, :, 0]
    # Item 1: 2 / (1 + 2 + 3 + 3) and 2 / (1 + 2 + 3); item 4: 3 / 10 and 3 / (1 + 3 + 2).
    expected = [(2 / 9 + 2 / 6) / 2, (3 / 10 + 3 / 6) / 2]
    np.testing.assert_allclose(click, expected, rtol=1e-5)


def test_extreme_rewards_stay_probabilities(log):
    made = moved(SMALL)
    made.reward.item_bias.assign(np.array([0, *[-3e4, 3e4] * 6], np.float32))
    state = made.reset(starts(log, slice(0, 3)))
    click = made.responses(state, tf.range(1, 13)).feedback[..., 0].numpy()
    assert np.isfinite(click).all() and click.min() >= 0 and click.max() <= 1
    # One item against displays that mostly hold as strong ones; the other has no chance.
    assert click[:, 1].min() > 1e-3 and click[:, 0].max() < 1e-6


def test_only_clicks_move_the_state(model, log):
    begin = starts(log, slice(0, 40))
    other = begin._replace(
        history_item=tf.where(
            begin.history_feedback[..., 0] > 0,
            begin.history_item,
            12 * tf.ones_like(begin.history_item),
        )
    )
    np.testing.assert_array_equal(model.reset(begin).clicks, model.reset(other).clicks)
    # An item outside the vocabulary is no click.
    unknown = begin._replace(
        history_item=tf.zeros_like(begin.history_item),
        history_feedback=tf.ones_like(begin.history_feedback),
    )
    assert not model.reset(unknown).clicks.numpy().any()


def test_the_history_changes_the_answers(model, log):
    rows = np.flatnonzero((log.history_feedback[..., 0] > 0).any(axis=1))[:5]
    begin = starts(log, rows)
    empty = begin._replace(history_item=tf.zeros_like(begin.history_item))
    answers = [
        model.responses(model.reset(each), tf.range(1, 13)).feedback[..., 0].numpy()
        for each in (begin, empty)
    ]
    assert (np.abs(answers[0] - answers[1]).max(axis=1) > 1e-3).all()


def test_rolls_out_as_a_world(model, log):
    def policy(timestep):
        return timestep.history.step[:, None] % 12

    environment = users.UserEnvironment(model)
    play = tf.function(
        lambda seed: playing.rollout(environment, policy, starts(log, slice(0, 30)), seed)
    )
    episodes = play(tf.constant([0, 0]))
    assert (episodes.length.numpy() == known_users.STEPS).all()
    assert not episodes.exited.numpy().any()
    click = episodes.feedback.numpy()[..., 0]
    assert 0 < click.mean() < 1
    seconds = episodes.feedback.numpy()[..., 2]
    np.testing.assert_allclose(seconds, np.where(click > 0, 9.0, 2.0))


def test_save_and_load(model, log, tmp_path):
    ids = vocabulary.Vocabulary(
        vocabulary.Ids(np.arange(100, 100 + known_users.SPEC.num_items)),
        vocabulary.Ids(np.arange(known_users.SPEC.num_users)),
    )
    data = identity.Origin("runs/data", ids, known_users.SPEC, "1234", {"split": "user"})
    model.save(tmp_path / "one", data)
    model.save(tmp_path / "two", data)
    builders = {kinds.ADVERSARIAL: choice_model.build, kinds.RECURRENT: recurrent_model.build}
    one, two = (model_files.load(tmp_path / name, builders) for name in ("one", "two"))
    assert one.config == model.config and one.spec == model.spec and one.repeats
    np.testing.assert_array_equal(one.expect(log), model.expect(log))
    assert one.fingerprint == two.fingerprint
    assert one.data.vocabulary.items.tolist() == ids.items.tolist()
    two.reward.item_bias.assign_add(tf.ones_like(two.reward.item_bias))
    two.save(tmp_path / "two", data)
    assert model_files.load(tmp_path / "two", builders).fingerprint != one.fingerprint


def test_the_weights_depend_on_the_seed_alone():
    for config in VARIANTS.values():
        first, again, other = (
            choice_model.ChoiceModel(known_users.SPEC, config, seed) for seed in (4, 4, 5)
        )
        names = [variable.name for variable in first.variables]
        assert names == [variable.name for variable in again.variables]
        for a, b in zip(first.variables, again.variables, strict=True):
            np.testing.assert_array_equal(a, b)
        assert (first.reward.item.numpy() != other.reward.item.numpy()).any()


def test_a_model_of_another_kind_is_named(tmp_path):
    moved(SMALL).save(tmp_path / "users")
    with pytest.raises(errors.UserError, match="kind is 'adversarial'; expected recurrent"):
        recurrent_model.load(tmp_path / "users")
