import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec import errors, types
from tfrec.data import synthetic, vocabulary
from tfrec.environments import embedded, exact_values, playing, user_models, users
from tfrec.environments.fitted import (
    choice_model,
    choice_model_config,
    recurrent_model,
    variants,
)

MANY = 20_000
LOGIT = -0.4


class CoinWorld:
    """Every user clicks every item with the same logit, and never leaves."""

    repeats = True

    def __init__(self, spec=small.SPEC):
        self.spec = spec

    def reset(self, starts):
        return (tf.zeros(tf.shape(starts.user)),)

    def responses(self, state, candidates):
        return "of the base"

    def step(self, state, item, seed, distort=None):
        logit = tf.fill(tf.shape(item), LOGIT)
        probability = (distort or tf.sigmoid)(logit)
        click = tf.random.stateless_uniform(tf.shape(item), seed) < probability
        feedback = tf.stack([tf.cast(click, tf.float32), probability], axis=1)
        return state, feedback, tf.zeros_like(click)


def noise_of(mode, steps, users=MANY):
    """y, [steps, B], and the probabilities and clicks it gave."""
    world = variants.HighVariance(CoinWorld(), mode)
    state = world.reset(scripted.starts(users))
    item, result = tf.ones([users], tf.int32), []
    advance = tf.function(world.step)
    for step in range(steps):
        state, feedback, _ = advance(state, item, tf.constant([7, step]))
        result.append((state.noise, feedback[:, 1], feedback[:, 0]))
    return tuple(np.array(part) for part in zip(*result, strict=True))


def near(values, variance):
    """The sample variance is within five standard errors."""
    assert values.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / len(values)))
    assert abs(values.mean()) < 5 * math.sqrt(variance / len(values))


def test_stable_noise_settles():
    noise, probability, click = noise_of("stable", 15)
    near(noise[0], 0.2)
    near(noise[1], 0.2 * (1 + 0.3**2))
    near(noise[2], 0.2 * (1 + 0.3**2 + 0.39**2))  # .39 = .3 (.3 + 1)
    # Stationary variance of AR(2): (1 - b) v / ((1 + b) ((1 - b)^2 - a^2)), a = b = .3
    near(noise[14], 0.7 * 0.2 / (1.3 * (0.7**2 - 0.3**2)))
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-(LOGIT + noise))), rtol=1e-5)
    assert click.mean() == pytest.approx(probability.mean(), abs=0.005)


def test_literal_noise_grows_as_fibonacci_numbers_do():
    noise, probability, _ = noise_of("literal", 7)
    squares = np.cumsum(np.square([1, 1, 2, 3, 5, 8, 13]))
    for step, total in enumerate(squares):
        near(noise[step], 0.2 * total)
    expected = np.clip(1 / (1 + math.exp(-LOGIT)) + noise, 0, 1)
    np.testing.assert_allclose(probability, expected, atol=1e-4)


def test_literal_noise_stays_finite():
    noise, probability, _ = noise_of("literal", 300, users=50)
    assert np.isfinite(noise).all() and np.isfinite(probability).all()
    assert set(np.unique(probability[50:])) <= {0.0, 1.0}


def test_trend_noise_is_a_local_linear_trend_of_ten_steps():
    noise, probability, _ = noise_of("trend-diff", 21)
    # y_n = sum over k of (n - k + 1) eps_k: variances .2 (1, 1 + 4, 1 + 4 + 9, ..)
    for step in range(21):
        near(noise[step], 0.2 * np.square(np.arange(1, step % 10 + 2)).sum())
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-(LOGIT + noise))), rtol=1e-4)


def test_the_first_steps_by_hand():
    shocks = tf.constant([[1.0, -2.0], [0.5, 0.0], [0.0, 1.0]])  # [step, user]
    expected = {
        "stable": [[1.0, -2.0], [0.8, -0.6], [0.54, 0.22]],
        "literal": [[1.0, -2.0], [1.5, -2.0], [2.5, -3.0]],
        "trend-diff": [[1.0, -2.0], [2.5, -4.0], [4.0, -5.0]],
    }
    for mode, by_step in expected.items():
        world = variants.HighVariance(CoinWorld(), mode)
        state = world.reset(scripted.starts(2))
        for shock, wanted in zip(shocks, by_step, strict=True):
            noise = world.next_noise(state, shock)
            np.testing.assert_allclose(noise, wanted, rtol=1e-6, err_msg=mode)
            state = state._replace(noise=noise, before=state.noise, step=state.step + 1)


def test_the_noise_of_two_users_is_their_own_and_begins_anew():
    noise, _, _ = noise_of("stable", 3)
    assert abs(np.corrcoef(noise[2, ::2], noise[2, 1::2])[0, 1]) < 5 / math.sqrt(MANY / 2)
    world = variants.HighVariance(CoinWorld())
    fresh = world.reset(scripted.starts(3))
    assert not (
        fresh.noise.numpy().any() or fresh.before.numpy().any() or fresh.step.numpy().any()
    )


def test_responses_are_the_base_worlds():
    world = variants.HighVariance(CoinWorld())
    assert world.responses(world.reset(scripted.starts(2)), tf.range(1, 3)) == "of the base"
    assert world.repeats is True and world.spec is small.SPEC


def sessions(click, length):
    """Sessions of these clicks; the second column tells each step apart."""
    click = np.array(click, np.float32)
    watch = 10 * np.arange(1, click.size + 1, dtype=np.float32).reshape(click.shape)
    batch = len(click)
    return types.Episodes(
        user=tf.range(batch),
        history_item=tf.zeros([batch, 4], tf.int32),
        history_feedback=tf.ones([batch, 4, 2]),
        item=tf.ones(click.shape, tf.int32),
        feedback=tf.constant(np.stack([click, watch], axis=-1)),
        length=tf.constant(length, tf.int32),
        exited=tf.constant([True] * batch),
    )


def test_clicks_are_told_three_steps_late_and_all_by_the_last_step():
    episodes = sessions(
        click=[
            [1, 0, 1, 1, 0, 1, 1],  # the last four steps' clicks come at the end
            [1, 1, 0, 1, 1, 0, 0],  # five steps: the first click at step 3
            [1, 0, 1, 0, 0, 0, 0],  # three steps: all at the end
            [1, 0, 0, 0, 0, 0, 0],  # one step
        ],
        length=[7, 5, 3, 1],
    )
    reported = variants.HighVariance(CoinWorld()).observed(episodes)
    np.testing.assert_array_equal(
        reported.feedback[..., 0],
        [
            [0, 0, 0, 1, 0, 1, 3],
            [0, 0, 0, 1, 3, 0, 0],
            [0, 0, 2, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0],
        ],
    )
    np.testing.assert_array_equal(reported.feedback[..., 1], episodes.feedback[..., 1])
    same = [name for name in episodes._fields if name != "feedback"]
    assert all(getattr(reported, name) is getattr(episodes, name) for name in same)


def logged(users, steps, seed=0):
    """Sessions of chance lengths whose clicks have the coin's probability; arrays."""
    draw = np.random.default_rng(seed)
    length = draw.integers(1, steps + 1, users)
    live = np.arange(steps) < length[:, None]
    click = (draw.random((users, steps)) < 1 / (1 + math.exp(-LOGIT))) * live
    return types.rows(sessions(click, length), slice(None))


@pytest.mark.parametrize("mode", variants.MODES)
def test_without_noise_a_log_stays_as_it_is(mode, monkeypatch):
    monkeypatch.setattr(variants, "NOISE_VARIANCE", 0.0)
    log = logged(50, 5)
    result = variants.HighVariance(CoinWorld(), mode).disturbed(log, seed=3, block=20)
    for name in log._fields:
        np.testing.assert_array_equal(getattr(result, name), getattr(log, name), name)


def test_noise_on_a_log_is_that_of_play():
    # The first step's y has variance .2, so a click has the probability E[sigmoid(l + y)].
    log, steps = logged(MANY, 2), 2
    result = variants.HighVariance(CoinWorld()).disturbed(log, seed=3)
    _, _, played = noise_of("stable", steps)
    for step in range(steps):
        live = log.length > step
        rate = result.feedback[live, step, 0].mean()
        assert rate == pytest.approx(played[step].mean(), abs=5 * 0.5 / math.sqrt(live.sum()))
    # Most clicks are kept, in either direction some are not.
    before, after = log.feedback[:, 0, 0], result.feedback[:, 0, 0]
    assert 0.02 < after[before == 0].mean() < 0.15
    assert 0.85 < after[before == 1].mean() < 0.98
    # Other feedback is drawn anew only where the click changed; nothing follows the end.
    same = before == after
    np.testing.assert_array_equal(result.feedback[same, 0], log.feedback[same, 0])
    assert (result.feedback[~same, 0, 1] < 1.0).all()  # the coin's: a probability
    assert (result.feedback[log.length == 1, 1, 0] == 0).all()


def test_literal_noise_makes_a_logged_session_all_clicks_or_none():
    result = variants.HighVariance(CoinWorld(), "literal").disturbed(logged(400, 12), seed=1)
    late = result.feedback[result.length == 12, 9:12, 0].mean(axis=1)
    assert set(np.unique(late)) <= {0.0, 1.0}
    assert 0.3 < late.mean() < 0.7


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 5, 9])
def test_no_click_is_lost_by_any_delay(delay):
    draw = np.random.default_rng(delay)
    length = draw.integers(1, 8, 200)
    click = draw.integers(0, 2, (200, 7)) * (np.arange(7) < length[:, None])
    reported = variants.HighVariance(CoinWorld(), delay=delay).observed(sessions(click, length))
    reported = reported.feedback[..., 0].numpy()
    np.testing.assert_array_equal(reported.sum(axis=1), click.sum(axis=1))
    assert (reported[np.arange(7) >= length[:, None]] == 0).all()
    if delay == 0:
        np.testing.assert_array_equal(reported, click)


def test_a_learner_is_told_by_session_observed():
    episodes = sessions([[1, 0, 0, 0, 0]], [5])
    reported = user_models.observed(variants.HighVariance(CoinWorld()), episodes)
    assert reported.feedback[0, :, 0].numpy().tolist() == [0, 0, 0, 1, 0]
    assert user_models.observed(CoinWorld(), episodes) is episodes


@pytest.mark.parametrize("given", [{"mode": "loud"}, {"delay": -1}])
def test_unknown_modes_and_delays_are_rejected(given):
    with pytest.raises(ValueError, match="expected"):
        variants.HighVariance(CoinWorld(), **given)


def fitted(spec=small.SPEC):
    model = recurrent_model.RecurrentModel(
        spec, recurrent_model.RecurrentModelConfig(repeats=True), seed=1
    )
    noise = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(noise.normal(scale=0.1, size=variable.shape))
    return model


def choosing(spec=small.SPEC):
    config = choice_model_config.ChoiceModelConfig(alternatives=2, repeats=True)
    model = choice_model.ChoiceModel(spec, config, seed=1)
    noise = np.random.default_rng(1)
    for variable in model.reward.trainable_variables:
        variable.assign_add(noise.normal(scale=0.3, size=variable.shape))
    return model


def true_users(spec=None):
    config = synthetic.SyntheticConfig(num_items=6, num_users=3, num_tastes=2)
    ids = vocabulary.Vocabulary(
        vocabulary.Ids(np.array([f"i{n}" for n in range(1, 7)])),
        vocabulary.Ids(np.array(["u1", "u2", "u3"])),
    )
    return embedded.EmbeddedWorld(config, spec or small.SPEC, ids)


@pytest.mark.parametrize("made", [fitted, choosing, true_users])
def test_worlds_click_with_the_distorted_probability(made):
    world = made()
    starts = types.Starts(
        *(x[:1] for x in user_models.starts_of(small.tensors(small.sessions())))
    )
    state = world.reset(starts)
    expected = world.responses(state, tf.constant([2])).feedback[0, 0, 0].numpy()
    many = tf.nest.map_structure(lambda x: tf.repeat(x, MANY, axis=0), state)
    item, seen = tf.fill([MANY], 2), []

    def shifted(logit):
        seen.append(tf.sigmoid(logit)[0].numpy())
        return tf.sigmoid(logit + 0.8)

    _, feedback, _ = world.step(many, item, tf.constant([3, 4]), shifted)
    assert seen == [pytest.approx(expected, rel=1e-4)]
    moved = 1 / (1 + (1 - expected) / expected * math.exp(-0.8))
    error = math.sqrt(moved * (1 - moved) / MANY)
    assert abs(feedback[:, 0].numpy().mean() - moved) < 4 * error
    plain = world.step(many, item, tf.constant([3, 4]))
    same = world.step(many, item, tf.constant([3, 4]), tf.sigmoid)
    for left, right in zip(tf.nest.flatten(plain), tf.nest.flatten(same), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("made", [fitted, choosing, true_users])
@pytest.mark.parametrize("mode", variants.MODES)
def test_sessions_are_played_in_a_noisy_world(made, mode):
    environment = users.UserEnvironment(variants.HighVariance(made(), mode))
    starts = scripted.starts(8)._replace(user=tf.ones([8], tf.int32))
    episodes = tf.function(
        lambda: playing.rollout(
            environment, lambda timestep: timestep.history.step[:, None], starts, [1, 2]
        )
    )()
    assert np.isfinite(episodes.feedback).all()
    assert episodes.length.numpy().min() >= 1


@pytest.mark.parametrize("made", [fitted, choosing])
def test_candidates_are_of_the_same_world(made):
    base = made()
    narrowed = variants.with_candidates(base, 4)
    assert narrowed.spec.num_candidates == 4 and narrowed.spec.num_items == 6
    assert base.spec.num_candidates == 6
    assert narrowed.fingerprint != base.fingerprint
    assert {v.ref() for v in narrowed.variables} == {v.ref() for v in base.variables}
    assert variants.with_candidates(narrowed, 0).spec == base.spec


def test_a_noisy_world_keeps_its_noise():
    noisy = variants.HighVariance(fitted(), "literal", 2)
    narrowed = variants.with_candidates(noisy, 4)
    assert (narrowed.mode, narrowed.delay) == ("literal", 2)
    assert narrowed.spec.num_candidates == 4 and noisy.spec.num_candidates == 6


@pytest.mark.parametrize("count", [-1, 7])
def test_more_candidates_than_items_are_rejected(count):
    with pytest.raises(errors.UserError, match=f"candidates is {count}; the log has 6 items"):
        variants.with_candidates(fitted(), count)


def test_the_optimum_keeps_to_the_candidates():
    world = true_users()
    reward = np.array([1.0, 0.0])
    free = exact_values.solve(world, reward)
    retained = exact_values.solve(variants.with_candidates(world, 2), reward)
    assert free.item.max() > 2 and set(np.unique(retained.item)) <= {1, 2}
    assert (retained.value <= free.value).all() and (retained.value < free.value).any()
