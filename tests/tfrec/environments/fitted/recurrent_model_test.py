"""The user model: its contract as a world, its masks, its arithmetic, its files."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfrec.environments import known_users
from tfrec import errors, types
from tfrec.data import identity, vocabulary
from tfrec.environments import playing, user_models, users
from tfrec.environments.fitted import fitting, recurrent_model

SMALL = recurrent_model.RecurrentModelConfig(
    item_units=5, user_units=3, hidden_units=6, head_units=7, rank=4, repeats=True
)


@pytest.fixture(scope="module")
def model():
    """A model whose every weight has been moved from its initial value."""
    model = recurrent_model.RecurrentModel(known_users.SPEC, SMALL, seed=3)
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape).astype(np.float32))
    model.log_spread.assign_sub(tf.ones_like(model.log_spread))
    return model


@pytest.fixture(scope="module")
def log():
    return known_users.log(sessions_per_user=2, seed=1)


def rows(log, chosen):
    return types.constants(types.rows(log, chosen))


def starts(log, chosen):
    return user_models.starts_of(rows(log, chosen))


def test_responses_of_many_equal_responses_of_one(model, log):
    together = model.responses(model.reset(starts(log, slice(0, 4))), tf.range(1, 13))
    for row in range(4):
        alone = model.reset(starts(log, slice(row, row + 1)))
        for item in (1, 7, 12):
            answer = model.responses(alone, tf.constant([item]))
            np.testing.assert_allclose(
                answer.feedback[0, 0], together.feedback[row, item - 1], rtol=1e-5
            )
            np.testing.assert_allclose(
                answer.exit[0, 0], together.exit[row, item - 1], rtol=1e-5
            )


def test_what_happens_is_what_was_expected(model, log):
    draws, item = 40_000, 5
    one = model.reset(starts(log, slice(3, 4)))
    expected = model.responses(one, tf.constant([item]))
    many = tf.nest.map_structure(lambda x: tf.repeat(x, draws, axis=0), one)
    _, feedback, left = tf.function(model.step)(
        many, tf.fill([draws], item), tf.constant([1, 2])
    )
    seen = np.concatenate([feedback.numpy(), left.numpy()[:, None]], axis=1)
    wanted = np.append(expected.feedback[0, 0], expected.exit[0, 0])
    error = seen.std(axis=0) / math.sqrt(draws)
    assert (np.abs(seen.mean(axis=0) - wanted) < 4 * error).all(), (seen.mean(axis=0), wanted)
    assert (wanted > 0).all()


def test_same_seed_same_answers_other_seed_others(model, log):
    state, items = model.reset(starts(log, slice(0, 64))), tf.fill([64], 2)
    first, again, other = (
        model.step(state, items, tf.constant(seed))[1].numpy()
        for seed in ([0, 1], [0, 1], [0, 2])
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_padding_changes_nothing(model, log):
    episodes = types.rows(log, np.s_[:20])
    padded = episodes._replace(
        item=np.pad(episodes.item, [(0, 0), (0, 3)]),
        feedback=np.pad(episodes.feedback, [(0, 0), (0, 3), (0, 0)]),
        history_item=np.pad(episodes.history_item, [(0, 0), (4, 0)]),
        history_feedback=np.pad(episodes.history_feedback, [(0, 0), (4, 0), (0, 0)]),
    )
    np.testing.assert_allclose(model.expect(episodes), model.expect(padded), rtol=1e-4)
    before = model.reset(user_models.starts_of(episodes))
    after = model.reset(user_models.starts_of(padded))
    np.testing.assert_allclose(before.hidden, after.hidden, rtol=1e-4, atol=1e-6)


def test_teacher_forcing_is_what_was_expected_when_playing(model, log):
    """Plays 4 steps, then asks what teacher forcing says of the same sessions."""
    begin = starts(log, slice(0, 8))
    state, items, answers, clicks = model.reset(begin), [], [], []
    for step in range(4):
        item = tf.constant([(3 * step + row) % 12 + 1 for row in range(8)])
        expected = model.responses(state, tf.range(1, 13))
        at_item = tf.expand_dims(item - 1, 1)
        clicks.append(tf.gather(expected.feedback[..., 0], at_item, batch_dims=1)[:, 0])
        leaving = tf.gather(expected.exit, at_item, batch_dims=1)[:, 0]
        state, feedback, _ = model.step(state, item, tf.constant([step, 9]))
        items.append(item)
        answers.append(feedback)

    def forced(last_click):
        given = tf.stack(answers, axis=1).numpy()  # [8, 4, F]
        given[:, -1, 0] = last_click
        episodes = types.Episodes(
            *begin[:3], tf.stack(items, axis=1), given, tf.fill([8], 4), tf.fill([8], True)
        )
        return model.expect(episodes).numpy().reshape(8, 4, -1)

    np.testing.assert_allclose(forced(0)[..., 0], np.stack(clicks, axis=1), rtol=1e-4)
    click = clicks[-1].numpy()
    mixed = click * forced(1)[:, -1, -1] + (1 - click) * forced(0)[:, -1, -1]
    np.testing.assert_allclose(mixed, leaving, rtol=1e-4)


def test_misses_count_from_the_last_click():
    clicked = tf.constant(
        [[False, True, False, False, True], [True, False, False, False, False]]
    )
    misses = recurrent_model._misses_before(clicked).numpy()
    np.testing.assert_array_equal(misses, [[0, 1, 0, 1, 2], [0, 0, 1, 2, 3]])


def test_session_counters_start_at_zero_and_advance(model, log):
    state = model.reset(starts(log, slice(0, 50)))
    assert not state.step.numpy().any() and not state.misses.numpy().any()
    for step in (1, 2):
        before = state.misses
        state, feedback, _ = model.step(state, tf.fill([50], 4), tf.constant([5, step]))
        expected = np.where(feedback[:, 0] > 0, 0, before + 1)
        np.testing.assert_array_equal(state.misses, expected)
        np.testing.assert_array_equal(state.step, np.full(50, step))


def test_unknown_users_and_empty_histories_are_answered(model):
    nobody = types.Starts(
        tf.zeros([2], tf.int32), tf.zeros([2, 6], tf.int32), tf.zeros([2, 6, 3])
    )
    answers = model.responses(model.reset(nobody), tf.range(1, 13))
    assert np.isfinite(answers.feedback).all() and np.isfinite(answers.exit).all()


def test_history_warms_up_the_state(model, log):
    rows = np.flatnonzero(log.history_item.any(axis=1))[:5]
    begin = starts(log, rows)
    empty = begin._replace(history_item=tf.zeros_like(begin.history_item))
    assert (
        np.abs(model.reset(begin).hidden - model.reset(empty).hidden).max(axis=1) > 1e-3
    ).all()


def test_cell_is_the_gru_of_keras(model):
    rng = np.random.default_rng(0)
    event = rng.normal(size=(3, model.gru_kernel.shape[0])).astype(np.float32)
    hidden = rng.normal(size=(3, 6)).astype(np.float32)
    cell = tf_keras.layers.GRUCell(6, reset_after=True)
    cell.build([None, event.shape[1]])
    cell.set_weights(
        [model.gru_kernel.numpy(), model.gru_recurrent.numpy(), model.gru_bias.numpy()]
    )
    expected, _ = cell(tf.constant(event), [tf.constant(hidden)])
    np.testing.assert_allclose(
        model._cell(event @ model.gru_kernel, hidden), expected, rtol=1e-5
    )


def test_means_by_hand():
    """All weights 0: every logit and log mean is 0 but for what the offsets say."""
    model = recurrent_model.RecurrentModel(known_users.SPEC, SMALL)
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    model.feedback_offset.assign([math.log(3.0), 0.0, math.log(2.0)])
    model.exit_offset.assign(math.log(1.0 / 9.0))
    nobody = types.Starts(
        tf.zeros([1], tf.int32), tf.zeros([1, 6], tf.int32), tf.zeros([1, 6, 3])
    )
    answers = model.responses(model.reset(nobody), tf.constant([1]))
    # click 3/4; like 1/2; seconds: half the time scale 5 x exp(log 2 + 1/2)
    expected = [0.75, 0.5, 0.5 * 5.0 * 2.0 * math.exp(0.5)]
    np.testing.assert_allclose(answers.feedback[0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(answers.exit[0, 0], 0.1, rtol=1e-5)


def test_rolls_out_as_a_world(model, log):
    def policy(timestep):
        return timestep.history.step[:, None] % 12

    environment = users.UserEnvironment(model)
    play = tf.function(
        lambda seed: playing.rollout(environment, policy, starts(log, slice(0, 30)), seed)
    )
    episodes = play(tf.constant([0, 0]))
    real = np.arange(known_users.STEPS) < episodes.length.numpy()[:, None]
    np.testing.assert_array_equal(episodes.item.numpy() > 0, real)


def test_save_and_load(model, log, tmp_path):
    model.feedback_offset.assign([0.1, 0.2, 0.3])
    try:
        model.save(tmp_path / "users")
        model.save(tmp_path / "users")  # replaces what is there
        loaded = recurrent_model.load(tmp_path / "users")
        assert loaded.config == model.config and loaded.spec == model.spec
        np.testing.assert_array_equal(loaded.expect(log), model.expect(log))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["users"]
    finally:
        model.feedback_offset.assign([0.0, 0.0, 0.0])


def test_a_failed_save_leaves_what_was_there(model, tmp_path, monkeypatch):
    model.save(tmp_path / "users")
    before = (tmp_path / "users" / "weights.npz").read_bytes()

    def full_disk(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="no space"):
        model.save(tmp_path / "users")
    assert (tmp_path / "users" / "weights.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["users"]


def test_load_says_what_is_wrong(model, tmp_path):
    with pytest.raises(errors.UserError, match="user_model.json: no such file"):
        recurrent_model.load(tmp_path / "nothing")
    model.save(tmp_path / "users")
    weights = tmp_path / "users" / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(errors.UserError, match="users: not a readable user model"):
        recurrent_model.load(tmp_path / "users")


def test_the_ids_and_the_fingerprint_are_kept(model, tmp_path):
    ids = vocabulary.Vocabulary(
        vocabulary.Ids(np.arange(100, 100 + known_users.SPEC.num_items)),
        vocabulary.Ids(np.arange(known_users.SPEC.num_users)),
    )
    split = {"split": "user", "seed": 7}
    data = identity.Origin("runs/data", ids, known_users.SPEC, "1234", split)
    model.save(tmp_path / "one", data)
    model.save(tmp_path / "two", data)
    one, two = (recurrent_model.load(tmp_path / name) for name in ("one", "two"))
    assert one.data.vocabulary.items.tolist() == ids.items.tolist()
    assert (one.data.data, one.data.split, one.data.made) == ("1234", split, "fitted")
    assert one.fingerprint == two.fingerprint
    identity.check(one.data, data, same_split=True)
    try:
        model.exit_offset.assign_add(0.5)
        model.save(tmp_path / "two", data)
    finally:
        model.exit_offset.assign_sub(0.5)
    assert recurrent_model.load(tmp_path / "two").fingerprint != one.fingerprint
    other = dataclasses.replace(ids, item_ids=vocabulary.Ids(ids.items[::-1].copy()))
    model.save(tmp_path / "two", dataclasses.replace(data, vocabulary=other))
    assert recurrent_model.load(tmp_path / "two").fingerprint != one.fingerprint


def test_weights_of_another_model_are_rejected(model, tmp_path):
    model.save(tmp_path / "one")
    recurrent_model.RecurrentModel(known_users.SPEC, SMALL, seed=8).save(tmp_path / "two")
    (tmp_path / "two" / "weights.npz").replace(tmp_path / "one" / "weights.npz")
    with pytest.raises(errors.UserError, match="damaged: the fingerprint of its weights"):
        recurrent_model.load(tmp_path / "one")


def test_config_rejects_nonsense():
    with pytest.raises(ValueError, match="rank is 0"):
        recurrent_model.RecurrentModelConfig(rank=0)
    with pytest.raises(ValueError, match="dropout is 1.0"):
        recurrent_model.RecurrentModelConfig(dropout=1.0)


@pytest.mark.parametrize("unit", [2.0**-27, 2.0**30])
def test_the_unit_of_an_amount_changes_the_unit_of_answers_alone(log, unit):
    answers = []
    for factor in (1.0, unit):
        *others, seconds = known_users.SPEC.feedback
        seconds = dataclasses.replace(seconds, scale=seconds.scale * factor)
        spec = dataclasses.replace(known_users.SPEC, feedback=(*others, seconds))
        factors = np.array([1, 1, factor], np.float32)
        scaled = log._replace(
            feedback=log.feedback * factors, history_feedback=log.history_feedback * factors
        )
        model = recurrent_model.RecurrentModel(spec, SMALL, seed=3)
        nats = fitting.negative_log_likelihood(model, rows(scaled, slice(0, 8)))
        state = model.reset(starts(scaled, slice(0, 8)))
        item = tf.fill([8], 5)
        _, played, left = model.step(state, item, tf.constant([1, 2]))
        expected = model.responses(state, tf.range(1, 13)).feedback
        answers.append((nats, played / factors, left, expected / factors))
    for plain, other in zip(*answers, strict=True):
        np.testing.assert_allclose(plain, other, rtol=1e-5)


def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path):
    made = recurrent_model.RecurrentModel(known_users.SPEC, SMALL, seed=0)
    made.save(tmp_path / "users")
    before = (tmp_path / "users" / "weights.npz").read_bytes()
    variable = made.variables[0]
    variable.assign(variable * np.nan)
    with pytest.raises(errors.UserError, match="users: not written: .* are NaN or infinite"):
        made.save(tmp_path / "users")
    assert (tmp_path / "users" / "weights.npz").read_bytes() == before
    with np.load(tmp_path / "users" / "weights.npz") as stored:
        weights = dict(stored)
    weights[next(iter(weights))] = weights[next(iter(weights))] * np.inf
    np.savez(tmp_path / "users" / "weights.npz", **weights)
    with pytest.raises(errors.UserError, match="users: .* are NaN or infinite"):
        recurrent_model.load(tmp_path / "users")
