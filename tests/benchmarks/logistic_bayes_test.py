"""Logistic models of users and items: what they recover, and one step worked out by hand."""

import math

import numpy as np
import pytest
import scipy.special

from benchmarks import logistic_bayes
from tfrec import types

ITEMS = 40


def clicks(rank, users=600, shown=0.5, seed=0):
    """Rows of every user with a share of the items, and the true terms of the items."""
    rng = np.random.default_rng(seed)
    level, factor = rng.normal(0, 1, ITEMS), rng.normal(0, 0.8, [ITEMS, rank])
    person, taste = rng.normal(0, 0.5, users), rng.normal(0, 1, [users, rank])
    user, item = np.nonzero(rng.random([users, ITEMS]) < shown)
    logit = level[item] + person[user] + np.sum(taste[user] * factor[item], axis=1)
    return user, item + 1, rng.random(len(user)) < scipy.special.expit(logit), level, factor


def test_variances_are_recovered_from_many_rows_and_underestimated_from_few():
    interaction = {}
    for shown in (1.0, 0.3):
        user, item, clicked, level, factor = clicks(rank=1, users=1500, shown=shown)
        model = logistic_bayes.factors(user, item, clicked, ITEMS, rank=1)
        variances = model.variances()
        interaction[shown] = variances["interaction"] / factor.var()
        assert variances["item"] == pytest.approx(level.var(), rel=0.25)
        assert np.corrcoef(model.item.mean[1:, 0], level)[0, 1] > 0.95
        assert abs(np.corrcoef(model.item.mean[1:, 1], factor[:, 0])[0, 1]) > 0.95
    assert interaction[0.3] < interaction[1.0] < 1.2
    assert interaction[1.0] > 0.75


def test_terms_of_rows_by_hand():
    items = logistic_bayes.Gaussians(np.array([[0, 0, 0], [0.5, 2, 3]]), np.zeros([2, 3, 3]))
    model = logistic_bayes.Factors(items, user_variance=1.0)
    terms = model.terms(np.array([1, 1]), np.array([[0.1, 1, 0], [0.2, -1, 1]]))
    assert terms.user.tolist() == [0.1, 0.2] and terms.item.tolist() == [0.5, 0.5]
    assert terms.interaction.tolist() == [2.0, 1.0]


def test_coefficients_by_hand():
    """Of 10 rows without and with x, 2 and 6 happened: the odds grow sixfold."""
    x = np.stack([np.ones(20), np.repeat([0.0, 1.0], 10)], axis=1)
    happened = np.array([1] * 2 + [0] * 8 + [1] * 6 + [0] * 4, bool)
    found, error = logistic_bayes.coefficients(x, np.full(20, 0.25), happened)
    assert found == pytest.approx([math.log(0.25) - 0.25, math.log(6.0)])
    assert error[1] == pytest.approx(math.sqrt(1 / 2 + 1 / 8 + 1 / 6 + 1 / 4))


def test_a_log_without_interactions_has_next_to_none():
    user, item, clicked, *_ = clicks(rank=0)
    variances = logistic_bayes.factors(user, item, clicked, ITEMS, rank=3).variances()
    assert variances["interaction"] < 0.05 * sum(variances.values())
    alone = logistic_bayes.factors(user, item, clicked, ITEMS, rank=0).variances()
    assert alone["interaction"] == 0.0
    assert alone["user"] == pytest.approx(0.25, rel=0.3)


def session(item, click):
    """One session after an empty history of one event."""
    item = np.array([item], np.int32)
    return types.Episodes(
        user=np.array([1], np.int32),
        history_item=np.zeros([1, 1], np.int32),
        history_feedback=np.zeros([1, 1, 1], np.float32),
        item=item,
        feedback=np.array([click], np.float32)[..., None],
        length=np.array([item.shape[1]], np.int32),
        exited=np.ones(1, bool),
    )


def test_a_step_of_the_filter_by_hand():
    """Level 0.5 of the item, known; level of the user N(0, 2); a click."""
    items = logistic_bayes.Gaussians(np.array([[0.0], [0.5]]), np.zeros([2, 1, 1]))
    model = logistic_bayes.Factors(items, user_variance=2.0)
    known = logistic_bayes.filtered(model, session([1, 1], [1, 0]), drift=0.1)
    first = 1 / (1 + math.exp(-0.5 / math.sqrt(1 + math.pi / 4)))
    assert known.click[0, 0] == pytest.approx(first)
    root = math.sqrt(0.5**2 + 2.0)
    weight = math.tanh(root / 2) / (2 * root)
    precision = 1 / 2.0 + weight
    mean = (0.5 - weight * 0.5) / precision
    assert known.user[0, :, 0] == pytest.approx([0.0, mean])
    variance = 1 / precision + 0.1 * 2.0
    second = 1 / (1 + math.exp(-(0.5 + mean) / math.sqrt(1 + math.pi / 8 * variance)))
    assert known.click[0, 1] == pytest.approx(second)


def test_padding_tells_the_filter_nothing():
    user, item, clicked, *_ = clicks(rank=1, users=200)
    model = logistic_bayes.factors(user, item, clicked, ITEMS, rank=1)
    short = session([3, 7], [1, 0])
    padded = short._replace(
        history_item=np.zeros([1, 4], np.int32),
        history_feedback=np.zeros([1, 4, 1], np.float32),
    )
    one, other = (logistic_bayes.filtered(model, e, drift=0.1) for e in (short, padded))
    np.testing.assert_allclose(one.click, other.click)
    np.testing.assert_allclose(one.user, other.user)


def test_users_who_like_an_item_are_expected_to_like_those_that_go_with_it():
    user, item, clicked, _, factor = clicks(rank=1)
    model = logistic_bayes.factors(user, item, clicked, ITEMS, rank=1)
    strong, weak = 1 + np.argsort(-np.abs(factor[:, 0]))[:2]
    same = np.sign(factor[strong - 1, 0] * factor[weak - 1, 0])
    after = {
        click: logistic_bayes.filtered(model, session([strong, weak], [click, 0])).click[0, 1]
        for click in (0, 1)
    }
    levels = logistic_bayes.factors(user, item, clicked, ITEMS, rank=0)
    plain = {
        click: logistic_bayes.filtered(levels, session([strong, weak], [click, 0])).click[0, 1]
        for click in (0, 1)
    }
    assert same * ((after[1] - after[0]) - (plain[1] - plain[0])) > 0.02


def test_terms_of_items_are_shrunk_by_their_rows():
    """Items 1 to 20 have rates of .2 and .8, item 1 has one row, item 21 none."""
    rng = np.random.default_rng(0)
    rate = np.tile([0.2, 0.8], 10)
    item = np.append(1, rng.integers(2, 21, 4000))
    happened = np.append(True, rng.random(4000) < rate[item[1:] - 1])
    one = np.ones([len(item), 1])
    model = logistic_bayes.item_terms(item, one, 0.0, happened, 21)
    asked = np.arange(22)
    found = scipy.special.expit(model.logit(asked, np.ones([22, 1]), 0.0))
    np.testing.assert_allclose(found[2:21], rate[1:], atol=0.1)
    assert found[0] == pytest.approx(found[21], abs=0.02)
    assert found[21] < found[1] < 0.8
    assert model.variance[0] == pytest.approx(scipy.special.logit(0.8) ** 2, rel=0.25)


def test_coefficients_of_items_and_the_offset_are_recovered():
    rng = np.random.default_rng(1)
    item, x = rng.integers(1, 11, 20_000), rng.normal(0, 1, 20_000)
    offset, slope = rng.normal(0, 1, 20_000), np.linspace(-1, 1, 10)
    happened = rng.random(20_000) < scipy.special.expit(offset + slope[item - 1] * x)
    features = np.stack([np.ones_like(x), x], axis=1)
    model = logistic_bayes.item_terms(item, features, offset, happened, 10)
    np.testing.assert_allclose(model.terms.mean[1:, 1], slope, atol=0.15)
    assert np.abs(model.terms.mean[1:, 0]).max() < 0.15
    assert model.variance[1] == pytest.approx(slope.var(), rel=0.2)
