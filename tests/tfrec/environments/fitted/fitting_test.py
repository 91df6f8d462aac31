"""The fit: its loss by hand, its split, and that it recovers a known user."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import known_users
from tfrec import errors, types
from tfrec.environments import user_models
from tfrec.environments.fitted import fitting, recurrent_model

QUICK = recurrent_model.RecurrentModelConfig(
    item_units=8, user_units=4, hidden_units=16, head_units=16, rank=4,
    batch_size=32, learning_rate=0.01, max_epochs=8, user_penalty=0.03,
)  # fmt: skip


@pytest.fixture(scope="module")
def log():
    return known_users.log()


def rows(episodes, chosen):
    return types.rows(episodes, chosen)


def test_loss_by_hand():
    """All weights 0: every probability is 1/2, every log amount is N(0, 1) in its scale."""
    model = recurrent_model.RecurrentModel(known_users.SPEC, QUICK)
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    feedback = np.zeros((2, 3, 3), np.float32)
    feedback[0, 1] = [1, 1, 5.0 * math.e]  # log(seconds / scale) = 1
    episodes = types.Episodes(
        user=np.array([1, 2], np.int32),
        history_item=np.zeros((2, 6), np.int32),
        history_feedback=np.zeros((2, 6, 3), np.float32),
        item=np.array([[1, 2, 0], [3, 0, 0]], np.int32),
        feedback=feedback,
        length=np.array([2, 1], np.int32),
        exited=np.array([True, False]),
    )
    nats = fitting.negative_log_likelihood(model, episodes).numpy()
    half = math.log(2.0)
    watched = half + 0.5 + 0.5 * math.log(2 * math.pi)
    expected = [[half] * 4, [half, half, watched, half], [half] * 4]
    np.testing.assert_allclose(nats, expected, rtol=1e-5)
    # An exit that was certain costs nothing at the last step of the session that
    # ended, and 20 nats where the user stayed.
    model.exit_offset.assign(20.0)
    exits = fitting.negative_log_likelihood(model, episodes).numpy()[:, -1]
    np.testing.assert_allclose(exits, [20.0, 0.0, 20.0], atol=1e-5)


def test_fit_recovers_a_known_user(log):
    model = fitting.fit(log, known_users.SPEC, QUICK, seed=0, progress=False)
    held_out = fitting.held_out_sessions(len(log.length), QUICK.held_out_fraction, 0)
    fresh = rows(log, held_out)
    nats = fitting.negative_log_likelihood(model, fresh).numpy()
    real = fresh.item > 0
    click, item = fresh.feedback[..., 0][real], fresh.item[real]
    user = np.repeat(fresh.user, fresh.length)
    last = np.arange(known_users.STEPS) == fresh.length[:, None] - 1
    left = (last & fresh.exited[:, None])[real]
    for name, cost, outcome, truth, share in (
        ("click", nats[:, 0], click, known_users.click_probability(user, item), 0.6),
        ("exit", nats[:, -1], left, known_users.exit_probability(item), 0.7),
    ):
        best = -np.log(np.where(outcome > 0, truth, 1 - truth)).mean()
        rate = outcome.mean()
        constant = -np.log(np.where(outcome > 0, rate, 1 - rate)).mean()
        assert cost.mean() < constant - share * (constant - best), (
            name,
            cost.mean(),
            constant,
            best,
        )
    # A like happens after half of the clicks and after nothing else.
    heads = model.expect(fresh).numpy()
    assert heads[click > 0, 1].mean() == pytest.approx(0.5, abs=0.06)
    assert heads[click == 0, 1].mean() < 0.03
    assert heads[click > 0, 2].mean() == pytest.approx(math.exp(2 + 0.125), rel=0.08)


@pytest.mark.slow
def test_same_seed_same_weights(log):
    short = dataclasses.replace(QUICK, max_epochs=1)
    some = rows(log, slice(0, 150))
    first, again, other = (
        fitting.fit(some, known_users.SPEC, short, seed, progress=False) for seed in (4, 4, 5)
    )
    for a, b in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.gru_kernel.numpy() != other.gru_kernel.numpy()).any()


def test_every_weight_learns_and_the_best_ones_are_kept(log, tmp_path):
    some = rows(log, slice(0, 150))
    config = dataclasses.replace(QUICK, max_epochs=30, patience=1, learning_rate=0.1)
    model = fitting.fit(some, known_users.SPEC, config, 0, tmp_path / "users", progress=False)
    fresh = recurrent_model.RecurrentModel(known_users.SPEC, model.config, 0)
    for a, b in zip(model.trainable_variables, fresh.trainable_variables, strict=True):
        assert (a.numpy() != b.numpy()).any(), a.name
    # Saved are the weights returned; a long, wild fit has not thrown them away.
    loaded = recurrent_model.load(tmp_path / "users")
    held_out = rows(some, fitting.held_out_sessions(150, config.held_out_fraction, 0))
    retained = fitting.negative_log_likelihood(loaded, held_out).numpy().sum(axis=1).mean()
    start = fitting.negative_log_likelihood(fresh, held_out).numpy().sum(axis=1).mean()
    assert retained < start


def test_held_out_sessions():
    held_out = fitting.held_out_sessions(50, 0.1, seed=1)
    assert held_out.sum() == 5
    np.testing.assert_array_equal(held_out, fitting.held_out_sessions(50, 0.1, seed=1))
    assert (held_out != fitting.held_out_sessions(50, 0.1, seed=2)).any()
    with pytest.raises(errors.UserError, match="1 sessions cannot be split"):
        fitting.held_out_sessions(1, 0.1, seed=0)


def test_batches_hold_every_session_once(log):
    fitter = fitting._Fitter(recurrent_model.RecurrentModel(known_users.SPEC, QUICK), log)
    sessions = np.arange(3, 80)
    batches = fitter.batches(sessions, np.random.default_rng(0))
    assert batches.shape == (3, 32)
    np.testing.assert_array_equal(np.sort(batches[batches >= 0]), sessions)
    # A filler adds no steps.
    batch = fitting.take_sessions(fitter.log, tf.constant([7, -1, 8]))
    np.testing.assert_array_equal(batch.length, [log.length[7], 0, log.length[8]])


def test_repeats_are_as_in_the_log(log):
    assert user_models.has_repeats(log)
    films = log._replace(item=np.arange(1, 11)[None, :] * (log.item > 0))
    assert not user_models.has_repeats(films)
