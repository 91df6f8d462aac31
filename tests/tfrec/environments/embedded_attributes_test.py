"""Plans by attributes: the model by hand, and values between random items and the optimum."""

import dataclasses
import math

import numpy as np
import pytest

from tests.tfrec.environments import embedded_test
from tfrec.data import synthetic
from tfrec.environments import embedded_attributes, exact_values

CLICKS = np.array([1.0, 0.0])
CONFIG = synthetic.SyntheticConfig(
    num_users=50, num_items=60, num_tastes=4, max_steps=12, new_items=20
)
EXACT = dataclasses.replace(CONFIG, quality=0.0, attribute_noise=0.0, attribute_missing=0.0)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_the_expected_answers_by_hand():
    """An item that may be deep and of taste 1, or bait and of taste 0; quality is 0."""
    config = dataclasses.replace(EXACT, num_tastes=2)
    probability = np.zeros((1, 2, 3))
    probability[0, 1, synthetic.DEEP], probability[0, 0, synthetic.BAIT] = 0.25, 0.75
    model = embedded_attributes.expected_model(config, probability)
    assert model.click.shape == model.seconds.shape == (2, 11, 1)
    deep, bait = sigmoid(-2.1 + 2.2 - 0.4), sigmoid(-0.6 - 0.4)  # of taste 1, at level 4 of 10
    assert model.click[1, 4, 0] == pytest.approx(0.25 * deep + 0.75 * bait)
    watch = math.exp(0.5**2 / 2)  # mean of a log-normal over its median
    assert model.seconds[1, 4, 0] == pytest.approx(watch * (0.25 * deep * 60 + 0.75 * bait * 8))
    deep, bait = sigmoid(-2.1), sigmoid(-0.6 + 2.2)  # of taste 0, rested
    assert model.click[0, 0, 0] == pytest.approx(0.25 * deep + 0.75 * bait)
    np.testing.assert_array_equal(model.cell, probability)


@pytest.mark.parametrize("quality", [0.3, 2.0])
def test_the_expected_click_is_a_mean_over_quality(quality):
    config = dataclasses.replace(CONFIG, quality=quality)
    probability = np.zeros((1, 4, 3))
    probability[0, 2, synthetic.CALM] = 1.0
    model = embedded_attributes.expected_model(config, probability)
    drawn = np.linspace(-8, 8, 4001)  # standard deviations
    weight = np.exp(-(drawn**2) / 2)
    for taste, logit in ((2, -1.8 + 2.2 - 0.7), (0, -1.8 - 0.7)):
        expected = weight @ (1 / (1 + np.exp(-logit - quality * drawn))) / weight.sum()
        assert model.click[taste, 7, 0] == pytest.approx(expected, rel=1e-6)


def test_next_fatigue_is_that_of_each_kind_with_its_probability():
    """One item, bait or calm alike, in two steps: fatigue 2 or 0 after the first."""
    config = dataclasses.replace(EXACT, num_items=3, num_tastes=1, max_steps=2, new_items=0)
    made, _ = embedded_test.world(config)
    probability = np.zeros((3, 1, 3))
    probability[:, 0, [synthetic.BAIT, synthetic.CALM]] = 0.5
    model = embedded_attributes.expected_model(config, probability)
    value = exact_values.solve(made, CLICKS, model=model).value
    stays = [1 - sigmoid(-3 + 4 * level**2) for level in (0.2, 0.0)]
    click = model.click[0, :, 0]
    expected = click[0] + 0.5 * stays[0] * click[2] + 0.5 * stays[1] * click[0]
    assert value[0, 0, 0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("reward", [CLICKS, np.array([0.0, 1.0])])
def test_attributes_without_noise_tell_all_but_quality(reward):
    made, _ = embedded_test.world(EXACT)
    model, truth = embedded_attributes.attribute_model(made), exact_values.true_model(made)
    for result, expected in zip(model, truth, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5)
    known = np.setdiff1d(np.arange(1, 61), made.new_items)
    for items in (None, known, made.new_items):
        plan = exact_values.solve(made, reward, items, model).item
        np.testing.assert_allclose(
            exact_values.plan_value(made, reward, plan),
            exact_values.solve(made, reward, items).value,
            rtol=1e-5,
        )


def shares(config, items_of=lambda made: None):
    """Session values: by random items, by attributes, and at best."""
    made, _ = embedded_test.world(config)
    items = items_of(made)
    model = embedded_attributes.attribute_model(made)
    plan = exact_values.solve(made, CLICKS, items, model).item
    return [
        exact_values.session_values(made, value).mean()
        for value in (
            exact_values.random_value(made, CLICKS, items),
            exact_values.plan_value(made, CLICKS, plan),
            exact_values.solve(made, CLICKS, items).value,
        )
    ]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_attributes_earn_between_random_and_the_optimum(noise):
    config = dataclasses.replace(CONFIG, attribute_noise=noise)
    for items_of in (lambda made: None, lambda made: made.new_items):
        random, by_attributes, best = shares(config, items_of)
        assert random < by_attributes < best


def test_noise_costs_value():
    """In the mean of ten catalogues: one catalogue's wrong attributes may do no harm."""
    mean = {
        noise: np.mean(
            [
                (plan - random) / (best - random)
                for random, plan, best in (
                    shares(dataclasses.replace(CONFIG, attribute_noise=noise, seed=seed))
                    for seed in range(10)
                )
            ]
        )
        for noise in (0.0, 0.4, 0.7)
    }
    assert mean[0.0] > mean[0.4] + 0.05 > mean[0.7] + 0.1


def test_what_is_expected_of_a_step_is_earned_on_average():
    """Over catalogues: click of the item that looks best for each taste, and its promise."""
    gaps = []
    for seed in range(60):
        config = dataclasses.replace(CONFIG, seed=seed, attribute_noise=0.3, max_steps=1)
        made, _ = embedded_test.world(config)
        plan = exact_values.solve(made, CLICKS, model=embedded_attributes.attribute_model(made))
        earned = exact_values.plan_value(made, CLICKS, plan.item)
        gaps.append((earned - plan.value)[0, :, 0].mean())
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / math.sqrt(len(gaps))
    assert np.std(gaps) > 0.01
